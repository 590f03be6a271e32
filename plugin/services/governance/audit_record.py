"""What a release needs of a stored audit: read from its document, never from the columns beside it."""

from dataclasses import dataclass
from hashlib import sha256

from governance.audit import parse_audit
from governance.errors import AuditDataError
from governance.rules import AuditFacts
from plugin.services.governance.values import AuditRecord


@dataclass(frozen=True)
class AuditHead:
    """What the rules of release look at.

    Attributes:
        trained_by: Keyed digests of people, and names of roles or consortia.
    """

    facts: AuditFacts
    trained_by: tuple[str, ...]


def read_document(document: bytes) -> AuditHead:
    """Read the head of an audit's canonical document.

    Raises:
        AuditDataError: It is none, or its outcome is not what its controls come to.
    """
    report = parse_audit(document)
    digest = sha256(document).hexdigest()
    facts = AuditFacts(digest, report.model_version, report.policy_digest, report.outcome, report.at)
    return AuditHead(facts, report.trained_by)


def read_record(record: AuditRecord) -> AuditHead:
    """Read a stored audit, and check that its row says what its document says.

    Raises:
        AuditDataError: It does not, or the document is none.
    """
    head = read_document(record.document)
    facts = head.facts
    said = (record.digest, record.model_version, record.policy_digest, record.outcome, record.at)
    if said != (facts.digest, facts.model, facts.policy, facts.outcome, facts.at):
        raise AuditDataError("A stored audit is not what its document says: it was changed, and cannot be used.")
    return head


def record_of(document: bytes) -> AuditRecord:
    """An audit's document as it is stored.

    Raises:
        AuditDataError: It is none.
    """
    facts = read_document(document).facts
    return AuditRecord(facts.digest, facts.model, facts.outcome.value, facts.policy, document, facts.at)
