"""The audit that ships with a model: a file beside its weights, taken into the hospital's records before a release."""

import json
from pathlib import Path
from typing import Final

from governance.errors import AuditDataError
from governance.ledger.entries import Entry
from plugin.services.governance.audit_record import record_of
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.journal import audit_key
from plugin.services.governance.values import AuditRecord

AUDIT_FILE: Final = "segmenter-audit.json"
_CARD_FILE: Final = "segmenter.json"
_MAX_CARD_BYTES: Final = 1 << 20


def current_model(model_dir: Path) -> str:
    """The version that a model's folder states. Who loads the model checks that it is what the version says.

    Raises:
        AuditDataError: The folder has no model.
    """
    try:
        card = (model_dir / _CARD_FILE).read_bytes()
        version = json.loads(card)["version"] if len(card) <= _MAX_CARD_BYTES else None
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise AuditDataError(f"{model_dir}: expected a model with its version in {_CARD_FILE}.") from fault
    if not isinstance(version, str) or not version:
        raise AuditDataError(f"{model_dir}: expected a model with its version in {_CARD_FILE}.")
    return version


def take_shipped_audit(desk: GovernanceDesk, model_dir: Path) -> AuditRecord:
    """Store the audit that ships with the model; one that is stored already stays as it is.

    Args:
        desk: Of governance.
        model_dir: The model's folder.

    Raises:
        AuditDataError: There is none, it is damaged, or it is of another model.
    """
    path, version = model_dir / AUDIT_FILE, current_model(model_dir)
    try:
        document = path.read_bytes()
    except OSError as fault:
        raise AuditDataError(
            f"{path}: no audit ships with this model ({fault.strerror}). Audit it with `qfl governance audit`."
        ) from fault
    record = record_of(document)
    if record.model_version != version:
        raise AuditDataError(
            f"{path}: is an audit of the model {record.model_version[:12]}, expected one of {version[:12]}; audit this "
            "model with `qfl governance audit`."
        )
    desk.store.save_audit(record, entries=[audit_entry(record, desk)])
    return record


def audit_entry(record: AuditRecord, desk: GovernanceDesk) -> Entry:
    """The ledger's entry of an audit that is stored."""
    facts = {
        "model": record.model_version,
        "report": record.digest,
        "outcome": record.outcome,
        "policy": record.policy_digest,
    }
    return Entry("audit-run", desk.clock(), facts, audit_key(record.digest))
