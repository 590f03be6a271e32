"""What the ledger says of each transaction of the clinical loop, and the keys of the entries of stored rows.

An entry is made of what its row holds, so that the check of coverage makes it again from the row and compares the two.
What tells of a person or a study is a keyed digest; free text is never written, only its digest.

Who stores a row of governance gives its entry the key that the functions here make of the row:

row of               kinds of its entry                                    key
officers             officer-action                                        officer_key(officer)
officer_acts         officer-action                                        act_key(act)
model_states         model-released, model-halted, model-resumed           model_state_key(model_version, since)
audits               audit-run                                             audit_key(digest)
governance_reports   report-issued                                         report_key(digest)
policies             policy-changed                                        policy_key(digest, at)

Erasing a patient's analyses is one subject-erased entry with the fact "analyses": the keyed digests of the erased
analyses. Their rows are then not looked for any more.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from governance.canonical import Canonical, digest
from governance.ledger.entries import Entry
from plugin.services.governance.values import Officer, SignedAct
from plugin.services.values import EventState, ReviewRecord, User

RECORDING_BEGAN: Final = "clinical-recording-began"
"""Key of the entry from which on each transaction of the clinical loop is one."""

_REJECTED: Final = "entered-in-error"


def act_key(act: SignedAct) -> str:
    """Key of the entry of an officer's act: no two acts have the same signed bytes and signature."""
    return f"act-{hashlib.sha256(_length(act.document) + act.document + act.signature).hexdigest()}"


def officer_key(officer: Officer) -> str:
    """Key of the entry of an officer's enrolment, or of the end of it."""
    ends = _text_of(officer.revoked_at) if officer.revoked_at else None
    return f"officer-{digest([hashlib.sha256(officer.public_key).hexdigest(), _text_of(officer.enrolled_at), ends])}"


def model_state_key(model_version: str, since: datetime) -> str:
    """Key of the entry that a model was released, halted or resumed."""
    return f"model-{digest([model_version, _text_of(since)])}"


def audit_key(audit_digest: str) -> str:
    """Key of the entry of an audit."""
    return f"audit-{audit_digest}"


def report_key(report_digest: str) -> str:
    """Key of the entry of an issued report."""
    return f"report-{report_digest}"


def policy_key(policy_digest: str, at: datetime) -> str:
    """Key of the entry of a policy that was put in force."""
    return f"policy-{digest([policy_digest, _text_of(at)])}"


