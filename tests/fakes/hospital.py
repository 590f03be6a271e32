"""A hospital on fakes: services for the web process, and shortcuts that put analyses into a state."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from plugin.services import accounts
from plugin.services.ports import Services, Site
from plugin.services.values import (
    AnalysisResult,
    Artefact,
    DeliveryKind,
    EventState,
    Measurement,
    Patient,
    SeriesUse,
)
from plugin.web.blueprints import register_web
from tests.fakes.analysis_store import InMemoryStore
from tests.fakes.governance_store import InMemoryGovernance, a_desk, release_up_front
from tests.fakes.training_store import InMemoryTrainingStore
from tests.fakes.work_queue import InMemoryQueue

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"
MODEL = "sha256:00"
STUDY_UID = "2.25.1234567890"
SECRET = "a-shared-secret"
PATIENT = Patient("Meier^Anna", "MRN-004711", "19620304", "F")
ATLAS = json.dumps(
    {
        "columns": 2,
        "contrasts": ["T1ce"],
        "count": 4,
        "first_slice": 1,
        "mm_per_px": 1,
        "tile_height": 8,
        "tile_width": 8,
        "tumour_area_mm2": [0, 4, 4, 0],
    }
).encode()
LEASE = timedelta(minutes=1)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Hospital:
    """Opens analyses and takes each as far as its method's name says."""

    clock: Clock = field(default_factory=Clock)
    store: InMemoryStore = field(default_factory=InMemoryStore)
    queue: InMemoryQueue = field(default_factory=InMemoryQueue)
    public_url: str = "http://localhost"

    def __post_init__(self) -> None:
        self.governance = InMemoryGovernance(self.store)
        release_up_front(self.governance, MODEL, at=NOW)

    def services(self) -> Services:
        site = Site(
            organisation="St. Anna Hospital",
            public_url=self.public_url,
            notification_url=self.public_url,
            fhir_base_url="https://ehr.example.org/fhir",
            archive_url="https://pacs.example.org/dicom-web",
            lease=LEASE,
            max_attempts=5,
            max_delivery_attempts=12,
            retry_base=timedelta(seconds=5),
        )
        nothing: Any = None  # the web process asks neither EHR nor archive nor model
        return Services(
            site,
            self.store,
            self.queue,
            nothing,
            nothing,
            nothing,
            self.clock,
            InMemoryTrainingStore(),
            a_desk(self.governance, self.clock),
        )

    def queued(self, uid: str | None = STUDY_UID) -> str:
        number = len(self.store.list_events(limit=1000))
        _, analysis_id = self.store.add_event(
            subscription="ehr",
            event_key=f"event-{number}",
            state=EventState.ACCEPTED,
            detail="ImagingStudy/1",
            imaging_study_reference="ImagingStudy/1",
            study_instance_uid=uid,
            requested_by="subscription ehr",
            open_analysis=True,
            now=self.clock(),
        )
        assert analysis_id is not None
        return analysis_id

    def running(self, patient: Patient = PATIENT, uid: str = STUDY_UID) -> str:
        analysis_id = self.queued(uid)
        self.store.claim(analysis_id, owner="worker", now=self.clock(), lease=LEASE)
        self.store.identify(
            analysis_id,
            study_instance_uid=uid,
            work_key=f"key-{analysis_id}",
            model_version=MODEL,
            patient=patient,
            accession_number="A-1",
            study_date="20260303",
            study_description="MRI head",
            now=self.clock(),
        )
        return analysis_id

    def publishing(self, result: AnalysisResult | None = None, patient: Patient = PATIENT) -> str:
        analysis_id = self.running(patient)
        files = [
            Artefact("key-T1ce-axial.png", "image/png", b"\x89PNG base"),
            Artefact("key-T1ce-axial-overlay.png", "image/png", b"\x89PNG overlay"),
            Artefact("atlas.json", "application/json", ATLAS),
            Artefact("seg.dcm", "application/dicom", b"DICM"),
            Artefact("report.html", "text/html", b"<style>p{}</style><p>Report</p>"),
        ]
        self.store.save_result(
            analysis_id,
            owner="worker",
            result=result or a_result(),
            artefacts=files,
            deliveries=[
                (DeliveryKind.SEG, "https://pacs.example.org/dicom-web"),
                (DeliveryKind.REPORT, "https://ehr.example.org/fhir"),
            ],
            now=self.clock(),
        )
        return analysis_id

    def awaiting_review(self) -> str:
        analysis_id = self.publishing()
        for delivery in self.store.deliveries(analysis_id):
            self.store.mark_sent(delivery.id, receipt={"DiagnosticReport": "DiagnosticReport/7"}, now=self.clock())
        return analysis_id

    def undelivered(self) -> tuple[str, int]:
        analysis_id = self.publishing()
        delivery = self.store.deliveries(analysis_id)[0]
        self.store.mark_failed(delivery.id, error="The PACS refused it.", next_attempt_at=None, now=self.clock())
        return analysis_id, delivery.id

    def token(self, username: str = "reader") -> str:
        return accounts.issue_token(self.services(), username=username)


def a_result(**changes: Any) -> AnalysisResult:
    values: dict[str, Any] = {
        "tumour_found": True,
        "findings": "A tumour of 12.5 ml was found.",
        "measurements": (
            Measurement("whole-tumour", "Whole tumour", 12.5, 31.4, 22.2, 0.91, (240, 240, 240)),
            Measurement("oedema", "Oedema", 4.0, None, None, None, (255, 214, 64)),
        ),
        "warnings": ("The T2 series is missing.",),
        "series": (SeriesUse("2.25.1.1", "AX T1 GAD", "T1ce", "Has contrast agent."),),
        "seg_sop_instance_uid": "2.25.8",
        "sr_sop_instance_uid": "2.25.9",
        "images": ("key-T1ce-axial.png", "key-T1ce-axial-overlay.png"),
    }
    return AnalysisResult(**(values | changes))


def make_app(hospital: Hospital) -> Flask:
    app = Flask("plugin.web")
    app.config.update(SECRET_KEY="only-for-tests", TESTING=True, PROPAGATE_EXCEPTIONS=False)
    app.extensions["qfl"] = hospital.services()
    register_web(app)
    return app


def csrf_token(client: FlaskClient, path: str = "/start") -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(path).text)
    assert found is not None
    return found[1]


def sign_in(client: FlaskClient, username: str, password: str = PASSWORD, path: str = "/sign-in") -> Any:
    token = csrf_token(client, "/sign-in")
    return client.post(path, data={"username": username, "password": password, "csrf_token": token})
