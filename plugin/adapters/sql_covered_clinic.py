"""What the tables of the clinical loop say was done, and who may sign in."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import func, select

from governance.ledger.completeness import Transaction
from governance.ledger.entries import Entry
from plugin.adapters.sql_analyses import ABOUT
from plugin.adapters.sql_covered_rows import NEVER_BEFORE, Found, SqlCoveredRows
from plugin.adapters.sql_outbox import REVIEWED
from plugin.adapters.sql_records import review_of
from plugin.adapters.sql_schema import analyses, artefacts, deliveries, events, steps, tokens, users
from plugin.services.values import AnalysisState, DeliveryState, Step, User

_ENDED: Final = (
    AnalysisState.NOT_ANALYSABLE,
    AnalysisState.FAILED,
    AnalysisState.HALTED,
    AnalysisState.DUPLICATE,
)
_DECIDED: Final = {state: decision for decision, state in REVIEWED.items()}


class SqlClinicalRows(SqlCoveredRows):
    """Events, analyses, deliveries, reviews; users and tokens."""

    def clinical_transactions(self) -> Found:
        """Table by table."""
        yield from self._events()
        yield from self._unannounced()
        yield from self._ended()
        yield from self._analysed()
        yield from self._published()
        yield from self._reviewed()
        yield from self._accounts()
        yield from self._tokens()

    def _events(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            entry = self._journal.event(
                subscription=row.subscription,
                event_key=row.event_key,
                state=row.state,
                detail=row.detail,
                analysis_id=row.analysis_id,
                received_at=row.received_at,
            )
            yield Transaction("events", str(row.id), entry)

        return self._read(select(events), events.c.id, make)

    def _unannounced(self) -> Found:
        """Analyses that nothing announced: an event is stored with each."""

        def make(row: Any) -> Iterator[Transaction]:
            analysis = self._journal.digest("analysis", row.id)
            entry = Entry("notification-accepted", row.created_at, {"analysis": analysis}, f"event-of-{analysis}")
            yield Transaction("analyses", row.id, entry)

        joined = analyses.outerjoin(events, events.c.analysis_id == analyses.c.id)
        query = select(analyses.c.id, analyses.c.created_at).select_from(joined).where(events.c.id.is_(None))
        return self._read(query, analyses.c.id, make)

    def _ended(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            entry = self._journal.not_analysed(
                analysis_id=row.id,
                state=row.state,
                reason_code=row.reason_code or "",
                reason=row.reason or "",
                duplicate_of=row.duplicate_of,
                model_version=row.model_version,
                at=row.finished_at or NEVER_BEFORE,
            )
            yield Transaction("analyses", row.id, entry)

        ended = ("id", "state", "reason_code", "reason", "duplicate_of", "model_version", "finished_at")
        query = select(*(analyses.c[name] for name in ended)).where(analyses.c.state.in_(_ENDED))
        return self._read(query, analyses.c.id, make)

    def _analysed(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            entry = self._journal.analysed(
                analysis_id=row.id,
                study_instance_uid=row.study_instance_uid,
                model_version=row.model_version,
                about=row[-len(ABOUT) :],
                result=row.result,
                artefacts=self._files(row.id),
                at=row.analysed_at or NEVER_BEFORE,
            )
            yield Transaction("analyses", row.id, entry, has_time=row.analysed_at is not None)

        of_analysis = (steps.c.analysis_id == analyses.c.id, steps.c.step == Step.DELIVER)
        began = select(func.max(steps.c.started_at)).where(*of_analysis).scalar_subquery().label("analysed_at")
        names = (analyses.c.id, analyses.c.study_instance_uid, analyses.c.model_version, analyses.c.result)
        query = select(*names, began, *ABOUT).where(analyses.c.result.is_not(None))
        return self._read(query, analyses.c.id, make)

    def _files(self, analysis_id: str) -> Sequence[tuple[str, str, str]]:
        query = select(artefacts).where(artefacts.c.analysis_id == analysis_id)
        return [
            # SQLite gives text back where somebody wrote text.
            (row.name, row.media_type, hashlib.sha256(_bytes(row.content)).hexdigest())
            for row in self._connection.execute(query)
        ]

    def _published(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            entry = self._journal.published(
                analysis_id=row.analysis_id,
                what=row.kind,
                destination=row.destination,
                receipt=row.receipt or {},
                at=row.sent_at or NEVER_BEFORE,
            )
            yield Transaction("deliveries", str(row.id), entry)

        query = select(deliveries).where(deliveries.c.state == DeliveryState.SENT)
        return self._read(query, deliveries.c.id, make)

    def _reviewed(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            # The analysis' state says it too, and must say the same.
            of_state = _DECIDED.get(row.state)
            stored = row.review or {"reviewer": "", "comment": "", "at": NEVER_BEFORE.isoformat()}
            review = review_of({**stored, "decision": of_state or stored["decision"]})
            for entry in self._journal.reviewed(row.id, review):
                yield Transaction("analyses", row.id, entry)

        decided = analyses.c.review.is_not(None) | analyses.c.state.in_(_DECIDED)
        query = select(analyses.c.id, analyses.c.state, analyses.c.review).where(decided)
        return self._read(query, analyses.c.id, make)

    def _accounts(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            entry = self._journal.account(User(**row._mapping), at=NEVER_BEFORE)
            yield Transaction("users", str(entry.facts["user"]), entry, has_time=False, by="user")

        return self._read(select(users), users.c.username, make)

    def _tokens(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            entry = self._journal.token(row.username, row.digest, at=row.created_at)
            yield Transaction("tokens", str(entry.facts["token"]), entry)

        return self._read(select(tokens), tokens.c.digest, make)


def _bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content
