import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from dicom_ingest.model import MrContrast
from dicom_ingest.mr_contrast import recognise

T1, T1CE, T2, FLAIR = MrContrast

SE_T1 = {"ScanningSequence": "SE", "EchoTime": "12", "RepetitionTime": "600"}
SE_T2 = {"ScanningSequence": "SE", "EchoTime": "100", "RepetitionTime": "5000"}
MPRAGE = {"ScanningSequence": ["GR", "IR"], "EchoTime": "2.9", "RepetitionTime": "2000", "InversionTime": "900"}
IR_FLAIR = {"ScanningSequence": ["SE", "IR"], "EchoTime": "120", "RepetitionTime": "9000", "InversionTime": "2500"}
IR_T1 = {"ScanningSequence": ["SE", "IR"], "EchoTime": "24", "RepetitionTime": "2500", "InversionTime": "860"}
AGENT = {"ContrastBolusAgent": "Gadovist"}


def header(description: str = "", **attributes: object) -> Dataset:
    made = Dataset()
    made.SOPClassUID = MRImageStorage
    made.SeriesDescription = description
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize(
    ("description", "contrast"),
    [
        ("AX T1", T1),
        ("AX T1 PRE", T1),
        ("t1_mprage_tra_p2_iso", T1),
        ("T1W_SE_TRA", T1),
        ("sT1W_3D_TFE", T1),
        ("Ax T1 FLAIR", T1),
        ("AX T1 W/O", T1),
        ("T1 nativ", T1),
        ("T1 TSE ohne KM", T1),
        ("T1 without contrast", T1),
        ("T1 non-contrast", T1),
        ("PRE-GAD T1", T1),
        ("T1 PRE OP", T1),
        ("T1 POST OP", T1),
        ("SAG T1 POST FOSSA", T1),
        ("AX 3D T1 GRE", T1),
        ("SAG FSPGR 3D", T1),
        ("Sag BRAVO", T1),
        ("MP-RAGE", T1),
        ("AX T1 POST", T1CE),
        ("T1 post", T1CE),
        ("AX T1 +C", T1CE),
        ("AX T1+C", T1CE),
        ("T1 C+", T1CE),
        ("T1 +Gd", T1CE),
        ("AX T1 Gd", T1CE),
        ("COR T1 GAD", T1CE),
        ("T1 GADOLINIUM", T1CE),
        ("T1 TSE tra KM", T1CE),
        ("T1 nach KM", T1CE),
        ("T1w_ce", T1CE),
        ("T1CE", T1CE),
        ("T1_Gd_DTPA", T1CE),
        ("t1_mprage_sag_POST", T1CE),
        ("SAG 3D BRAVO +C", T1CE),
        ("AX SPGR POST GAD", T1CE),
        ("POST-CONTRAST AX T1 FS", T1CE),
        ("T1 WITH CONTRAST", T1CE),
        ("AX T1 W CON", T1CE),
        ("T1 FLAIR +C", T1CE),
        ("T1W_3D_TFE_CE", T1CE),
        ("AX T2", T2),
        ("t2_tse_tra_512", T2),
        ("AX T2 FSE FS", T2),
        ("eT2W_TSE", T2),
        ("T2 SPACE SAG", T2),
        ("AX T2 FLAIR", FLAIR),
        ("FLAIR", FLAIR),
        ("t2_tirm_tra_dark-fluid", FLAIR),
        ("SAG CUBE T2FLAIR", FLAIR),
        ("3D_Brain_VIEW_FLAIR", FLAIR),
        ("T2 FLAIR POST GAD", FLAIR),
    ],
)
def test_recognises_names_of_series(description: str, contrast: MrContrast) -> None:
    assert recognise(header(description)).contrast is contrast


@pytest.mark.parametrize(
    ("description", "why"),
    [
        ("3-PLANE LOC", "localizer"),
        ("localizer", "localizer"),
        ("SCOUT T1", "localizer"),
        ("SURVEY", "localizer"),
        ("AX DWI b1000", "diffusion"),
        ("ep2d_diff_3scan_trace", "diffusion"),
        ("ADC (10^-6 mm2/s)", "diffusion"),
        ("DTI 30 dir", "diffusion"),
        ("ep2d_perf", "perfusion"),
        ("DSC PERFUSION", "perfusion"),
        ("rCBV", "perfusion"),
        ("AX T2*", "susceptibility"),
        ("AX T2 STAR GRE", "susceptibility"),
        ("T2 GRE", "susceptibility"),
        ("T2_fl2d_tra_hemo", "susceptibility"),
        ("SWI_Images", "susceptibility"),
        ("AX GRE", "gradient echo"),
        ("AX SWAN", "susceptibility"),
        ("3D TOF MRA", "angiography"),
        ("T1 POST MIP", "projection"),
        ("T1 SUB", "subtraction"),
        ("SUBTRACTION T1 POST-PRE", "subtraction"),
        ("T1 MAP", "computed map"),
        ("SAG T2 C-SPINE", "spine"),
        ("T1 ORBITS POST", "part of the head"),
        ("AX PD", "proton density"),
        ("COR STIR", "not used here"),
        ("HELLO", "none of T1, T2 and FLAIR"),
        ("", "none of T1, T2 and FLAIR"),
    ],
)
def test_says_why_a_series_is_of_no_use(description: str, why: str) -> None:
    found = recognise(header(description))
    assert found.contrast is None
    assert why in found.reason


