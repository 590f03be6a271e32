"""Puts the model of a product under test in use: `python -m tests.servers.release_model`, in the product's environment.

One process in place of ten commands, but the same use cases: three people, their keys, an audit, and two signatures.
The audit is the one that ships with the model; without it, one that says that there is insufficient evidence.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from governance.audit import AuditOutcome
from governance.errors import ReleaseError
from plugin.bootstrap.services import build_services
from plugin.services import accounts
from plugin.services.governance import officers, release
from plugin.services.governance.audit_record import record_of
from plugin.services.governance.officers import Signer
from plugin.services.governance.shipped_audit import AUDIT_FILE, audit_entry, current_model, take_shipped_audit
from plugin.services.values import Role
from plugin.settings import load_settings
from tests.fakes.audits import audit_document

PEOPLE = {
    "test.administrator": Role.ADMINISTRATOR,
    "first.officer": Role.ETHICS_OFFICER,
    "second.officer": Role.ETHICS_OFFICER,
}
PASSPHRASE = "a passphrase for tests only"


def release_model() -> None:
    """Add officers, and have them release the model."""
    settings = load_settings()
    services = build_services(settings)
    administrator, *signers = (Signer(name, PASSPHRASE) for name in PEOPLE)
    for name, role in PEOPLE.items():
        accounts.add_user(services, username=name, display_name=name, role=role, password=PASSPHRASE)
        officers.enrol(
            services.governance,
            services.store,
            username=name,
            passphrase=PASSPHRASE,
            by=None if name == administrator.username else administrator,
            at=services.clock(),
        )
    version = current_model(settings.model_dir)
    _take_audit(services, settings.model_dir, version)
    try:
        release.release(services, model_version=version, by=signers[0])
    except ReleaseError:
        for signer in signers:
            release.override(services, model_version=version, by=signer, reason="Only for tests.")


def _take_audit(services: Any, model_dir: Path, version: str) -> None:
    desk = services.governance
    if (model_dir / AUDIT_FILE).exists():
        take_shipped_audit(desk, model_dir)
        return
    outcome = AuditOutcome.INSUFFICIENT_EVIDENCE
    at = services.clock() - timedelta(seconds=1)
    record = record_of(audit_document(version, desk.policy().digest, at=at, outcome=outcome))
    desk.store.save_audit(record, entries=[audit_entry(record, desk)])


if __name__ == "__main__":
    release_model()