@dataclass(frozen=True)
class Journal:
    """Makes the entries of the clinical loop.

    Attributes:
        digest: The hospital's keyed digest of something by its kind, as GovernanceDesk.digest.
    """

    digest: Callable[[str, str], str] = field(repr=False)

    def event(
        self,
        *,
        subscription: str,
        event_key: str,
        state: str,
        detail: str,
        analysis_id: str | None,
        received_at: datetime,
    ) -> Entry:
        """A notification that was accepted, or refused; repeats of either are counted in its row only."""
        event = self.digest("event", f"{subscription}\n{event_key}")
        facts: dict[str, Canonical] = {"event": event, "state": str(state), "detail": self.digest("detail", detail)}
        if analysis_id is not None:
            facts["analysis"] = self.digest("analysis", analysis_id)
        kind = "notification-refused" if state == EventState.REFUSED else "notification-accepted"
        # Of the analysis too: what is announced again after its patient was erased is another transaction.
        return Entry(kind, received_at, facts, f"event-{digest([event, facts.get('analysis')])}")

    def analysed(
        self,
        *,
        analysis_id: str,
        study_instance_uid: str | None,
        model_version: str | None,
        about: Sequence[Any],
        result: Mapping[str, Any],
        artefacts: Sequence[tuple[str, str, str]],
        at: datetime,
    ) -> Entry:
        """A result was stored.

        Args:
            analysis_id: Of the analysis.
            study_instance_uid: Of the study.
            model_version: Of the model that made it.
            about: Whose study it is and what it is called, in JSON's types.
            result: As stored, in JSON's types.
            artefacts: Name, media type and SHA-256 of each stored file.
            at: When.
        """
        analysis = self.digest("analysis", analysis_id)
        facts: dict[str, Canonical] = {
            "analysis": analysis,
            "study": self.digest("study", study_instance_uid or ""),
            "model": model_version or "unknown",
            "outcome": "tumour" if result["tumour_found"] else "no-tumour",
            "about": self.digest("about", _json(list(about))),
            "result": self.digest("result", _json(result)),
            "files": self.digest("files", _json(sorted(map(list, artefacts)))),
        }
        return Entry("study-analysed", at, facts, f"analysed-{analysis}")

    def not_analysed(
        self,
        *,
        analysis_id: str,
        state: str,
        reason_code: str,
        reason: str,
        duplicate_of: str | None,
        model_version: str | None,
        at: datetime,
    ) -> Entry:
        """An analysis ended without a result; one that was halted may be queued again and end once more."""
        analysis = self.digest("analysis", analysis_id)
        facts: dict[str, Canonical] = {
            "analysis": analysis,
            "outcome": str(state),
            "reason": reason_code,
            "explanation": self.digest("reason", reason),
        }
        if duplicate_of is not None:
            facts["duplicate_of"] = self.digest("analysis", duplicate_of)
        if model_version is not None:
            facts["model"] = model_version
        return Entry("study-not-analysed", at, facts, f"ended-{digest([analysis, _text_of(at)])}")

    def published(
        self, *, analysis_id: str, what: str, destination: str, receipt: Mapping[str, Any], at: datetime
    ) -> Entry:
        """PACS or EHR has what was made of a study."""
        analysis = self.digest("analysis", analysis_id)
        facts: dict[str, Canonical] = {
            "analysis": analysis,
            "what": what,
            "digest": self.digest("receipt", _json([destination, receipt])),
        }
        return Entry("result-published", at, facts, f"published-{what}-{analysis}")

    def reviewed(self, analysis_id: str, review: ReviewRecord) -> Sequence[Entry]:
        """A radiologist decided; a decision against the result is an entry more."""
        analysis, reviewer = self.digest("analysis", analysis_id), self.digest("user", review.reviewer)
        comment = self.digest("comment", review.comment)
        about: dict[str, Canonical] = {"analysis": analysis, "reviewer": reviewer, "comment": comment}
        decided = Entry("review-decided", review.at, {**about, "decision": review.decision}, f"review-{analysis}")
        if review.decision != _REJECTED:
            return [decided]
        return [
            decided,
            Entry("result-overridden", review.at, {**about, "reason": "rejected-in-review"}, f"overridden-{analysis}"),
        ]

    def account(self, user: User, *, at: datetime) -> Entry:
        """A user was added, or got another name, role or password.

        It has no key: an account may be changed back to what it was, and that is a transaction too.
        """
        about = [user.username, user.display_name, str(user.role), user.practitioner_reference, user.password_hash]
        facts = {
            "user": self.digest("user", user.username),
            "role": str(user.role),
            "account": self.digest("account", _json(about)),
        }
        return Entry("account-changed", at, facts)

    def token(self, username: str, token_digest: str, *, at: datetime) -> Entry:
        """A user's program got a token."""
        token = self.digest("token", token_digest)
        return Entry("token-issued", at, {"user": self.digest("user", username), "token": token}, f"token-{token}")

    def officer_act(self, act: SignedAct) -> Entry:
        """An officer did something and signed it."""
        facts: dict[str, Canonical] = {
            "officer": self.digest("user", act.username),
            "role": act.role,
            "action": str(act.act),
            "subject": act.subject,
            "document": hashlib.sha256(act.document).hexdigest(),
        }
        return Entry("officer-action", act.at, facts, act_key(act))


def check_value(journal: "Journal") -> str:
    """Tells later whether the key of digests is still the same."""
    return journal.digest("check", "")


def _json(value: Any) -> str:
    """As the database keeps it: a list and a tuple are the same."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _text_of(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _length(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big")
