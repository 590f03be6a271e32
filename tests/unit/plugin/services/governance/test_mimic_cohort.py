import gzip

import numpy as np
import pytest

from governance.audit import AuditOutcome
from governance.errors import AuditDataError
from plugin.services.governance.audit_fairness import mimic_findings
from plugin.services.governance.cohort_tables import read_table
from plugin.services.governance.mimic_cohort import read_mimic_cohort
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from tests.fakes.mimic_tables import LABELS, METADATA, table, write_mimic

POLICY = parse_policy_text(default_policy_text())


def change(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def test_reads_findings_groups_and_predictions(tmp_path):
    write_mimic(tmp_path)
    found = read_mimic_cohort(tmp_path)
    assert found.patients == 40
    assert list(found.findings) == ["Edema"]  # of the other finding every report is unsure
    cases = found.findings["Edema"]
    assert [each.truth for each in cases[:4]] == [True, False, False, True]
    assert all(each.truth == each.predicted for each in cases)
    assert cases[0].case.groups == {"sex": "F", "age": "0-39", "ethnicity": "white", "site": "fixed"}
    assert cases[1].case.groups["ethnicity"] == "black or african american"
    assert cases[8].case.groups["age"] == "40-59"  # 38 years in 2150, 40 in 2152
    assert "ethnicity" not in cases[4].case.groups
    assert cases[0].case.name == "study-000001"


def test_reads_packed_tables_and_negbio(tmp_path):
    write_mimic(tmp_path)
    plain = read_mimic_cohort(tmp_path)
    for path in list(tmp_path.iterdir()):
        packed = tmp_path / f"{path.name.replace('chexpert', 'negbio')}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert read_mimic_cohort(tmp_path).findings == plain.findings


def test_of_each_patient_the_first_study_counts(tmp_path):
    write_mimic(tmp_path, studies=3)
    found = read_mimic_cohort(tmp_path)
    assert (found.patients, found.left_out) == (40, 80)
    assert found.findings["Edema"][1].case.name == "study-000004"


def test_only_the_test_split_counts(tmp_path):
    write_mimic(tmp_path)
    table(
        tmp_path / "mimic-cxr-2.0.0-split.csv",
        ["dicom_id", "study_id", "subject_id", "split"],
        [[f"d{n}", 50_000 + 10 * n, 1000 + n, "test" if n < 10 else "train"] for n in range(40)],
    )
    (tmp_path / "predictions.csv").write_text(
        "\n".join((tmp_path / "predictions.csv").read_text().splitlines()[:11]) + "\n"
    )
    assert read_mimic_cohort(tmp_path).patients == 10


def test_the_threshold_decides_what_the_model_says(tmp_path):
    write_mimic(tmp_path)
    assert not any(each.predicted for each in read_mimic_cohort(tmp_path, threshold=0.95).findings["Edema"])


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        pytest.param("predictions.csv", "50010,0.1,0.5\n", "", "study-000002: has findings and no", id="no prediction"),
        pytest.param("predictions.csv", "50010,0.1", "50010,1.1", "row 2: expected a probability", id="probability"),
        pytest.param("predictions.csv", "50010,0.1", "50010,nan", "row 2: expected a probability", id="nan"),
        pytest.param("predictions.csv", "50010,", "50000,", "a second prediction", id="predicted twice"),
        pytest.param(LABELS, "1001,50010,", "1001,50010,maybe", "study-000002: expected 1, 0, -1", id="label"),
        pytest.param(LABELS, "1001,50010,", "1001,50000,", "are the same study", id="study twice"),
        pytest.param(LABELS, "subject_id,", "subject,", "subject_id missing", id="column"),
        pytest.param(LABELS, "-1.0\n", "-1.0,7\n", "row 1: expected 4 cells, got 5", id="cells"),
        pytest.param("patients.csv", "1001,M", "1001,U", "study-000002: expected a gender of F or M", id="gender"),
        pytest.param("patients.csv", "1001,M,31", "1001,M,x", "study-000002: expected anchor_age", id="age"),
        pytest.param("admissions.csv", "ASIAN - CHINESE", "MARTIAN", "study-000003: expected a race", id="race"),
        pytest.param("admissions.csv", "race", "colour", "expected the column race", id="no race"),
        pytest.param(METADATA, ",50010,", ",59999,", "study-000002: has findings and no image", id="no image"),
    ],
)  # fmt: skip
def test_bad_tables_are_named_and_told_what_to_do(tmp_path, name, old, new, told):
    write_mimic(tmp_path)
    change(tmp_path / name, old, new)
    with pytest.raises(AuditDataError, match=told) as fault:
        read_mimic_cohort(tmp_path)
    assert "1001" not in str(fault.value)  # no patient's number
    assert "MARTIAN" not in str(fault.value)


@pytest.mark.parametrize("name", ["predictions.csv", LABELS, METADATA, "patients.csv", "admissions.csv"])
def test_a_missing_table_is_named(tmp_path, name):
    write_mimic(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(AuditDataError, match="is missing"):
        read_mimic_cohort(tmp_path)


def test_patients_who_are_not_in_the_table_have_no_groups(tmp_path):
    write_mimic(tmp_path)
    (tmp_path / "patients.csv").write_text("subject_id,gender,anchor_age,anchor_year\n")
    found = read_mimic_cohort(tmp_path)
    assert set(found.findings["Edema"][0].case.groups) == {"site"}
    verdict = mimic_findings(found, POLICY).verdicts["bias"]
    assert verdict.outcome is AuditOutcome.INSUFFICIENT_EVIDENCE
    assert "sex: of no case is it known" in verdict.reason


def test_a_missed_group_is_found(tmp_path):
    rng = np.random.default_rng(0)
    chance = rng.random(600)
    # Of women with the finding half are missed.
    write_mimic(tmp_path, 600, miss=lambda n: n % 2 == 0 and n % 3 == 0 and chance[n] < 0.5)
    found = mimic_findings(read_mimic_cohort(tmp_path), POLICY)
    assert found.verdicts["bias"].outcome is AuditOutcome.FAILED
    assert "recognised by sex: M over F" in found.verdicts["bias"].reason
    by_sex = next(each for each in found.sections["classification"] if each.attribute == "sex")
    women = next(each for each in by_sex.rest if each.group == "F")
    assert women.equal_opportunity_difference == pytest.approx(-0.5, abs=0.1)
    assert found.verdicts["performance"].outcome is AuditOutcome.INSUFFICIENT_EVIDENCE


def test_tables_are_read_with_suspicion(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n" + b"x" * 70_000 + b",1\n")
    with pytest.raises(AuditDataError, match="characters"):
        list(read_table(path, ["a"]))
    path.write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(AuditDataError, match="UnicodeDecodeError"):
        list(read_table(path, ["a"]))
    path.write_bytes(b"a,a\n1,2\n")
    with pytest.raises(AuditDataError, match="twice"):
        list(read_table(path, ["a"]))
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(b"a,b\n1,2\n")[:-6])
    with pytest.raises(AuditDataError, match="cannot be read"):
        list(read_table(packed, ["a"]))
