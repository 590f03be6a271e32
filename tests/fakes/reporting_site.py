"""A site on a real SQLite file, with officers, a released model and reviewed results: what reports are made of."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from governance.audit import AuditOutcome, AuditReport, Control
from governance.compliance.catalogue import CONTROLS
from plugin.adapters.sql_session import SqlSession
from plugin.bootstrap.governance import build_reporting, build_subjects
from plugin.bootstrap.ledger import migrate_database
from plugin.bootstrap.services import build_services
from plugin.services.governance import officers, release
from plugin.services.governance.audit_record import record_of
from plugin.services.governance.officers import Signer
from plugin.services.governance.reporting_desk import ReportingDesk
from plugin.services.governance.shipped_audit import audit_entry
from plugin.services.governance.subjects import SubjectStore
from plugin.services.governance.values import Observation
from plugin.services.ports import Services
from plugin.services.values import (
    AnalysisResult,
    Artefact,
    DeliveryKind,
    EventState,
    Patient,
    ReviewRecord,
    Role,
    Step,
    User,
)
from plugin.settings import Settings, load_settings
from tests.fakes.hospital import Clock, a_result

MODEL = "sha256:" + "ab" * 32
ANNA = Patient("Meier^Anna", "MRN-004711", "1962-03-04", "F")
BERT = Patient("Kunz^Bert", "MRN-000815", "1950-07-01", "M")
PEOPLE = {
    "ada.admin": Role.ADMINISTRATOR,
    "eve.ethics": Role.ETHICS_OFFICER,
    "dan.data": Role.DATA_STEWARD,
    "amy.auditor": Role.AUDITOR,
    "ron.reader": Role.RADIOLOGIST,
}
ADA, EVE, DAN, AMY, RON = (Signer(name, f"the passphrase of {name}") for name in PEOPLE)
ENVIRONMENT = {
    "QFL_FHIR_URL": "https://ehr.example/fhir",
    "QFL_ARCHIVE_URL": "https://pacs.example/dicom-web",
    "QFL_PUBLIC_URL": "https://qfl.example",
    "QFL_ORGANISATION": "St. Anna <Hospital> & Söhne",
}


@dataclass
class NoQueue:
    """Nobody is told."""

    def analyse(self, analysis_id: str) -> None:
        pass

    def deliver(self, analysis_id: str) -> None:
        pass


@dataclass
class ReportingSite:
    """The site, and ways to put things into it."""

    settings: Settings
    services: Services
    desk: ReportingDesk
    subjects: SubjectStore
    clock: Clock

    @property
    def database(self) -> Path:
        return self.settings.data_dir / "qfl.db"

    @property
    def first_key(self) -> Path:
        return self.settings.data_dir / "ledger" / "first-key.vkey"

    def appoint(self) -> None:
        """Everybody gets an account and a key."""
        for name, role in PEOPLE.items():
            self.services.store.save_user(User(name, name, role, None, "argon2"), now=self.clock())
            governance, by = self.services.governance, ADA if self.services.governance.store.officers() else None
            officers.enrol(
                governance,
                self.services.store,
                username=name,
                passphrase=f"the passphrase of {name}",
                by=by,
                at=self.clock(),
            )

    def audit(self, outcomes: Mapping[str, AuditOutcome] | None = None, trained_by: tuple[str, ...] = ()) -> None:
        names = [each.topic for each in CONTROLS if each.evidence == "audit-control"]
        controls = tuple(
            Control(name, name, (outcomes or {}).get(name, AuditOutcome.PASSED), True, "0", "1", "For a test.")
            for name in names
        )
        report = AuditReport(
            MODEL,
            self.services.governance.policy().digest,
            self.clock(),
            controls,
            {"name": "test", "digest": "0" * 64, "cases": 40},
            {},
            {"command": "test", "commit": "none", "seeds": [0], "machine": "none", "seconds": "0.0"},
            trained_by,
        )
        record = record_of(report.to_bytes())
        self.services.governance.store.save_audit(record, entries=[audit_entry(record, self.services.governance)])

    def release(self) -> None:
        self.wait()
        release.release(self.services, model_version=MODEL, by=EVE)

    def wait(self, minutes: int = 1) -> None:
        self.clock.now += timedelta(minutes=minutes)

    def announce(self, uid: str, event_key: str) -> str:
        """A study is announced; gives its analysis."""
        _, analysis_id = self.services.store.add_event(
            subscription="ehr",
            event_key=event_key,
            state=EventState.ACCEPTED,
            detail=f"ImagingStudy/{uid[-4:]}",
            imaging_study_reference=f"ImagingStudy/{uid[-4:]}",
            study_instance_uid=uid,
            requested_by="subscription ehr",
            open_analysis=True,
            now=self.clock(),
        )
        assert analysis_id is not None
        return analysis_id

    def analyse(self, patient: Patient = ANNA, uid: str = "1.2.826.0.1.4711", event_key: str = "event-1") -> str:
        """A study is announced, analysed, delivered and watched."""
        store, analysis_id = self.services.store, self.announce(uid, event_key)
        store.claim(analysis_id, owner="w", now=self.clock(), lease=timedelta(minutes=1))
        store.start_step(analysis_id, Step.RESOLVE, now=self.clock())
        store.identify(
            analysis_id,
            study_instance_uid=uid,
            work_key=f"key-{analysis_id}",
            model_version=MODEL,
            patient=patient,
            accession_number="ACC-77",
            study_date="20260303",
            study_description="MRI head",
            now=self.clock(),
        )
        store.save_result(
            analysis_id,
            owner="w",
            result=_result(patient),
            artefacts=[Artefact("report.html", "text/html", f"<p>{patient.name}</p>".encode() * 500)],
            deliveries=[(DeliveryKind.REPORT, "https://ehr.example/fhir")],
            now=self.clock(),
        )
        for delivery in store.deliveries(analysis_id):
            store.mark_sent(delivery.id, receipt={"DiagnosticReport": "DiagnosticReport/7"}, now=self.clock())
        self.services.governance.store.add_observation(
            Observation(analysis_id, MODEL, {"sex": patient.sex}, {"volume_ml": 1.0}, 0.9, self.clock())
        )
        return analysis_id

    def review(self, analysis_id: str, decision: str = "final") -> None:
        review = ReviewRecord(decision, "ron.reader", "Seen.", self.clock())
        assert self.services.store.save_review(analysis_id, review=review, destination="https://ehr", now=self.clock())


def make_template(folder: Path, **environment: str) -> Path:
    """A migrated site; copying it is faster than migrating again."""
    migrate_database(load_settings({**ENVIRONMENT, "QFL_DATA_DIR": str(folder), **environment}))
    return folder


def open_site(template: Path, folder: Path, now: datetime | None = None, **environment: str) -> ReportingSite:
    """A site of its own, whose clock stands still."""
    shutil.copytree(template, folder)
    settings = load_settings({**ENVIRONMENT, "QFL_DATA_DIR": str(folder), **environment})
    clock = Clock(now or datetime.now(UTC) + timedelta(minutes=1))
    built = build_services(settings)
    ledger = replace(built.governance.ledger, clock=clock)
    queue: Any = NoQueue()
    governance = replace(built.governance, clock=clock, ledger=ledger)
    services = replace(built, clock=clock, governance=governance, queue=queue)
    assert isinstance(services.store, SqlSession)
    return ReportingSite(
        settings,
        services,
        build_reporting(settings, services),
        build_subjects(settings),
        clock,
    )


def full_site(template: Path, folder: Path, **environment: str) -> ReportingSite:
    """With officers, a released model, and three results: two accepted, one rejected."""
    site = open_site(template, folder, **environment)
    site.appoint()
    site.audit()
    site.release()
    for number, patient in enumerate((ANNA, BERT, ANNA)):
        site.wait()
        analysis_id = site.analyse(patient, f"1.2.826.0.1.{4711 + number}", f"event-{number}")
        site.review(analysis_id, "final" if number < 2 else "entered-in-error")
    site.wait()
    return site


def _result(patient: Patient) -> AnalysisResult:
    return a_result(findings=f"Findings of {patient.name}.")
