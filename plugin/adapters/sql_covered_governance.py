"""What the tables of governance say was done."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import select

from governance.errors import PolicyError
from governance.ledger.completeness import Transaction
from governance.ledger.entries import Entry
from plugin.adapters.sql_covered_rows import Found, SqlCoveredRows
from plugin.adapters.sql_schema import audits, governance_reports, model_states, officer_acts, officers, policies
from plugin.services.governance.journal import (
    act_key,
    audit_key,
    model_state_key,
    officer_key,
    policy_key,
    report_key,
)
from plugin.services.governance.policy_text import parse_policy_text
from plugin.services.governance.values import ModelState, Officer

_STATES: Final = {
    ModelState.RELEASED: ("model-released", "model-resumed"),
    ModelState.HALTED: ("model-halted",),
}
_UNREADABLE: Final = "0" * 64


class SqlGovernanceRows(SqlCoveredRows):
    """Officers, acts, states of models, audits, reports and policies."""

    def governance_transactions(self) -> Found:
        """Table by table."""
        yield from self._officers()
        yield from self._acts()
        yield from self._model_states()
        yield from self._audits()
        yield from self._reports()
        yield from self._policies()

    def _officers(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            person = self._journal.digest("user", row.username)
            entry = Entry(
                "officer-action",
                row.revoked_at or row.enrolled_at,
                {"officer": person},
                officer_key(Officer(**row._mapping)),
            )
            yield Transaction("officers", person, entry, has_time=False)

        return self._read(select(officers), officers.c.username, make)

    def _acts(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            facts = {"officer": self._journal.digest("user", row.username), "role": row.role, "action": row.act}
            entry = Entry("officer-action", row.at, {**facts, "subject": row.subject}, act_key(row))
            yield Transaction("officer_acts", str(row.id), entry, has_time=False)

        return self._read(select(officer_acts), officer_acts.c.id, make)

    def _model_states(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            kinds = _STATES.get(row.state, ("model-released",))
            facts = {"model": row.model_version, "reason": row.reason_code, "audit": row.audit_digest}
            entry = Entry(kinds[0], row.since, facts, model_state_key(row.model_version, row.since))
            yield Transaction("model_states", row.model_version, entry, kinds, has_time=False)

        query = select(model_states).where(model_states.c.state != ModelState.UNRELEASED)
        return self._read(query, model_states.c.model_version, make)

    def _audits(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            report = hashlib.sha256(row.document).hexdigest()
            facts = {"model": row.model_version, "report": report, "outcome": row.outcome}
            entry = Entry("audit-run", row.at, facts, audit_key(row.digest))
            yield Transaction("audits", row.digest, entry, has_time=False)

        return self._read(select(audits), audits.c.digest, make)

    def _reports(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            entry = Entry("report-issued", row.at, {"report": row.digest, "period": row.period}, report_key(row.digest))
            yield Transaction("governance_reports", row.digest, entry, has_time=False)

        return self._read(select(governance_reports), governance_reports.c.digest, make)

    def _policies(self) -> Found:
        def make(row: Any) -> Iterator[Transaction]:
            facts = {"policy": _policy_digest(row.text)}
            entry = Entry("policy-changed", row.at, facts, policy_key(row.digest, row.at))
            yield Transaction("policies", str(row.id), entry, has_time=False)

        return self._read(select(policies), policies.c.id, make)


def _policy_digest(text: str) -> str:
    """Of what a stored policy says now."""
    try:
        return parse_policy_text(text).digest
    except PolicyError:
        return _UNREADABLE
