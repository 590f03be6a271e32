"""Our SEG and SR before third parties: dicom3tools judges them, dcmqi reads them, SimpleITK places them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from dicom_ingest.instances import encode_instance, parse_instance
from dicom_ingest.segmentation import build_segmentation
from dicom_ingest.structured_report import build_measurement_report
from dicom_ingest.volume import order_slices
from tests.fakes.mr_series import ORIENTATIONS, make_series
from tests.fakes.results import ALGORITHM, NOW, REGIONS, SEGMENTS, make_mask

SHAPE = (8, 24, 20)
TIMEOUT_S = 60

CASES = [
    *(pytest.param({"orientation": orientation}, id=name) for name, orientation in ORIENTATIONS.items()),
    pytest.param({"reverse": True}, id="axial, reversed numbers"),
    pytest.param({"orientation": ORIENTATIONS["oblique"], "reverse": True}, id="oblique, reversed numbers"),
    pytest.param({"orientation": ORIENTATIONS["sagittal"], "spacing_mm": (1.1, 0.45, 0.45)}, id="sagittal, fine"),
]


@dataclass(frozen=True)
class Written:
    """A series and its results, as files."""

    mask: np.ndarray
    sources: list[Dataset]
    series: list[Path]
    segmentation: Path
    report: Path


def write(folder: Path, mask: np.ndarray, **options: object) -> Written:
    sources = make_series(shape=SHAPE, **options)  # type: ignore[arg-type]
    segmentation = build_segmentation(
        order_slices(sources), mask, SEGMENTS, ALGORITHM, key="key", series_number=900, now=NOW
    )
    report = build_measurement_report(sources, segmentation, REGIONS, ALGORITHM, key="key", series_number=901, now=NOW)
    (folder / "mr").mkdir()
    written = Written(
        mask=mask,
        sources=sources,
        series=[folder / "mr" / f"{source.InstanceNumber:03}.dcm" for source in sources],
        segmentation=folder / "seg.dcm",
        report=folder / "sr.dcm",
    )
    for path, instance in zip(
        [*written.series, written.segmentation, written.report], [*sources, segmentation, report], strict=True
    ):
        path.write_bytes(encode_instance(instance))
    return written


@pytest.fixture(params=CASES)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Written:
    return write(tmp_path, make_mask(SHAPE), **request.param)


def run(tool: str, *arguments: str | Path) -> tuple[int, list[str]]:
    """Run a tool of the virtual environment; returns its exit status and its lines that begin with Error."""
    path = shutil.which(tool, path=str(Path(sys.executable).parent))
    assert path, f"{tool} is missing: install the dev dependencies"
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in lines if line.startswith("Error")]


CLEAN: tuple[int, list[str]] = (0, [])


def test_dciodvfy_finds_no_error(written: Written) -> None:
    assert run("dciodvfy", "-new", written.series[0]) == CLEAN
    assert run("dciodvfy", "-new", written.segmentation) == CLEAN
    assert run("dciodvfy", "-new", written.report) == CLEAN


def test_dcentvfy_finds_one_patient_and_one_study(written: Written) -> None:
    assert run("dcentvfy", *written.series, written.segmentation, written.report) == CLEAN


def test_dcmqi_and_simpleitk_find_every_voxel_in_its_place(written: Written, tmp_path: Path) -> None:
    assert np.array_equal(read_by_dcmqi(written, tmp_path / "dcmqi"), written.mask)


def read_by_dcmqi(written: Written, folder: Path) -> np.ndarray:
    """The mask on the grid of the MR series, by readers that share no code with us."""
    folder.mkdir()
    status, _ = run(
        "segimage2itkimage",
        *("--inputDICOM", written.segmentation),
        *("--outputDirectory", folder),
        *("-t", "nifti", "--mergeSegments"),
    )
    assert status == 0
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(written.series[0].parent)))
    (image,) = folder.glob("*.nii.gz")
    labels = sitk.Resample(sitk.ReadImage(str(image)), reader.Execute(), sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(labels)


def test_dcmqi_reads_the_measurements(written: Written, tmp_path: Path) -> None:
    groups = read_report(written.report, tmp_path / "sr.json")
    segmentation = parse_instance(written.segmentation.read_bytes())
    expected = {region.label: region.volume_ml for region in REGIONS if region.segment_number}
    found = {group["TrackingIdentifier"]: group for group in groups if "ReferencedSegment" in group}
    assert {label: volume(group) for label, group in found.items()} == pytest.approx(expected)
    for item in segmentation.SegmentSequence:
        group = found[item.TrackingID]
        assert group["TrackingUniqueIdentifier"] == item.TrackingUID
        assert group["ReferencedSegment"] == item.SegmentNumber
        assert group["segmentationSOPInstanceUID"] == segmentation.SOPInstanceUID
        assert group["measurementAlgorithmIdentification"]["AlgorithmVersion"] == ALGORITHM.version


def read_report(path: Path, output: Path) -> list[dict]:
    status, _ = run("tid1500reader", "--inputDICOM", path, "--outputMetadata", output)
    assert status == 0
    return json.loads(output.read_text())["Measurements"]


def volume(group: dict) -> float:
    (value,) = [item["value"] for item in group["measurementItems"] if item["quantity"]["CodeMeaning"] == "Volume"]
    return float(value)


@pytest.mark.parametrize("labels", [(), (2,), (1, 3)], ids=["no tumour", "one label", "two labels, one slice each"])
def test_results_with_segments_that_are_empty_are_valid(labels: tuple[int, ...], tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    for label in labels:
        mask[label, 5:9, 4 + label] = label
    written = write(tmp_path, mask)
    assert run("dciodvfy", "-new", written.segmentation) == CLEAN
    assert run("dciodvfy", "-new", written.report) == CLEAN
    assert run("dcentvfy", *written.series, written.segmentation, written.report) == CLEAN
    if len(labels) != 1:
        # With a single slice dcmqi cannot know the spacing, and assumes 1 mm.
        assert np.array_equal(read_by_dcmqi(written, tmp_path / "dcmqi"), mask)


# --- What dciodvfy does not miss when it is missing -------------------------------------------------------------------

Get = Callable[[Dataset], Sequence[Dataset]]


def top(segmentation: Dataset) -> Sequence[Dataset]:
    return [segmentation]


def segments(segmentation: Dataset) -> Sequence[Dataset]:
    return segmentation.get("SegmentSequence", [])


def frames(segmentation: Dataset) -> Sequence[Dataset]:
    return segmentation.get("PerFrameFunctionalGroupsSequence", [])


def shared(segmentation: Dataset) -> Sequence[Dataset]:
    return segmentation.get("SharedFunctionalGroupsSequence", [])


def derivations(segmentation: Dataset) -> Sequence[Dataset]:
    return [item for frame in frames(segmentation) for item in frame.get("DerivationImageSequence", [])]


def dimensions(segmentation: Dataset) -> Sequence[Dataset]:
    return segmentation.get("DimensionIndexSequence", [])


REQUIRED: list[tuple[Get, str]] = [
    (top, "FrameOfReferenceUID"),
    (frames, "PlanePositionSequence"),
    (shared, "PixelMeasuresSequence"),
    (frames, "DerivationImageSequence"),
    (derivations, "SourceImageSequence"),
    (top, "ContributingEquipmentSequence"),
    (top, "SegmentsOverlap"),
    (segments, "AnatomicRegionSequence"),
    (segments, "SegmentationAlgorithmIdentificationSequence"),
    (segments, "RecommendedDisplayCIELabValue"),
    (top, "StudyDescription"),
    (top, "InstanceCreationDate"),
    (top, "InstanceCreationTime"),
    (top, "PresentationLUTShape"),
    (dimensions, "DimensionDescriptionLabel"),
]
"""Attributes whose absence dciodvfy does not report, though viewers and auditors need them."""


def absent(segmentation: Dataset) -> list[str]:
    """Names of the required attributes that a segmentation lacks somewhere."""
    return [
        keyword
        for get, keyword in REQUIRED
        if not get(segmentation) or any(keyword not in item or item[keyword].is_empty for item in get(segmentation))
    ]


@pytest.fixture(scope="module")
def segmentation() -> bytes:
    sources = make_series(shape=SHAPE)
    built = build_segmentation(sources, make_mask(SHAPE), SEGMENTS, ALGORITHM, key="key", series_number=900, now=NOW)
    return encode_instance(built)


def test_nothing_that_is_required_is_absent(segmentation: bytes) -> None:
    assert absent(parse_instance(segmentation)) == []


@pytest.mark.parametrize(("get", "keyword"), REQUIRED, ids=[keyword for _, keyword in REQUIRED])
def test_our_own_check_finds_a_removed_attribute(segmentation: bytes, get: Get, keyword: str) -> None:
    mutant = parse_instance(segmentation)
    for item in get(mutant):
        del item[keyword]
    assert keyword in absent(mutant)


@pytest.mark.parametrize(
    ("get", "keyword"),
    [
        (top, "ContentLabel"),
        (top, "ReferencedSeriesSequence"),
        (top, "DeviceSerialNumber"),
        (top, "AccessionNumber"),
        (segments, "SegmentAlgorithmName"),
        (segments, "TrackingUID"),
        (frames, "SegmentIdentificationSequence"),
        (shared, "PlaneOrientationSequence"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dciodvfy_finds_a_removed_attribute(segmentation: bytes, get: Get, keyword: str, tmp_path: Path) -> None:
    mutant = parse_instance(segmentation)
    for item in get(mutant):
        del item[keyword]
    path = tmp_path / "mutant.dcm"
    path.write_bytes(encode_instance(mutant))
    status, errors = run("dciodvfy", "-new", path)
    assert status != 0
    assert errors


def test_dcentvfy_finds_another_patient(tmp_path: Path) -> None:
    written = write(tmp_path, make_mask(SHAPE))
    mutant = parse_instance(written.segmentation.read_bytes())
    mutant.PatientID = "SOMEONE-ELSE"
    written.segmentation.write_bytes(encode_instance(mutant))
    assert run("dcentvfy", *written.series, written.segmentation) != CLEAN


def test_the_voxel_gate_finds_a_shifted_frame(tmp_path: Path) -> None:
    written = write(tmp_path, make_mask(SHAPE))
    mutant = parse_instance(written.segmentation.read_bytes())
    for frame in mutant.PerFrameFunctionalGroupsSequence:
        position = frame.PlanePositionSequence[0]
        position.ImagePositionPatient = [
            float(position.ImagePositionPatient[0]) + 1.25,
            *position.ImagePositionPatient[1:],
        ]
    written.segmentation.write_bytes(encode_instance(mutant))
    assert not np.array_equal(read_by_dcmqi(written, tmp_path / "dcmqi"), written.mask)
