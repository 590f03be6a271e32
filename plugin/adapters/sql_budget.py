"""The privacy budget in the database: a release is charged once, before it leaves, and never beyond the limits."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, and_, func, insert, or_, select, text, update

from federated.errors import PrivacyBudgetError, PrivacySettingsError
from federated.privacy.budget import YEAR, Spending, spending_of_round
from federated.rounds.terms import RoundTerms
from governance.ledger.entries import Entry
from plugin.adapters.sql_journal import record_within
from plugin.adapters.sql_round_session import SqlRoundSession, is_of, key_of
from plugin.adapters.sql_schema import federation_spendings as table
from plugin.errors import SitePolicyError
from plugin.services.governance.round_journal import Place, RoundJournal
from plugin.services.policy_model import Cost, Forecast, PrivacyLimits
from plugin.services.round_records import ChargeRow, added_up, cost_of

TRAINING: Final = "training"
_MECHANISM: Final = ("run", "round", "noise", "sample_rate", "steps", "delta", "epsilon", "what")


class SqlBudget(SqlRoundSession):
    """What was charged."""

    def __init__(self, engine: Engine, limits: Callable[[], PrivacyLimits], journal: RoundJournal) -> None:
        """Use a database whose schema is current.

        Args:
            engine: From sql_engine.connect.
            limits: The policy's, read anew at every charge.
            journal: Makes the ledger's entries, which commit with what they tell of.
        """
        super().__init__(engine, journal)
        self._limits = limits

    def charge(
        self, terms: RoundTerms, epsilon: float, *, now: datetime, patients: int | None = None, what: str = TRAINING
    ) -> None:
        """Take a release's epsilon from the budgets of run and year, durably; see SiteRecords."""
        limits = self._current_limits()
        spending = _spending(terms, epsilon, patients, what, limits)
        if spending is None:
            return
        same = and_(is_of(table, terms), table.c.what == what)
        with self._writing() as connection:
            _lock(connection)
            before = connection.execute(select(table.c.epsilon).where(same)).scalar()
            if before is not None and before >= spending.epsilon:
                return
            others = [row for row in _charges(connection, terms, now) if not _is(row, terms, what)]
            _check(terms, spending, others, limits, now)
            # A clock that was put back dates nothing before what it has seen, else it would leave the year too early.
            latest = connection.execute(select(func.max(table.c.at))).scalar()
            values = {**_values(terms, spending), "at": max(now, latest) if latest else now}
            if connection.execute(update(table).where(same).values(**values)).rowcount == 0:
                connection.execute(insert(table).values(**values))
            record_within(connection, [spent_entry(self._journal, values)])

    def forecast(self, terms: RoundTerms, expected: Spending | None, *, delta: float, now: datetime) -> Forecast:
        """What would have been spent after a round; what it was charged already is not counted twice."""
        with self._reading() as connection:
            rows = _charges(connection, terms, now)
        new = [expected] if expected and not any(_is(row, terms, expected.what) for row in rows) else []
        return Forecast(
            run=cost_of([*_in_run(rows, terms), *new], delta),
            year=cost_of([*_in_year(rows, now), *new], delta),
        )

    def charges(self, *, since: datetime | None = None) -> Sequence[ChargeRow]:
        """What was charged after a moment; all of it without one. The oldest first."""
        query = select(table).order_by(table.c.at, table.c.round)
        if since is not None:
            query = query.where(table.c.at > since)
        with self._reading() as connection:
            return [_charge_of(row) for row in connection.execute(query).mappings()]

    def _current_limits(self) -> PrivacyLimits:
        try:
            return self._limits()
        except SitePolicyError as fault:
            raise PrivacyBudgetError(f"Expected a site policy with a privacy budget: {fault}") from fault


def spent_entry(journal: RoundJournal, row: Mapping[str, Any]) -> Entry:
    """The ledger's entry of a row."""
    mechanism = {name: row[name] for name in ("epsilon", "delta", "noise", "sample_rate", "steps")}
    place = Place(row["federation"], row["run"], row["round"])
    return journal.spent(place, row["terms_digest"], what=row["what"], mechanism=mechanism, at=row["at"])


