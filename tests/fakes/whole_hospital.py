"""A whole hospital in memory: EHR, archive, database and queue, around the real use cases."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from pydicom.dataset import Dataset

from dicom_ingest.instances import encode_instance
from fhir_adapter.ports import Resource
from plugin.services import analysis, delivery, intake
from plugin.services.governance import model_use
from plugin.services.ports import Services, Site
from plugin.services.values import Analysis
from tests.fakes.analysis_store import InMemoryStore
from tests.fakes.fhir_store import InMemoryFhirStore
from tests.fakes.governance_store import InMemoryGovernance, a_desk, release_up_front
from tests.fakes.image_archive import DEFAULT_ADDRESS, InMemoryArchive, InMemoryArchives
from tests.fakes.mr_series import make_study, study_uid
from tests.fakes.segmenter import ThresholdSegmenter
from tests.fakes.training_store import InMemoryTrainingStore

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EHR = "https://ehr.example/fhir"


@dataclass
class Clock:
    """Time that passes when told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        """The present."""
        return self.now

    def advance(self, delta: timedelta) -> None:
        """Let time pass."""
        self.now += delta


class HintQueue:
    """WorkQueue that keeps hints until somebody works on them; a lossy one loses them all."""

    def __init__(self) -> None:
        self.hints: deque[tuple[str, str]] = deque()
        self.lossy = False

    def analyse(self, analysis_id: str) -> None:
        """Keep a hint."""
        self._keep("analyse", analysis_id)

    def deliver(self, analysis_id: str) -> None:
        """Keep a hint."""
        self._keep("deliver", analysis_id)

    def search_studies(self, subscription: str) -> None:
        """Keep a hint."""
        self._keep("search", subscription)

    def train(self, run_id: str) -> None:
        """Keep a hint."""
        self._keep("train", run_id)

    def _keep(self, what: str, name: str) -> None:
        if not self.lossy:
            self.hints.append((what, name))


@dataclass
class WholeHospital:
    """The services, and everything they touch."""

    clock: Clock = field(default_factory=Clock)
    store: InMemoryStore = field(default_factory=InMemoryStore)
    queue: HintQueue = field(default_factory=HintQueue)
    fhir: InMemoryFhirStore = field(default_factory=lambda: InMemoryFhirStore(base_url=EHR))
    archive: InMemoryArchive = field(default_factory=InMemoryArchive)
    segmenter: ThresholdSegmenter = field(default_factory=ThresholdSegmenter)
    is_released: bool = True

    def __post_init__(self) -> None:
        """Wire the services, and release the model unless told."""
        self.governance = InMemoryGovernance(self.store)
        if self.is_released:
            release_up_front(self.governance, self.segmenter.identity.version, at=self.clock())
        self.services = Services(
            site=Site(
                organisation="Test Hospital",
                public_url="https://qfl.example",
                notification_url="https://qfl.example/fhir/notifications",
                fhir_base_url=EHR,
                archive_url=DEFAULT_ADDRESS,
                lease=timedelta(seconds=60),
                max_attempts=3,
                max_delivery_attempts=3,
                retry_base=timedelta(seconds=5),
            ),
            store=self.store,
            queue=self.queue,
            fhir=self.fhir,
            archives=InMemoryArchives(self.archive),
            segmenter=lambda: self.segmenter,
            clock=self.clock,
            trainings=InMemoryTrainingStore(),
            governance=a_desk(self.governance, self.clock),
        )

    def scan(self, instances: Sequence[Dataset] | None = None, **changes: object) -> Resource:
        """Put a study into the archive and announce it in the EHR; gives its ImagingStudy."""
        held = tumour_study() if instances is None else list(instances)
        self.archive_only(held)
        return self.announce(held, **changes)

    def archive_only(self, instances: Sequence[Dataset]) -> None:
        """Put instances into the archive; the EHR does not hear of them."""
        for instance in instances:
            self.archive.add(encode_instance(instance))

    def announce(self, instances: Sequence[Dataset], **changes: object) -> Resource:
        """Make the ImagingStudy of instances, with its patient and endpoint."""
        patient = self.fhir.create({"resourceType": "Patient", "identifier": [{"value": instances[0].PatientID}]})
        endpoint = self.fhir.create(
            {
                "resourceType": "Endpoint",
                "status": "active",
                "connectionType": {
                    "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
                    "code": "dicom-wado-rs",
                },
                "payloadType": [{"text": "DICOM"}],
                "address": DEFAULT_ADDRESS,
            }
        )
        counts: dict[str, int] = {}
        for instance in instances:
            counts[instance.SeriesInstanceUID] = counts.get(instance.SeriesInstanceUID, 0) + 1
        return self.fhir.create(
            {
                "resourceType": "ImagingStudy",
                "status": "available",
                "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{instances[0].StudyInstanceUID}"}],
                "subject": {"reference": f"Patient/{patient['id']}"},
                "endpoint": [{"reference": f"Endpoint/{endpoint['id']}"}],
                "series": [
                    {"uid": uid, "modality": {"code": "MR"}, "numberOfInstances": count}
                    for uid, count in counts.items()
                ],
                **changes,
            }
        )

    def ask(self, study_instance_uid: str | None = None) -> str:
        """Ask for an analysis; gives its id."""
        uid = study_uid() if study_instance_uid is None else study_instance_uid
        return intake.request_analysis(self.services, study_instance_uid=uid, requested_by="dr.house")

    def work(self) -> None:
        """Be the worker until there is nothing left to do."""
        while self.queue.hints:
            what, name = self.queue.hints.popleft()
            if what == "analyse":
                analysis.analyse_study(self.services, analysis_id=name)
            elif what == "deliver":
                delivery.deliver_results(self.services, analysis_id=name)
            else:
                intake.search_studies(self.services, subscription=name)

    def tick(self, passed: timedelta) -> None:
        """Be the timer after some time, and then the worker."""
        self.clock.advance(passed)
        model_use.requeue_halted(self.services)
        for analysis_id in self.store.stalled(now=self.clock()):
            self.queue.analyse(analysis_id)
        for analysis_id in self.store.due_deliveries(now=self.clock()):
            self.queue.deliver(analysis_id)
        self.work()

    def get(self, analysis_id: str) -> Analysis:
        """One analysis."""
        found = self.store.get(analysis_id)
        assert found
        return found


def tumour_study() -> list[Dataset]:
    """Four series on one grid; the threshold segmenter finds a tumour of three parts in it."""
    voxels = np.full((8, 24, 20), 100, np.uint16)
    voxels[2:6, 6:18, 5:15] = 600
    voxels[3:5, 8:16, 7:13] = 800
    voxels[3:5, 10:14, 8:12] = 1000
    return make_study(voxels=voxels)
