"""A segmentation result to build documents from: what a model might say of a series."""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from dicom_ingest.model import Algorithm, Code, RegionMeasurement, Segment

NOW = datetime(2026, 11, 22, 10, 11, 12, 345678, tzinfo=UTC)

ALGORITHM = Algorithm(
    name="QFL hybrid segmenter",
    version="0123456789abcdef" * 4,
    manufacturer="QFL consortium",
    software_version="0.1.0",
    device_uid="2.25.123456789",
)

NECROSIS = Code("6574001", "SCT", "Necrosis")
OEDEMA = Code("79654002", "SCT", "Edema")
ENHANCING = Code("C113842", "NCIt", "Enhancing Lesion")
NEOPLASM = Code("108369006", "SCT", "Neoplasm")

SEGMENTS = (
    Segment(1, "Necrotic core", NECROSIS, (255, 0, 0)),
    Segment(2, "Oedema", OEDEMA, (255, 255, 0)),
    Segment(3, "Enhancing tumour", ENHANCING, (0, 0, 255)),
)

REGIONS = (
    RegionMeasurement("Necrotic core", 1, NECROSIS, 1.25, 12.5, 7.25, 0.93),
    RegionMeasurement("Oedema", 2, OEDEMA, 0.0, None, None, None),
    RegionMeasurement("Enhancing tumour", 3, ENHANCING, 3.5, 22.5, 17.25, 0.8125),
    RegionMeasurement("Whole tumour", None, NEOPLASM, 4.75, 30.0, 20.0, 0.9),
    RegionMeasurement("Tumour core", None, NEOPLASM, 4.75, 25.0, 19.0, 0.9),
)


def make_mask(shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Nested boxes of labels 2, 3 and 1, off centre along every axis, so that no flip leaves them in place."""
    mask = np.zeros(shape, np.uint8)
    slices, rows, columns = shape
    mask[1 : slices // 2 + 1, rows // 4 : rows // 2 + 1, columns // 5 : columns // 2] = 2
    mask[2 : slices // 2, rows // 4 + 1 : rows // 2, columns // 5 + 1 : columns // 2 - 1] = 3
    mask[2, rows // 4 + 2, columns // 5 + 2 : columns // 2 - 2] = 1
    return mask
