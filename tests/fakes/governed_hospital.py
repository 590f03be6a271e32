"""A hospital in memory whose officers are enrolled and whose model is not released yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from governance.audit import AuditOutcome
from governance.policy import Act
from plugin.services.governance import officers, release
from plugin.services.governance.audit_record import record_of
from plugin.services.governance.officers import Signer
from plugin.services.governance.shipped_audit import audit_entry
from plugin.services.governance.values import AuditRecord, SignedAct
from plugin.services.values import Role, User
from tests.fakes.audits import audit_document
from tests.fakes.whole_hospital import WholeHospital

PEOPLE: Mapping[str, Role] = {
    "ada.admin": Role.ADMINISTRATOR,
    "eve.ethics": Role.ETHICS_OFFICER,
    "ed.ethics": Role.ETHICS_OFFICER,
    "ron.reader": Role.RADIOLOGIST,
    "dan.data": Role.DATA_STEWARD,
    "amy.auditor": Role.AUDITOR,
}
EVE, ED, RON, ADA = (
    Signer(name, f"the passphrase of {name}") for name in ("eve.ethics", "ed.ethics", "ron.reader", "ada.admin")
)


@dataclass
class GovernedHospital(WholeHospital):
    """With ways to put audits and officers to work; sealing of keys should be made cheap by the test."""

    is_released: bool = field(default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.desk = self.services.governance
        self.model = self.segmenter.identity.version
        for name, role in PEOPLE.items():
            self.store.save_user(User(name, name, role), now=self.clock())
            self.enrol(name)

    def enrol(self, username: str, by: Signer | None = ADA) -> None:
        officers.enrol(
            self.desk,
            self.store,
            username=username,
            passphrase=f"the passphrase of {username}",
            by=by if self.desk.store.officers() else None,
            at=self.clock(),
        )

    def audited(
        self,
        outcome: AuditOutcome = AuditOutcome.PASSED,
        *,
        trained_by: tuple[str, ...] = (),
        model: str = "",
        policy: str = "",
    ) -> AuditRecord:
        self.clock.advance(timedelta(minutes=1))
        document = audit_document(
            model or self.model,
            policy or self.desk.policy().digest,
            at=self.clock(),
            outcome=outcome,
            trained_by=trained_by,
        )
        record = record_of(document)
        self.governance.save_audit(record, entries=[audit_entry(record, self.desk)])
        self.clock.advance(timedelta(minutes=1))
        return record

    def released(self) -> None:
        self.audited()
        release.release(self.services, model_version=self.model, by=EVE)
        self.clock.advance(timedelta(minutes=1))

    def sign(self, by: Signer, act: Act, subject: str, **facts: str) -> SignedAct:
        return officers.sign_act(self.desk, self.store, by.username, by.passphrase, act, subject, facts, self.clock())
