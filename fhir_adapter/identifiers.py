"""The identifier and tag systems that the plugin writes, and DICOM UIDs as FHIR writes them.

The systems are UUID-derived OIDs (ITU-T X.667), so they need no registrar and name no host. They are part of what makes
a second run harmless: never change one.
"""

import re
import uuid

from fhir_adapter.errors import MalformedResourceError

DICOM_UID = "urn:dicom:uid"
"""R4 ImagingStudy.identifier: the system of a DICOM UID; the value is urn:oid: and the UID."""

RESULT = "urn:oid:2.25.286736550937277114714353927003967823402"
"""A DiagnosticReport of this plugin; the value is the work key."""
OBSERVATION = "urn:oid:2.25.280007552344475557715066693710475862271"
"""An Observation of this plugin; the value is the work key, a full stop and the region's key."""
DEVICE = "urn:oid:2.25.213641843104619816122035338386030542007"
"""The Device of a model in one software version; the value is both."""
MODEL = "urn:oid:2.25.279378264631517206506153669814591603577"
"""A model: the value is the model version, the digest that stands everywhere."""
USERNAME = "urn:oid:2.25.276754751086837919233525928463543035855"
"""A radiologist as they sign in here, for a site that names no Practitioner."""
PROVENANCE_TAG = "urn:oid:2.25.133366744572599807383195433620241541111"
"""meta.tag of a Provenance, which has no identifier in R4; the code is unique to the event."""
AUDIT_TAG = "urn:oid:2.25.46456103858704496399727374636294603578"
"""meta.tag of an AuditEvent, which has no identifier in R4; the code is unique to the event."""

_NAMES = uuid.UUID(int=265991451934733741531888630475858251322)
# Archives hold UIDs with leading zeros, which PS3.5 9.1 forbids: they are read, never written.
_UID = re.compile(r"[0-9]{1,64}(?:\.[0-9]{1,64})+")


def urn_oid(uid: str) -> str:
    """Write a DICOM UID as a URI (PS3.18 and R4 ImagingStudy)."""
    return f"urn:oid:{uid}"


def study_uid_from_identifier(value: str) -> str:
    """Read the DICOM UID out of an identifier's value, with or without urn:oid:.

    Raises:
        MalformedResourceError: It is no UID.
    """
    uid = value.strip().removeprefix("urn:oid:")
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise MalformedResourceError(
            "Expected a DICOM UID (digits and dots, at most 64 characters), with or without urn:oid:, got another text."
        )
    return uid


def derived_uuid(key: str, *parts: str) -> uuid.UUID:
    """The same UUID for the same key and parts, on every run."""
    return uuid.uuid5(_NAMES, "\n".join((key, *parts)))
