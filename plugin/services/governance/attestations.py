"""What no query can show, and an officer attests: a document's digest, signed, until a day."""

import hashlib
from datetime import timedelta
from typing import Final

from governance.canonical import Canonical
from governance.compliance.catalogue import CONTROLS, Control, control
from governance.errors import ReportError
from governance.policy import Act
from plugin.services.governance.evidence import attestation_subject
from plugin.services.governance.officers import Signer, act_entry, sign_act
from plugin.services.governance.values import SignedAct
from plugin.services.ports import Services

MOST_DAYS: Final = 366


def attest(services: Services, *, control_id: str, document: bytes, days: int, by: Signer) -> SignedAct:
    """Sign that a control is fulfilled, by a document that the organisation keeps; only its digest is recorded.

    Args:
        services: Of the site.
        control_id: Of an organisational control, e.g. "ORG-3".
        document: That shows it, e.g. the impact assessment as PDF.
        days: How long it holds.
        by: An officer whose role may issue reports.

    Raises:
        ReportError: There is no such control, a query answers it, or the time is too long.
        NotPermittedError: The officer's role may not.
        OfficerKeyError: No key, or a wrong passphrase.
    """
    found = _organisational(control_id)
    if not 1 <= days <= MOST_DAYS:
        raise ReportError(f"Expected an attestation for 1 to {MOST_DAYS} days, got {days}.")
    if not document:
        raise ReportError("Expected a document that shows it, the file is empty.")
    desk, now = services.governance, services.clock()
    facts: dict[str, Canonical] = {
        "attests": found.topic,
        "control": found.id,
        "document": hashlib.sha256(document).hexdigest(),
        "until": (now + timedelta(days=days)).date().isoformat(),
    }
    act = sign_act(
        desk,
        services.store,
        by.username,
        by.passphrase,
        Act.ISSUE_REPORT,
        attestation_subject(found.topic),
        facts,
        now,
    )
    desk.store.add_act(act, entries=[act_entry(desk, act)])
    return act


def _organisational(control_id: str) -> Control:
    found = control(control_id)
    if found is None or not found.is_organisational:
        known = ", ".join(each.id for each in CONTROLS if each.is_organisational)
        raise ReportError(f"Expected a control that is attested ({known}), got {control_id!r}.")
    return found