@pytest.mark.parametrize(
    ("attributes", "contrast"),
    [
        pytest.param(SE_T1, T1, id="spin echo T1"),
        pytest.param({**SE_T1, **AGENT}, T1CE, id="spin echo T1, agent given"),
        pytest.param({**SE_T1, "ContrastBolusVolume": "7.5"}, T1CE, id="volume of agent given"),
        pytest.param({**SE_T1, "ContrastBolusAgent": "NONE"}, T1, id="agent none"),
        pytest.param({**SE_T1, "ContrastBolusAgent": "No contrast"}, T1, id="no contrast"),
        pytest.param(MPRAGE, T1, id="MPRAGE"),
        pytest.param({**MPRAGE, **AGENT}, T1CE, id="MPRAGE, agent given"),
        pytest.param(SE_T2, T2, id="T2"),
        pytest.param({**SE_T2, **AGENT}, T2, id="T2 after contrast is T2"),
        pytest.param(IR_FLAIR, FLAIR, id="FLAIR"),
        pytest.param(IR_T1, T1, id="T1 FLAIR"),
        pytest.param({"SequenceName": "*tfl3d1_16ns", "EchoTime": "3", "RepetitionTime": "9"}, T1, id="Siemens tfl3d"),
    ],
)
@pytest.mark.parametrize("description", ["", "SERIES 5"])
def test_recognises_timing_where_names_are_silent(
    description: str, attributes: dict[str, object], contrast: MrContrast
) -> None:
    assert recognise(header(description, **attributes)).contrast is contrast


@pytest.mark.parametrize(
    ("description", "attributes", "contrast"),
    [
        pytest.param("AX T2", IR_FLAIR, FLAIR, id="an inversion time settles FLAIR"),
        pytest.param("AX FLAIR", IR_T1, T1, id="an inversion time settles T1 FLAIR"),
        pytest.param("AX FLAIR", SE_T2, FLAIR, id="FLAIR without recorded inversion time"),
        pytest.param("AX T1 PRE", {**SE_T1, **AGENT}, T1, id="named before contrast, agent noted for the whole study"),
        pytest.param("T1 PRE/POST", {**SE_T1, **AGENT}, T1CE, id="names both phases, the agent decides"),
        pytest.param("T1 W/WO", SE_T1, T1, id="names both phases, no agent"),
        pytest.param("AX", {"ProtocolName": "T1 SE POST"}, T1CE, id="protocol names a series"),
        pytest.param("AX T1", {"ProtocolName": "BRAIN W CONTRAST"}, T1, id="protocol names the examination"),
        pytest.param("AX T2", {"ProtocolName": "DWI"}, T2, id="description before protocol"),
    ],
)
def test_weighs_evidence(description: str, attributes: dict[str, object], contrast: MrContrast) -> None:
    assert recognise(header(description, **attributes)).contrast is contrast


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        pytest.param({"SeriesDescription": "AX T1", **SE_T2}, "contradict", id="T1 with the timing of T2"),
        pytest.param({"SeriesDescription": "AX T2", **SE_T1}, "contradict", id="T2 with the timing of T1"),
        pytest.param({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer", id="localizer by image type"),
        pytest.param({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "diffusion", id="ADC by image type"),
        pytest.param({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "projection", id="MIP by image type"),
        pytest.param({"ScanningSequence": "EP"}, "Echo-planar", id="echo-planar"),
        pytest.param(
            {"SeriesDescription": "AX T2", "ScanningSequence": "GR", "EchoTime": "20", "RepetitionTime": "600"},
            "TE 20 ms",
            id="T2 by gradient echo is T2*",
        ),
        pytest.param({"SOPClassUID": EnhancedMRImageStorage}, "Enhanced MR", id="enhanced MR"),
    ],
)
def test_refuses_by_header(attributes: dict[str, object], why: str) -> None:
    found = recognise(header(**{"description": "AX T1 POST", **attributes}))
    assert found.contrast is None
    assert why in found.reason


def test_reason_tells_a_radiologist_the_evidence() -> None:
    found = recognise(header("AX T1 +C", **SE_T1, **AGENT))
    assert found.reason == (
        "Series description 'AX T1 +C' names T1; TE 12 ms, TR 600 ms fit T1 spin echo; "
        "named as with contrast, contrast agent given (Gadovist)."
    )


def test_more_evidence_gives_more_points() -> None:
    named = recognise(header("AX T1 POST"))
    timed = recognise(header("AX T1 POST", **SE_T1))
    recorded = recognise(header("AX T1 POST", **SE_T1, **AGENT))
    assert named.points < timed.points < recorded.points


def test_malformed_values_count_as_absent() -> None:
    odd = Dataset.from_json({"00180081": {"vr": "DS", "Value": [None, 3]}, "00180080": {"vr": "DS"}})
    odd.SeriesDescription = "AX T2"
    assert recognise(odd).contrast is T2
