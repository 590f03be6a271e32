"""What the parts of a site's round records share: transactions, errors in our words, and the key of a round."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, Table, and_
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from federated.errors import RoundRecordError
from federated.rounds.terms import RoundTerms
from governance.errors import GovernanceError
from plugin.adapters import sql_engine
from plugin.services.governance.round_journal import RoundJournal

_LENGTHS: Final = {"federation": 120, "run": 200}


class SqlRoundSession:
    """Base of the records' parts; the schema must be current."""

    def __init__(self, engine: Engine, journal: RoundJournal) -> None:
        self._engine, self._journal = engine, journal

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _translated(), self._engine.begin() as connection:
            yield connection

    def _write(self, work: Callable[[Connection], None]) -> None:
        """Do work in one transaction; again, where another process of this site added the same row meanwhile."""
        with _translated():
            try:
                with self._engine.begin() as connection:
                    work(connection)
            except IntegrityError:
                with self._engine.begin() as connection:
                    work(connection)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _translated(), self._engine.connect().execution_options(**sql_engine.READ_ONLY) as connection:
            yield connection


def key_of(terms: RoundTerms) -> dict[str, Any]:
    """The columns that name a round.

    Raises:
        RoundRecordError: A name is longer than the records take.
    """
    check_name("federation", terms.federation)
    check_name("run", terms.run)
    return {"federation": terms.federation, "run": terms.run, "round": terms.round}


def check_name(name: str, value: str) -> None:
    """Check the name of a federation or of a run.

    Raises:
        RoundRecordError: It is empty, or longer than the records take.
    """
    if not 0 < len(value) <= _LENGTHS[name]:
        raise RoundRecordError(f"Expected a {name} of 1 to {_LENGTHS[name]} characters, got {len(value)}.")


def is_of(table: Table, terms: RoundTerms) -> ColumnElement[bool]:
    """The rows of a round."""
    return and_(*(table.c[name] == value for name, value in key_of(terms).items()))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as fault:
        raise RoundRecordError(
            f"The site's records cannot be used ({type(fault).__name__}): check the database, and run `qfl migrate`."
        ) from fault
    except GovernanceError as fault:
        raise RoundRecordError(f"The ledger did not take what the site's records were to hold: {fault}") from fault
