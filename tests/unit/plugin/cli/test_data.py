import pytest
from click.testing import CliRunner

from plugin.cli import main


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize("file_format", ["nifti", "dicom"])
def test_writes_a_cohort_that_can_be_checked(tmp_path, file_format):
    place = tmp_path / "cohort"
    words = ("--output", place, "--site", 4, "--cases", 1, "--spacing", 6, "--format", file_format, "--seed", 3)
    written = run("data", "phantom", *words)
    assert written.exit_code == 0, written.output
    assert "1 cases of site-04" in written.output
    checked = run("data", "check", place)
    assert checked.exit_code == 0, checked.output
    assert "T1,T1ce,T2,FLAIR  24 x 29 x 24 at 6 x 6 x 6 mm" in checked.output
    assert "1 of 1 cases can be used." in checked.output


def test_an_unusable_case_is_told_and_counts(tmp_path):
    run("data", "phantom", "--output", tmp_path / "cohort", "--cases", 2, "--spacing", 8)
    next((tmp_path / "cohort").rglob("*000_t2.nii.gz")).write_bytes(b"damaged")
    checked = run("data", "check", tmp_path / "cohort")
    assert checked.exit_code == 65
    assert "UNUSABLE  site-01-training-000: site-01-training-000_t2.nii.gz: expected a whole" in checked.output
    assert "1 of 2 cases can be used." in checked.output


def test_unseen_sites_can_be_written(tmp_path):
    written = run("data", "phantom", "--output", tmp_path / "c", "--site", 11, "--cases", 1, "--spacing", 8)
    assert "1 cases of unseen-01" in written.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--site", 13), "expected 1 to 12, got 13"),
        (("--cases", 0), "0 is not in the range"),
        (("--spacing", 0), "0.0 is not in the range"),
    ],
)
def test_refuses_what_there_is_not(tmp_path, words, message):
    refused = run("data", "phantom", "--output", tmp_path / "new", *words)
    assert refused.exit_code == 2
    assert message in refused.output


def test_refuses_a_folder_without_cases(tmp_path):
    refused = run("data", "check", tmp_path)
    assert refused.exit_code == 65
    assert "found neither" in refused.output
