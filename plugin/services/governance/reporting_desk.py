"""What reports and evidence work with: the site's services, counts over its tables, and the log as it stands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

from governance.compliance.assessment import ProvedEntry
from governance.compliance.frameworks import ApplicationDate
from governance.compliance.periods import Period, Schedule
from governance.errors import (
    AuditDataError,
    BundleError,
    EntryError,
    LedgerTamperedError,
    PolicyError,
    ProofError,
    ReportError,
)
from governance.ledger.entries import Entry, parse_leaf
from governance.ledger.findings import Report
from governance.ledger.merkle import leaf_hash
from governance.policy import GovernancePolicy
from plugin.services.governance.audit_record import read_record
from plugin.services.governance.cards import read_cards, render
from plugin.services.governance.coverage import Coverable
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.values import AuditRecord, ModelState, ModelStatus
from plugin.services.ports import Services

OFFICER_ACTION: Final = "officer-action"


@dataclass(frozen=True)
class QueryResult:
    """A query and what it counted.

    Attributes:
        text: As it was run.
        numbers: One row.
    """

    text: str
    numbers: Mapping[str, int]


class EvidenceQueries(Protocol):
    """Counts over the operational tables."""

    def ask(self, name: str, *, start: datetime, end: datetime) -> QueryResult:
        """Run a query.

        Args:
            name: results, observed, ended, without-result, reviews, awaiting, sent, accounts or officers.
            start: Of the period.
            end: After it.
        """

    def analysis_ids(self) -> Iterator[str]:
        """Of all analyses."""


@dataclass(frozen=True)
class ReportingDesk:
    """Everything that reports need.

    Attributes:
        services: Of the site.
        queries: Over its tables.
        database: Where tables and log are compared.
        dates: From when on the frameworks apply, read anew for each report.
        card: The model card of a version as JSON; None for a version that none can be made of.
        schedule: How often a report is issued by itself.
    """

    services: Services
    queries: EvidenceQueries
    database: Coverable
    dates: Callable[[], Sequence[ApplicationDate]]
    card: Callable[[str], bytes | None]
    schedule: Schedule = Schedule.BIANNUAL

    @property
    def governance(self) -> GovernanceDesk:
        """Of the services."""
        return self.services.governance


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything as one report sees it; what several controls look at is looked up once.

    Attributes:
        desk: Of reporting.
        period: That the report is about.
        now: The time.
    """

    desk: ReportingDesk
    period: Period
    now: datetime
    _entries: dict[str, list[tuple[int, Entry]]] = field(default_factory=dict)
    _proved: dict[int, ProvedEntry] = field(default_factory=dict)

    @cached_property
    def policy(self) -> GovernancePolicy | None:
        """The policy in force; None where it cannot be used."""
        try:
            return self.desk.governance.policy()
        except PolicyError:
            return None

    @cached_property
    def verified(self) -> Report:
        """The whole log, verified."""
        return self.desk.governance.ledger.verify()

    @cached_property
    def released(self) -> Sequence[ModelStatus]:
        """The models that are released."""
        statuses = self.desk.governance.store.model_statuses()
        return [each for each in statuses if each.state is ModelState.RELEASED]

    def audit_of(self, model_version: str) -> AuditRecord | None:
        """The newest audit of a model that is what its row says."""
        for record in self.desk.governance.store.audits(model_version):
            try:
                read_record(record)
            except AuditDataError:
                continue
            return record
        return None

    def count(self, name: str) -> QueryResult:
        """A query over the period."""
        return self.desk.queries.ask(name, start=self.period.start, end=self.period.end)

    def entries(self, *kinds: str) -> list[tuple[int, Entry]]:
        """All entries of some kinds, the oldest first; what is no entry is left out, as the verification names it."""
        missing = [kind for kind in kinds if kind not in self._entries]
        if missing:
            self._read(missing)
        found = [(index, entry) for kind in kinds for index, entry in self._entries[kind]]
        return sorted(found, key=lambda each: each[0])

    def entries_within(self, *kinds: str) -> list[tuple[int, Entry]]:
        """Those of the period."""
        return [(index, entry) for index, entry in self.entries(*kinds) if self.period.holds(entry.at)]

    def newest(self, found: Sequence[tuple[int, Entry]]) -> ProvedEntry | None:
        """The newest of some entries that the last signed tree is proved to hold."""
        for index, _ in reversed(found):
            proved = self.prove(index)
            if proved is not None:
                return proved
        return None

    def prove(self, index: int) -> ProvedEntry | None:
        """One entry, if the last signed tree is proved to hold it."""
        if index not in self._proved:
            try:
                proof = self.desk.governance.ledger.prove(index)
                proof.check()
                kind = parse_leaf(proof.leaf).kind
            except (ProofError, BundleError, EntryError, LedgerTamperedError, StopIteration):
                return None
            self._proved[index] = ProvedEntry(index, leaf_hash(proof.leaf).hex(), kind)
        return self._proved[index]

    def _read(self, kinds: Sequence[str]) -> None:
        for kind in kinds:
            self._entries[kind] = []
        with self.desk.governance.ledger.store.snapshot() as view:
            for row in view.rows_of_kind(*kinds):
                try:
                    entry = parse_leaf(row.leaf)
                except EntryError:
                    continue
                if entry.kind in self._entries:
                    self._entries[entry.kind].append((row.leaf_index, entry))


def read_card(folder: Path, desk: GovernanceDesk, model_version: str) -> bytes | None:
    """The card of a model version as JSON; None where the folder has no such model, or a damaged one."""
    try:
        cards = read_cards(folder, desk)
    except ReportError:
        return None
    return next((render(each, "json").encode() for each in cards if each.version == model_version), None)
