"""Every code the plugin writes, with its display: one table."""

from typing import Final

from fhir_adapter.model import Coding
from fhir_adapter.ports import Resource

SCT: Final = "http://snomed.info/sct"
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
LOINC: Final = "http://loinc.org"
NCIT: Final = "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl"
UCUM: Final = "http://unitsofmeasure.org"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_AI = "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS"

# What is reported
RADIOLOGY = Coding(LOINC, "LP29684-5", "Radiology")
MR_BRAIN = Coding(LOINC, "24590-2", "MR Brain")
IMAGING = Coding(f"{_TERMINOLOGY}/observation-category", "imaging", "Imaging")
VOLUME = Coding(SCT, "118565006", "Volume")
LONG_AXIS = Coding(SCT, "103339001", "Long axis")
SHORT_AXIS = Coding(SCT, "103340004", "Short axis")
BRAIN = Coding(SCT, "12738006", "Brain")
FINDING = Coding(DCM, "121071", "Finding")
SEGMENTED_VOXELS = Coding(DCM, "126030", "Sum of segmented voxel method for volume")
BRAIN_NEOPLASM = Coding(SCT, "126952004", "Neoplasm of brain")
PRESENT = Coding(SCT, "52101004", "Present")
ABSENT = Coding(SCT, "272519000", "Absent")
POSITIVE = Coding(f"{_TERMINOLOGY}/v3-ObservationInterpretation", "POS", "Positive")
NEGATIVE = Coding(f"{_TERMINOLOGY}/v3-ObservationInterpretation", "NEG", "Negative")

# Who made it, and why it is marked
AI_ASSERTED = Coding(f"{_TERMINOLOGY}/v3-ObservationValue", "AIAST", "Artificial Intelligence asserted")
ARTIFICIAL_INTELLIGENCE = Coding(_AI, "Artificial-Intelligence", "All kinds of Artificial Intelligence")
AI_KINDS = (
    Coding(_AI, "Deep-Learning-Models", "Deep Learning Models"),
    Coding(_AI, "Medical-Image-Analysis", "Medical Image Analysis"),
    Coding(_AI, "AI-for-Medical-Imaging-Data", "AI for Medical Imaging Data"),
)
CREATE = Coding(f"{_TERMINOLOGY}/v3-DataOperation", "CREATE", "create")
UPDATE = Coding(f"{_TERMINOLOGY}/v3-DataOperation", "UPDATE", "revise")
AUTHOR = Coding(f"{_TERMINOLOGY}/provenance-participant-type", "author", "Author")
ASSEMBLER = Coding(f"{_TERMINOLOGY}/provenance-participant-type", "assembler", "Assembler")
CUSTODIAN = Coding(f"{_TERMINOLOGY}/provenance-participant-type", "custodian", "Custodian")
VERIFIER = Coding(f"{_TERMINOLOGY}/provenance-participant-type", "verifier", "Verifier")
ACCESSION = Coding("http://terminology.hl7.org/CodeSystem/v2-0203", "ACSN", "Accession ID")

# Audit (IHE BALP)
REST = Coding(f"{_TERMINOLOGY}/audit-event-type", "rest", "RESTful Operation")
SOURCE_ROLE = Coding(DCM, "110153", "Source Role ID")
DESTINATION_ROLE = Coding(DCM, "110152", "Destination Role ID")
INFORMATION_RECIPIENT = Coding(f"{_TERMINOLOGY}/v3-ParticipationType", "IRCP", "information recipient")
ORIGINATOR = Coding(f"{_TERMINOLOGY}/v3-ParticipationType", "AUT", "author (originator)")
AUDITED_PERSON = Coding(f"{_TERMINOLOGY}/audit-entity-type", "1", "Person")
AUDITED_OBJECT = Coding(f"{_TERMINOLOGY}/audit-entity-type", "2", "System Object")
PATIENT_ROLE = Coding(f"{_TERMINOLOGY}/object-role", "1", "Patient")
RESOURCE_ROLE = Coding(f"{_TERMINOLOGY}/object-role", "4", "Domain Resource")
QUERY_ROLE = Coding(f"{_TERMINOLOGY}/object-role", "24", "Query")
APPLICATION_SERVER = Coding(f"{_TERMINOLOGY}/security-source-type", "4", "Application Server")


def interaction(code: str) -> Coding:
    """A code of http://hl7.org/fhir/restful-interaction: its display is the code."""
    return Coding("http://hl7.org/fhir/restful-interaction", code, code)


def modality(code: str) -> Coding:
    """A DICOM modality (CID 29): MR, SEG, SR."""
    return Coding(DCM, code, {"MR": "Magnetic Resonance", "SEG": "Segmentation", "SR": "SR Document"}.get(code, code))


def coding(code: Coding) -> Resource:
    """Write a Coding."""
    return {"system": code.system, "code": code.code, "display": code.display}


def concept(*codes: Coding, text: str | None = None) -> Resource:
    """Write a CodeableConcept."""
    written: Resource = {"coding": [coding(code) for code in codes]} if codes else {}
    return {**written, "text": text} if text else written


def quantity(value: float, unit: str, *, digits: int) -> Resource:
    """Write a UCUM Quantity, rounded to what the measurement can mean."""
    return {"value": round(value, digits), "unit": unit, "system": UCUM, "code": unit}
