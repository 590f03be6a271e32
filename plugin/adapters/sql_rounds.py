"""A hospital's records of its rounds, in SQLite or PostgreSQL. Each method is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, and_, insert, select, update

from federated.errors import TermsRefusedError
from federated.rounds.messages import Stage
from federated.rounds.ports import Finding
from federated.rounds.terms import RoundTerms
from governance.ledger.entries import Entry
from plugin.adapters.round_secrets import RoundSecrets
from plugin.adapters.sql_budget import TRAINING, SqlBudget
from plugin.adapters.sql_journal import record_within
from plugin.adapters.sql_round_session import check_name, is_of, key_of
from plugin.adapters.sql_schema import (
    federation_departures,
    federation_participation,
    federation_refusals,
    federation_rounds,
    federation_spendings,
)
from plugin.errors import ParticipationError
from plugin.services.governance.round_journal import Place, RoundJournal
from plugin.services.policy_model import CohortCount, Participation, ParticipationState, PrivacyLimits
from plugin.services.round_records import Departure, Outcome, Refusal, RoundRow

WORK_PREFIX: Final = "work/"
"""Of the keys under which the rounds keep secrets and updates; what was asked and opened stands under others."""


class SqlRounds(SqlBudget):
    """RoundRecords in SQL, with the secrets beside it."""

    def __init__(
        self, engine: Engine, secrets: RoundSecrets, limits: Callable[[], PrivacyLimits], journal: RoundJournal
    ) -> None:
        """Use a database whose schema is current.

        Args:
            engine: From sql_engine.connect.
            secrets: For what must not get into the database's backups.
            limits: The policy's, read anew at every charge.
            journal: Makes the ledger's entries, which commit with what they tell of.
        """
        super().__init__(engine, limits, journal)
        self._secrets = secrets

    def note_departure(
        self, terms: RoundTerms, stage: Stage, *, what: str, digest: str, size: int, now: datetime
    ) -> None:
        """Record that something leaves; once for the same bytes.

        Raises:
            TermsRefusedError: The site has left the federation: nothing leaves any more.
        """
        table = federation_departures
        values = {**key_of(terms), "stage": str(stage), "what": what, "digest": digest}

        def note(connection: Connection) -> None:
            if _participation(connection, terms.federation).state is ParticipationState.LEFT:
                raise TermsRefusedError(f"This site has left the federation {terms.federation}: nothing leaves it.")
            _upsert_round(connection, terms, now, outcome=Outcome.SENT)
            same = (table.c[name] == value for name, value in values.items())
            if connection.execute(select(table.c.id).where(*same)).first() is None:
                more = {"size": size, "terms_digest": terms.digest, "at": now}
                connection.execute(insert(table).values(**values, **more))
                record_within(connection, [departure_entry(self._journal, {**values, **more})])

        self._write(note)

    def note_refusal(self, terms: RoundTerms, findings: Sequence[Finding], *, now: datetime) -> None:
        """Record that the site did not take part, and why; the same refusal again is counted."""
        table = federation_refusals
        refused = [finding for finding in findings if not finding.allowed]
        rules = ",".join(sorted({finding.rule for finding in refused}))[:400]
        same = and_(is_of(table, terms), table.c.terms_digest == terms.digest, table.c.rules == rules)
        told = {"findings": [asdict(finding) for finding in refused], "last_at": now}

        def note(connection: Connection) -> None:
            _upsert_round(connection, terms, now, outcome=Outcome.REFUSED)
            again = update(table).where(same).values(count=table.c.count + 1, **told)
            if connection.execute(again).rowcount == 0:
                first = {"terms_digest": terms.digest, "rules": rules, "count": 1, "first_at": now}
                connection.execute(insert(table).values(**key_of(terms), **first, **told))
                record_within(connection, [refusal_entry(self._journal, {**key_of(terms), **first})])

        self._write(note)

    def load(self, key: str) -> bytes | None:
        """What was kept under a key; None where nothing is."""
        return self._secrets.load(key)

    def keep(self, key: str, data: bytes) -> None:
        """Keep a round's state or secrets, durably, readable by the site's owner only."""
        self._secrets.keep(key, data)

    def drop(self, prefix: str) -> None:
        """Forget everything whose key begins so."""
        self._secrets.drop(prefix)

    # For the site's rules

    def note_check(
        self, terms: RoundTerms, *, policy_digest: str, cohort_digest: str, cohort: CohortCount, now: datetime
    ) -> None:
        """Record what a round's terms were held against."""
        values = {
            "policy_digest": policy_digest,
            "cohort_digest": cohort_digest,
            "cases": cohort.cases,
            "left_out": dict(cohort.left_out),
        }
        row = {**key_of(terms), **values, "first_at": now}

        def note(connection: Connection) -> None:
            _upsert_round(connection, terms, now, outcome=Outcome.CHECKED, **values)
            record_within(connection, check_entries(self._journal, row))

        self._write(note)

    def has_begun(self, terms: RoundTerms) -> bool:
        """Whether these very terms were allowed before, and not refused since."""
        table = federation_rounds
        same = and_(is_of(table, terms), table.c.terms_digest == terms.digest, table.c.outcome != Outcome.REFUSED)
        with self._reading() as connection:
            return connection.execute(select(table.c.round).where(same)).first() is not None

    def participation(self, federation: str) -> Participation:
        """What the site said last of a federation."""
        with self._reading() as connection:
            return _participation(connection, federation)

    def set_participation(self, federation: str, state: ParticipationState, *, reason: str, now: datetime) -> None:
        """Say whether the site takes part; LEFT also deletes the secrets of all rounds."""
        self._say(federation, state, reason, now, from_left=False)
        if state is ParticipationState.LEFT:
            self._secrets.drop(WORK_PREFIX)

    def rejoin(self, federation: str, *, reason: str, now: datetime) -> None:
        """Take part again after having left."""
        self._say(federation, ParticipationState.ACTIVE, reason, now, from_left=True)

    # For the site's people

    def federations(self) -> Sequence[str]:
        """Names of all federations that there is a record of, sorted."""
        tables = (federation_rounds, federation_spendings, federation_refusals, federation_participation)
        with self._reading() as connection:
            found = {
                name for table in tables for name in connection.execute(select(table.c.federation).distinct()).scalars()
            }
        return sorted(found)

    def departures(self, *, limit: int, run: str | None = None) -> Sequence[Departure]:
        """The newest first."""
        left, spent = federation_departures, federation_spendings
        # Only what was trained has been charged as training.
        charged = and_(
            spent.c.federation == left.c.federation,
            spent.c.run == left.c.run,
            spent.c.round == left.c.round,
            spent.c.what == TRAINING,
            left.c.stage == str(Stage.TRAIN),
        )
        query = (
            select(left, spent.c.epsilon)
            .select_from(left.outerjoin(spent, charged))
            .order_by(left.c.at.desc(), left.c.id.desc())
            .limit(limit)
        )
        if run is not None:
            query = query.where(left.c.run == run)
        with self._reading() as connection:
            rows = connection.execute(query).mappings().all()
        names = ("at", "federation", "run", "round", "stage", "what", "digest", "size", "epsilon")
        return [Departure(**{name: row[name] for name in names}) for row in rows]

    def refusals(self, *, limit: int) -> Sequence[Refusal]:
        """The newest first."""
        table = federation_refusals
        query = select(table).order_by(table.c.last_at.desc(), table.c.id.desc()).limit(limit)
        names = ("federation", "run", "round", "findings", "count", "first_at", "last_at")
        with self._reading() as connection:
            return [Refusal(**{name: row[name] for name in names}) for row in connection.execute(query).mappings()]

    def rounds(self, *, limit: int) -> Sequence[RoundRow]:
        """The newest first."""
        table = federation_rounds
        query = select(table).order_by(table.c.last_at.desc(), table.c.round.desc()).limit(limit)
        with self._reading() as connection:
            return [
                RoundRow(**{**row, "outcome": Outcome(row["outcome"]), "left_out": row["left_out"] or {}})
                for row in connection.execute(query).mappings()
            ]

    def _say(self, federation: str, state: ParticipationState, reason: str, now: datetime, *, from_left: bool) -> None:
        check_name("federation", federation)
        with self._writing() as connection:
            has_left = _participation(connection, federation).state is ParticipationState.LEFT
            if has_left is not from_left:
                raise ParticipationError(
                    f"This site has left the federation {federation}; it comes back by being admitted again."
                    if has_left
                    else f"This site has not left the federation {federation}."
                )
            values = {"federation": federation, "state": str(state), "reason": reason, "at": now}
            connection.execute(insert(federation_participation).values(**values))
            record_within(connection, [participation_entry(self._journal, values)])