def _check(
    terms: RoundTerms, spending: Spending, others: Sequence[ChargeRow], limits: PrivacyLimits, now: datetime
) -> None:
    for period, most, before in (
        ("run", limits.epsilon_per_run, _in_run(others, terms)),
        ("year", limits.epsilon_per_year, _in_year(others, now)),
    ):
        spendings, limit = [*before, spending], Cost(most, limits.delta)
        # The plain sum is above what the accountant finds, and at hand at once.
        if _fits(added_up(spendings), limit):
            continue
        after = cost_of(spendings, limits.delta)
        if not _fits(after, limit):
            raise _refused(
                terms,
                f"at most epsilon {most:g} at delta {limits.delta:g} in a {period}, got {after.epsilon:.4g} at "
                f"{after.delta:.3g} with this release",
            )


def _fits(cost: Cost, limit: Cost) -> bool:
    # Sums of equal shares must not miss the whole by a rounding error.
    return cost.epsilon <= limit.epsilon * (1 + 1e-9) and cost.delta <= limit.delta * (1 + 1e-9)


def _refused(terms: RoundTerms, what: str) -> PrivacyBudgetError:
    return PrivacyBudgetError(
        f"Run {terms.run}, round {terms.round}: expected {what}; nothing was charged and nothing may leave. Wait until "
        "older releases have lapsed, ask the coordinator for less, or change the site's policy."
    )


def _spending(
    terms: RoundTerms, epsilon: float, patients: int | None, what: str, limits: PrivacyLimits
) -> Spending | None:
    """What is to be charged; None for a round without record-level privacy, where the policy takes such."""
    asked = terms.privacy
    if what == TRAINING and not asked.record_noise and epsilon == 0:
        if limits.required:
            raise _refused(terms, "noise on record level, which the site's policy requires, got none")
        return None
    most = min(limits.epsilon_per_round, asked.record_epsilon) if what == TRAINING else limits.epsilon_per_round
    if not 0 < epsilon <= most:
        raise _refused(terms, f"an epsilon above 0 up to {most:g}, got {epsilon!r}")
    try:
        if patients is None or what != TRAINING:
            return unknown_mechanism(terms, epsilon, what)
        known = spending_of_round(terms, patients)
    except PrivacySettingsError as fault:
        raise PrivacyBudgetError(f"Run {terms.run}, round {terms.round}: {fault}") from fault
    return known if known.epsilon >= epsilon else unknown_mechanism(terms, epsilon, what)


def unknown_mechanism(terms: RoundTerms, epsilon: float, what: str = TRAINING) -> Spending:
    """A spending that counts as it stands.

    Raises:
        PrivacySettingsError: Epsilon or delta is out of range.
    """
    return Spending(terms.run, terms.round, 0.0, 1.0, 1, terms.privacy.delta, epsilon, what)


def _lock(connection: Connection) -> None:
    """One charge after the other; SQLite's transactions that write are so anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE federation_spendings IN SHARE ROW EXCLUSIVE MODE"))


def _charges(connection: Connection, terms: RoundTerms, now: datetime) -> list[ChargeRow]:
    """Of the year and of the run; those dated in the future, as after a clock was put back, count."""
    in_run = and_(table.c.federation == terms.federation, table.c.run == terms.run)
    query = select(table).where(or_(table.c.at > now - YEAR, in_run))
    return [_charge_of(row) for row in connection.execute(query).mappings()]


def _in_run(rows: Sequence[ChargeRow], terms: RoundTerms) -> list[Spending]:
    return [row.spending for row in rows if (row.federation, row.spending.run) == (terms.federation, terms.run)]


def _in_year(rows: Sequence[ChargeRow], now: datetime) -> list[Spending]:
    return [row.spending for row in rows if row.at > now - YEAR]


def _is(row: ChargeRow, terms: RoundTerms, what: str) -> bool:
    found = row.spending
    return (row.federation, found.run, found.round, found.what) == (terms.federation, terms.run, terms.round, what)


def _values(terms: RoundTerms, spending: Spending) -> dict[str, Any]:
    return {
        **key_of(terms),
        "terms_digest": terms.digest,
        **{name: getattr(spending, name) for name in _MECHANISM if name not in {"run", "round"}},
    }


def _charge_of(row: RowMapping) -> ChargeRow:
    return ChargeRow(row["federation"], Spending(**{name: row[name] for name in _MECHANISM}), row["at"])
