"""A hospital's records of its rounds in memory: the rules of the real ones, without a database."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from federated.errors import PrivacyBudgetError, TermsRefusedError
from federated.privacy.budget import Spending, spending_of_round
from federated.rounds.messages import Stage
from federated.rounds.ports import Finding
from federated.rounds.terms import RoundTerms
from plugin.errors import ParticipationError
from plugin.services.policy_model import CohortCount, Forecast, Participation, ParticipationState, PrivacyLimits
from plugin.services.round_records import ChargeRow, Departure, Outcome, Refusal, RoundRow, cost_of

YEAR = timedelta(days=365)
WIDE = PrivacyLimits(required=False, epsilon_per_round=10.0, epsilon_per_run=10.0, epsilon_per_year=10.0, delta=1e-3)


class InMemoryRounds:
    """RoundRecords under one lock, so each method is one transaction."""

    def __init__(self, limits: Callable[[], PrivacyLimits] = lambda: WIDE) -> None:
        self.kept: dict[str, bytes] = {}
        self._limits = limits
        self._lock = threading.RLock()
        self._charges: dict[tuple[str, str, int, str], ChargeRow] = {}
        self._departures: dict[tuple[str, str, int, str, str, str], Departure] = {}
        self._refusals: dict[tuple[str, str, int, str, tuple[str, ...]], Refusal] = {}
        self._rounds: dict[tuple[str, str, int], RoundRow] = {}
        self._said: dict[str, Participation] = {}

    def charge(
        self, terms: RoundTerms, epsilon: float, *, now: datetime, patients: int | None = None, what: str = "training"
    ) -> None:
        limits, privacy = self._limits(), terms.privacy
        if what == "training" and not privacy.record_noise and epsilon == 0:
            if limits.required:
                raise PrivacyBudgetError("Expected noise on record level.")
            return
        most = min(limits.epsilon_per_round, privacy.record_epsilon) if what == "training" else limits.epsilon_per_round
        if not 0 < epsilon <= most:
            raise PrivacyBudgetError(f"Expected an epsilon up to {most:g}.")
        spending = Spending(terms.run, terms.round, 0.0, 1.0, 1, privacy.delta, epsilon, what)
        if patients is not None and what == "training":
            spending = spending_of_round(terms, patients)
        with self._lock:
            key = (terms.federation, terms.run, terms.round, what)
            if key in self._charges and self._charges[key].spending.epsilon >= epsilon:
                return
            others = {other: row for other, row in self._charges.items() if other != key}
            for most, rows in (
                (limits.epsilon_per_run, [row for other, row in others.items() if other[:2] == key[:2]]),
                (limits.epsilon_per_year, [row for row in others.values() if row.at > now - YEAR]),
            ):
                cost = cost_of([*(row.spending for row in rows), spending], limits.delta)
                if cost.epsilon > most * (1 + 1e-9) or cost.delta > limits.delta * (1 + 1e-9):
                    raise PrivacyBudgetError(f"Expected at most epsilon {most:g}.")
            at = max([now, *(row.at for row in self._charges.values())])
            self._charges[key] = ChargeRow(terms.federation, spending, at)

    def note_departure(
        self, terms: RoundTerms, stage: Stage, *, what: str, digest: str, size: int, now: datetime
    ) -> None:
        with self._lock:
            if self.participation(terms.federation).state is ParticipationState.LEFT:
                raise TermsRefusedError("The site has left.")
            self._note(terms, now, Outcome.SENT)
            place = (terms.federation, terms.run, terms.round)
            key = (*place, str(stage), what, digest)
            self._departures.setdefault(key, Departure(now, *place, str(stage), what, digest, size, None))

    def note_refusal(self, terms: RoundTerms, findings: Sequence[Finding], *, now: datetime) -> None:
        with self._lock:
            self._note(terms, now, Outcome.REFUSED)
            told = [asdict(finding) for finding in findings if not finding.allowed]
            place = (terms.federation, terms.run, terms.round)
            key = (*place, terms.digest, tuple(sorted({finding["rule"] for finding in told})))
            before = self._refusals.get(key)
            count, first = (before.count + 1, before.first_at) if before else (1, now)
            self._refusals[key] = Refusal(*place, told, count, first, now)

    def load(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def keep(self, key: str, data: bytes) -> None:
        self.kept[key] = data

    def drop(self, prefix: str) -> None:
        self.kept = {key: data for key, data in self.kept.items() if not key.startswith(prefix)}

    def note_check(
        self, terms: RoundTerms, *, policy_digest: str, cohort_digest: str, cohort: CohortCount, now: datetime
    ) -> None:
        with self._lock:
            self._note(terms, now, Outcome.CHECKED)
            place = (terms.federation, terms.run, terms.round)
            self._rounds[place] = replace(
                self._rounds[place],
                policy_digest=policy_digest,
                cohort_digest=cohort_digest,
                cases=cohort.cases,
                left_out=cohort.left_out,
            )

    def forecast(self, terms: RoundTerms, expected: Spending | None, *, delta: float, now: datetime) -> Forecast:
        place = (terms.federation, terms.run, terms.round)
        is_new = expected is not None and (*place, expected.what) not in self._charges
        new = [expected] if is_new else []
        run = [row.spending for key, row in self._charges.items() if key[:2] == place[:2]]
        year = [row.spending for row in self._charges.values() if row.at > now - YEAR]
        return Forecast(cost_of([*run, *new], delta), cost_of([*year, *new], delta))

    def has_begun(self, terms: RoundTerms) -> bool:
        row = self._rounds.get((terms.federation, terms.run, terms.round))
        return row is not None and row.terms_digest == terms.digest and row.outcome is not Outcome.REFUSED

    def participation(self, federation: str) -> Participation:
        return self._said.get(federation, Participation())

    def set_participation(self, federation: str, state: ParticipationState, *, reason: str, now: datetime) -> None:
        if self.participation(federation).state is ParticipationState.LEFT:
            raise ParticipationError("The site has left.")
        self._said[federation] = Participation(state, reason, now)
        if state is ParticipationState.LEFT:
            self.drop("work/")

    def rejoin(self, federation: str, *, reason: str, now: datetime) -> None:
        if self.participation(federation).state is not ParticipationState.LEFT:
            raise ParticipationError("The site has not left.")
        self._said[federation] = Participation(ParticipationState.ACTIVE, reason, now)

    def federations(self) -> Sequence[str]:
        places = (*self._rounds, *self._charges, *self._refusals)
        return sorted({*self._said, *(place[0] for place in places)})

    def charges(self, *, since: datetime | None = None) -> Sequence[ChargeRow]:
        rows = sorted(self._charges.values(), key=lambda row: (row.at, row.spending.round))
        return [row for row in rows if since is None or row.at > since]

    def departures(self, *, limit: int, run: str | None = None) -> Sequence[Departure]:
        found = [
            replace(row, epsilon=self._epsilon(row)) for row in self._departures.values() if run in {None, row.run}
        ]
        newest = list(reversed(found))
        return sorted(newest, key=lambda row: row.at, reverse=True)[:limit]

    def refusals(self, *, limit: int) -> Sequence[Refusal]:
        return sorted(self._refusals.values(), key=lambda row: row.last_at, reverse=True)[:limit]

    def rounds(self, *, limit: int) -> Sequence[RoundRow]:
        return sorted(self._rounds.values(), key=lambda row: (row.last_at, row.round), reverse=True)[:limit]

    def _epsilon(self, row: Departure) -> float | None:
        found = self._charges.get((row.federation, row.run, row.round, "training"))
        return found.spending.epsilon if found and row.stage == str(Stage.TRAIN) else None

    def _note(self, terms: RoundTerms, now: datetime, outcome: Outcome) -> None:
        place = (terms.federation, terms.run, terms.round)
        before = self._rounds.get(place)
        if before and before.outcome is Outcome.SENT:
            outcome = Outcome.SENT
        self._rounds[place] = RoundRow(
            *place,
            terms.digest,
            outcome,
            terms.model,
            len(terms.participants),
            terms.aggregation.rule,
            terms.learning.strategy,
            terms.learning.preset,
            before.policy_digest if before else None,
            before.cohort_digest if before else None,
            before.cases if before else None,
            before.left_out if before else {},
            before.first_at if before else now,
            now,
        )
