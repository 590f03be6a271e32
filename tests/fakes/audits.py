"""Audits of models as documents, for tests of what is done with one."""

from collections.abc import Sequence
from datetime import datetime

from governance.audit import AuditOutcome, AuditReport, Control


def audit_document(
    model_version: str,
    policy_digest: str,
    *,
    at: datetime,
    outcome: AuditOutcome = AuditOutcome.PASSED,
    trained_by: Sequence[str] = (),
) -> bytes:
    """The canonical document of an audit with one required control."""
    control = Control("bias", "Bias", outcome, True, "0.05", "0.1", "Made for a test.")
    report = AuditReport(
        model_version=model_version,
        policy_digest=policy_digest,
        at=at,
        controls=(control,),
        cohort={"name": "made for a test", "digest": "0" * 64, "cases": 40},
        provenance={"command": "test", "commit": "none", "seeds": [0], "machine": "none", "seconds": "0.0"},
        trained_by=tuple(trained_by),
    )
    return report.to_bytes()
