"""The pretend hospital, seen from outside: what the demo puts into it, and what it finds there afterwards."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from sandbox.demo.errors import HospitalError
from sandbox.patients import Subject, Visit, build_mr_instances, build_registration

Resource = dict[str, Any]

_FHIR_JSON = {"Content-Type": "application/fhir+json"}
_TIMEOUT_S = 60
_RADIOLOGIST_ID = "demo-radiologist"


@dataclass(frozen=True)
class Account:
    """Where a server of the hospital is, and how to sign in."""

    home: str
    username: str
    password: str

    def client(self, base_url: str) -> httpx.Client:
        """An HTTP client that is signed in."""
        auth = (self.username, self.password)
        return httpx.Client(base_url=base_url + "/", auth=auth, timeout=_TIMEOUT_S, trust_env=False)


@dataclass(frozen=True)
class DicomObject:
    """One instance in the PACS."""

    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Findings:
    """What is in PACS and EHR for the study; None: not there (yet).

    Attributes:
        observations: What the report measures, with the members of groups.
    """

    seg: DicomObject | None
    sr: DicomObject | None
    report: Resource | None
    provenance: Resource | None
    observations: tuple[Resource, ...]

    @property
    def is_complete(self) -> bool:
        """Whether all four are really there."""
        return None not in (self.seg, self.sr, self.report, self.provenance)


class Hospital:
    """A running sandbox EHR and PACS.

    Args:
        ehr, pacs: Where they are.
    """

    def __init__(self, ehr: Account, pacs: Account) -> None:
        self.ehr = ehr
        self.pacs = pacs
        self.fhir_url = ehr.home + "/fhir"
        self.dicomweb_url = pacs.home + "/dicom-web"
        self._fhir = ehr.client(self.fhir_url)
        self._dicomweb = pacs.client(self.dicomweb_url)

    # What the demo puts in

    def store_images(self, subject: Subject, visit: Visit) -> int:
        """Store the four MR series by STOW-RS; gives the number of instances."""
        instances = list(build_mr_instances(subject, visit))
        boundary = secrets.token_hex(16)
        headers = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'}
        path = f"studies/{visit.study_instance_uid}"
        answer = _ask(self._dicomweb, "POST", path, content=_framed(instances, boundary), headers=headers)
        if answer.status_code != 200:
            raise HospitalError(f"the PACS answered {answer.status_code} to the MRI series")
        return len(instances)

    def register(self, subject: Subject, visit: Visit) -> tuple[str, bool]:
        """Tell the EHR of patient, order and study in one transaction.

        Returns:
            The ImagingStudy's reference, and whether it is new, so that the EHR announces it.
        """
        bundle = build_registration(subject, visit, self.dicomweb_url)
        answer = _ask(self._fhir, "POST", "", json=bundle, headers=_FHIR_JSON)
        if answer.status_code != 200:
            raise HospitalError(f"the EHR answered {answer.status_code} to the registration")
        responses = [entry["response"] for entry in answer.json()["entry"]]
        study = next(response for response in responses if response["location"].startswith("ImagingStudy/"))
        return study["location"].split("/_history/")[0], study["status"].startswith("201")

    def employ_radiologist(self, name: str) -> str:
        """Give the EHR a Practitioner who may read studies; gives the reference."""
        practitioner = {"resourceType": "Practitioner", "id": _RADIOLOGIST_ID, "active": True, "name": [{"text": name}]}
        answer = _ask(self._fhir, "PUT", f"Practitioner/{_RADIOLOGIST_ID}", json=practitioner, headers=_FHIR_JSON)
        if not answer.is_success:
            raise HospitalError(f"the EHR answered {answer.status_code} to the Practitioner")
        return f"Practitioner/{_RADIOLOGIST_ID}"

    # What it finds

    def subscription_statuses(self) -> list[str]:
        """The statuses of the subscriptions at the EHR."""
        return [item["status"] for item in self._search("Subscription")]

    def find(self, study_instance_uid: str, imaging_study: str) -> Findings:
        """Look for the results of a study."""
        report = next(iter(self._search("DiagnosticReport", imagingStudy=imaging_study)), None)
        provenance = None
        if report is not None:
            target = f"DiagnosticReport/{report['id']}"
            provenance = next(iter(self._search("Provenance", target=target)), None)
        return Findings(
            seg=self._find_object(study_instance_uid, "SEG"),
            sr=self._find_object(study_instance_uid, "SR"),
            report=report,
            provenance=provenance,
            observations=tuple(self._observations(report)) if report else (),
        )

    def read_instance(self, study_instance_uid: str, found: DicomObject) -> bytes:
        """Retrieve one instance."""
        path = f"studies/{study_instance_uid}/series/{found.series_instance_uid}/instances/{found.sop_instance_uid}"
        answer = _ask(self._dicomweb, "GET", path, headers={"Accept": "application/dicom"})
        if answer.status_code != 200:
            raise HospitalError(f"the PACS answered {answer.status_code} for instance {found.sop_instance_uid}")
        return answer.content

    def _find_object(self, study_instance_uid: str, modality: str) -> DicomObject | None:
        parameters = {"Modality": modality, "includefield": "ContentDate,ContentTime"}
        answer = _ask(self._dicomweb, "GET", f"studies/{study_instance_uid}/instances", params=parameters)
        if answer.status_code == 204:
            return None
        if answer.status_code != 200:
            raise HospitalError(f"the PACS answered {answer.status_code} to a search")
        # After a change of the model there are several: the newest counts.
        newest = max(answer.json(), key=lambda item: (_value(item, "00080023"), _value(item, "00080033")))
        return DicomObject(_value(newest, "0020000E"), _value(newest, "00080018"))

    def _search(self, resource_type: str, **parameters: str) -> list[Resource]:
        answer = _ask(self._fhir, "GET", resource_type, params={**parameters, "_sort": "-_lastUpdated"})
        if answer.status_code != 200:
            raise HospitalError(f"the EHR answered {answer.status_code} to a search for {resource_type}")
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    def _observations(self, report: Resource) -> Iterable[Resource]:
        waiting = [result.get("reference", "") for result in report.get("result", [])]
        seen = set()
        while waiting:
            reference = waiting.pop(0).removeprefix(self.fhir_url + "/")
            if reference in seen or not reference.startswith("Observation/"):
                continue
            seen.add(reference)
            answer = _ask(self._fhir, "GET", reference)
            if answer.status_code == 200:
                observation: Resource = answer.json()
                waiting += [member.get("reference", "") for member in observation.get("hasMember", [])]
                yield observation


def _ask(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    try:
        return client.request(method, path, **options)
    except httpx.HTTPError as error:
        raise HospitalError(f"no answer from {client.base_url}: {type(error).__name__}") from error


def _framed(instances: list[bytes], boundary: str) -> Iterable[bytes]:
    for instance in instances:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + instance + b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _value(attributes: Resource, tag: str) -> str:
    values = attributes.get(tag, {}).get("Value", [""])
    return str(values[0]) if values else ""
