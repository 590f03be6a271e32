import itertools

import pytest
from pydicom.dataset import Dataset

from dicom_ingest.errors import MissingReferenceSeriesError, NotMagneticResonanceError
from dicom_ingest.model import MrContrast, Selection, Series
from dicom_ingest.selection import choose_series

T1, T1CE, T2, FLAIR = MrContrast


def series(
    uid: str, description: str, *, modality: str = "MR", instances: int = 20, frame: str = "1.9", **attributes: object
) -> Series:
    header = Dataset()
    header.SeriesDescription = description
    header.SeriesNumber = int(uid.rpartition(".")[2])
    header.FrameOfReferenceUID = frame
    header.ImageType = ["ORIGINAL", "PRIMARY"]
    for keyword, value in attributes.items():
        setattr(header, keyword, value)
    return Series("1.1", uid, modality, instances, header)


def uids(selection: Selection) -> dict[MrContrast, str]:
    return {contrast: each.series.series_instance_uid for contrast, each in selection.chosen.items()}


def reasons(selection: Selection) -> dict[str, str]:
    return {each.series.series_instance_uid: each.reason for each in selection.ignored}


STUDY = [
    series("1.1.1", "3-PLANE LOC"),
    series("1.1.2", "AX T1 PRE"),
    series("1.1.3", "AX T2"),
    series("1.1.4", "AX T2 FLAIR"),
    series("1.1.5", "AX DWI"),
    series("1.1.6", "AX T1 POST"),
    series("1.1.7", "Report", modality="SR"),
]


def test_chooses_the_four_contrasts_and_accounts_for_every_other_series() -> None:
    selection = choose_series(STUDY)
    assert uids(selection) == {T1: "1.1.2", T1CE: "1.1.6", T2: "1.1.3", FLAIR: "1.1.4"}
    assert list(selection.chosen) == list(MrContrast)
    assert [each.series.series_instance_uid for each in selection.ignored] == ["1.1.1", "1.1.5", "1.1.7"]
    assert "Not MR" in reasons(selection)["1.1.7"]
    assert selection.missing == ()


def test_the_order_of_series_does_not_matter() -> None:
    twins = [*STUDY[1:4], STUDY[5], series("1.1.8", "AX T1 POST"), series("1.1.9", "AX T2")]
    expected = uids(choose_series(twins))
    assert all(uids(choose_series(order)) == expected for order in itertools.permutations(twins, len(twins)))


def test_missing_contrasts_are_named() -> None:
    assert choose_series([STUDY[5]]).missing == (T1, T2, FLAIR)


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        pytest.param({"ContrastBolusAgent": "Gd"}, {}, "more evidence", id="evidence"),
        pytest.param({"MRAcquisitionType": "3D"}, {"MRAcquisitionType": "2D", "instances": 40}, "3D", id="3D"),
        pytest.param({"instances": 30}, {"instances": 29}, "more images", id="images"),
        pytest.param({}, {"ImageType": ["DERIVED", "SECONDARY"]}, "original", id="original"),
        pytest.param({}, {}, "lower series number", id="series number"),
    ],
)
def test_of_two_alike_the_preferred_one_is_chosen_and_the_other_told_why(
    better: dict[str, object], worse: dict[str, object], why: str
) -> None:
    one = series("1.1.4" if why == "lower series number" else "1.1.9", "AX T1 POST", **better)
    other = series("1.1.8", "AX T1 POST", **worse)
    selection = choose_series([other, one])
    assert selection.chosen[T1CE].series is one
    assert why in reasons(selection)["1.1.8"]
    assert "AX T1 POST" in reasons(selection)["1.1.8"]


@pytest.mark.parametrize("frame", ["1.8", ""])
def test_series_in_another_frame_of_reference_is_not_used(frame: str) -> None:
    selection = choose_series([STUDY[5], series("1.1.3", "AX T2", frame=frame)])
    assert T2 not in selection.chosen
    assert "registration" in reasons(selection)["1.1.3"]


def test_a_lesser_series_in_the_frame_of_the_reference_is_used_instead() -> None:
    elsewhere = series("1.1.2", "AX T2", frame="1.8", MRAcquisitionType="3D")
    selection = choose_series([STUDY[5], elsewhere, STUDY[2]])
    assert uids(selection)[T2] == "1.1.3"
    assert "registration" in reasons(selection)["1.1.2"]


def test_a_series_of_one_image_is_no_volume() -> None:
    selection = choose_series([STUDY[5], series("1.1.3", "AX T2", instances=1)])
    assert "only 1 image" in reasons(selection)["1.1.3"]


def test_a_reference_of_one_image_is_kept_unless_there_is_a_better_one() -> None:
    lone = series("1.1.2", "AX T1 POST", instances=1, ContrastBolusAgent="Gd")
    assert uids(choose_series([lone])) == {T1CE: "1.1.2"}
    selection = choose_series([lone, STUDY[5]])
    assert uids(selection) == {T1CE: "1.1.6"}
    assert "enough images" in reasons(selection)["1.1.2"]


def test_refuses_study_without_mr() -> None:
    with pytest.raises(NotMagneticResonanceError, match="CT, SR"):
        choose_series([series("1.1.1", "HEAD", modality="CT"), STUDY[6]])
    with pytest.raises(NotMagneticResonanceError, match="no series"):
        choose_series([])


def test_refuses_study_without_contrast_enhanced_t1_and_lists_what_was_seen() -> None:
    with pytest.raises(MissingReferenceSeriesError, match=r"'AX T1 PRE', 'AX T2'.*name it so"):
        choose_series(STUDY[1:3])
