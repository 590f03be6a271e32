"""The tumour regions in each vocabulary: label, DICOM and FHIR codes, and the colour they are shown in."""

from dataclasses import dataclass

from dicom_ingest.model import Code, Segment
from federated.measurement import RegionMeasure
from fhir_adapter.model import Coding
from plugin.services.values import Measurement

_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "NCIt": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
}


@dataclass(frozen=True)
class Region:
    """One region.

    Attributes:
        segment_number: Its label in the mask and its number in the SEG; None for a union of labels.
        code: Segmented property type after DICOM CID 7159.
    """

    key: str
    label: str
    segment_number: int | None
    code: Code
    display_rgb: tuple[int, int, int]

    @property
    def coding(self) -> Coding:
        """The code as FHIR writes it."""
        return Coding(_SYSTEMS[self.code.scheme], self.code.value, self.code.meaning)

    @property
    def segment(self) -> Segment | None:
        """The region as a segment; None for a union."""
        if self.segment_number is None:
            return None
        return Segment(self.segment_number, self.label, self.code, self.display_rgb)


REGIONS = (
    Region("whole-tumour", "Whole tumour", None, Code("108369006", "SCT", "Neoplasm"), (240, 240, 240)),
    Region("tumour-core", "Tumour core", None, Code("4147007", "SCT", "Mass"), (255, 160, 90)),
    Region("necrosis", "Necrotic and non-enhancing core", 1, Code("6574001", "SCT", "Necrosis"), (86, 140, 255)),
    Region("oedema", "Oedema", 2, Code("79654002", "SCT", "Edema"), (255, 214, 64)),
    Region("enhancing", "Enhancing tumour", 3, Code("C113842", "NCIt", "Enhancing Lesion"), (255, 70, 70)),
)

BY_KEY = {region.key: region for region in REGIONS}
SEGMENTS = tuple(region.segment for region in REGIONS if region.segment)
COLOURS = {segment.number: segment.display_rgb for segment in SEGMENTS}


def to_measurement(one: RegionMeasure) -> Measurement:
    """What was measured on a region, with the name and colour it is shown with."""
    region = BY_KEY[one.key]
    return Measurement(
        key=one.key,
        label=region.label,
        volume_ml=one.volume_ml,
        long_axis_mm=one.long_axis_mm,
        short_axis_mm=one.short_axis_mm,
        confidence=one.confidence,
        display_rgb=region.display_rgb,
    )