def check_entries(journal: RoundJournal, row: Mapping[str, Any]) -> Sequence[Entry]:
    """The ledger's entries of a row of federation_rounds whose terms were checked."""
    return journal.checked(
        _place(row),
        policy=row["policy_digest"],
        cohort=row["cohort_digest"],
        cases=row["cases"],
        left_out=row["left_out"] or {},
        at=row["first_at"],
    )


def departure_entry(journal: RoundJournal, row: Mapping[str, Any]) -> Entry:
    """The ledger's entry of a row of federation_departures."""
    about = {"stage": row["stage"], "what": row["what"], "digest_": row["digest"], "size": row["size"]}
    return journal.left(_place(row), row["terms_digest"], **about, at=row["at"])


def refusal_entry(journal: RoundJournal, row: Mapping[str, Any]) -> Entry:
    """The ledger's entry of a row of federation_refusals."""
    return journal.refused(_place(row), row["terms_digest"], rules=row["rules"].split(","), at=row["first_at"])


def participation_entry(journal: RoundJournal, row: Mapping[str, Any]) -> Entry:
    """The ledger's entry of a row of federation_participation."""
    return journal.participation(row["federation"], state=row["state"], reason=row["reason"], at=row["at"])


def _place(row: Mapping[str, Any]) -> Place:
    return Place(row["federation"], row["run"], row["round"])


def _participation(connection: Connection, federation: str) -> Participation:
    table = federation_participation
    query = select(table).where(table.c.federation == federation).order_by(table.c.id.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return Participation(ParticipationState(row["state"]), row["reason"], row["at"]) if row else Participation()


def _upsert_round(connection: Connection, terms: RoundTerms, now: datetime, **values: Any) -> None:
    """Write a round's row; what has left is not unsent by a later refusal."""
    same = is_of(federation_rounds, terms)
    before = connection.execute(select(federation_rounds.c.outcome).where(same)).scalar()
    if before == Outcome.SENT:
        values["outcome"] = Outcome.SENT
    described = {
        "terms_digest": terms.digest,
        "model": terms.model,
        "participants": len(terms.participants),
        "rule": terms.aggregation.rule,
        "strategy": terms.learning.strategy,
        "preset": terms.learning.preset[:80],
        "last_at": now,
    }
    if before is None:
        connection.execute(insert(federation_rounds).values(**key_of(terms), **described, **values, first_at=now))
    else:
        connection.execute(update(federation_rounds).where(same).values(**described, **values))
