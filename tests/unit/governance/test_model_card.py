"""Model cards against the formats that they follow: CHAI's published schema, and Hugging Face's."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from governance.card_sources import card_of_model, card_of_round
from governance.model_card import (
    NO_PRIVACY,
    NOT_AUDITED,
    RESEARCH_USE,
    Release,
    control_rows,
    figure_rows,
    summarise_audit,
    to_chai_xml,
    to_front_matter,
    to_json,
    to_markdown,
)
from tests.fakes.run_events import run_events

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "tests" / "data" / "chai" / "applied-model-card-v0.2.xsd"
SHIPPED = json.loads((ROOT / "federated" / "weights" / "segmenter.json").read_text())
XS = "{http://www.w3.org/2001/XMLSchema}"
EVALUATION = {
    "v": 1,
    "model": SHIPPED["version"],
    "what": "Scores of cases that it never saw.",
    "figures": [
        {"group": "Real subjects", "name": "Dice, whole tumour", "value": 0.86, "low": 0.79, "high": 0.93, "cases": 6},
        {"group": "Real subjects", "name": "Hausdorff 95", "value": 10.2, "low": None, "high": None, "unit": "mm"},
    ],
    "remarks": ["Six subjects of one collection."],
}
AUDIT = {
    "v": 1,
    "model": SHIPPED["version"],
    "policy": "ab" * 32,
    "at": "2026-11-30T10:00:00+00:00",
    "outcome": "failed",
    "trained_by": [],
    "cohort": {"name": "phantom", "digest": "cd" * 32, "cases": 60},
    "controls": [
        {
            "name": name,
            "title": title,
            "outcome": outcome,
            "required": True,
            "measured": measured,
            "threshold": "0.1 at most",
            "reason": "Because.",
        }
        for name, title, outcome, measured in [
            ("bias", "Bias score", "failed", "0.23 (0.15 to 0.31)"),
            ("performance", "Whole-tumour Dice", "passed", "0.78 (0.74 to 0.81)"),
            ("robustness", "Loss under attack", "insufficient-evidence", "too few cases"),
            ("boundaries", "Boundaries", "passed", "3 found"),
        ]
    ],
    "sections": {"boundaries": {"missing FLAIR": ["Dice falls to 0.58"], "slices": {"6 mm": "Dice falls to 0.61"}}},
    "provenance": {},
}


def card(**changes):
    given = {
        "evaluation": EVALUATION,
        "audit": summarise_audit(AUDIT, "ef" * 32),
        "release": Release("released", "2026-12-01"),
    }
    return card_of_model(SHIPPED, **{**given, **changes})


def check_against_schema(document: bytes) -> None:
    """The published schema has sequences of elements and texts only: names, order and number are all that it asks."""
    schema = ET.parse(SCHEMA).getroot()
    types = {each.get("name"): each for each in schema.iter(f"{XS}complexType") if each.get("name")}
    namespace = schema.get("targetNamespace")
    root = ET.fromstring(document)
    assert root.tag == f"{{{namespace}}}AppliedModelCard"
    top = schema.find(f"{XS}element/{XS}complexType")
    _check_element(root, top, types, namespace)


def _check_element(element, kind, types, namespace):
    children = list(element)
    group = kind.find(f"{XS}sequence")
    repeats = group.get("maxOccurs") == "unbounded"
    place = 0
    for wanted in group.findall(f"{XS}element"):
        name = wanted.get("name") or wanted.get("ref")
        least = 0 if repeats else int(wanted.get("minOccurs", 1))
        most = 10**6 if repeats or wanted.get("maxOccurs") == "unbounded" else 1
        found = 0
        while place < len(children) and children[place].tag == f"{{{namespace}}}{name}":
            inner = (wanted.get("type") or "").removeprefix("mc:")
            if inner in types:
                _check_element(children[place], types[inner], types, namespace)
            else:
                assert len(children[place]) == 0, f"{name}: expected a text"
            place, found = place + 1, found + 1
        assert least <= found <= most, f"{element.tag}: {found} of {name}"
    assert place == len(children), f"{element.tag}: {children[place].tag} is not expected there"


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(card(), id="everything known"),
        pytest.param(card(evaluation=None, audit=None, release=None), id="nothing but the model"),
        pytest.param(card_of_round(run_events(), 2), id="a federated round"),
        pytest.param(card_of_model({}), id="an empty file"),
    ],
)
def test_the_chai_card_fits_the_published_schema(made):
    check_against_schema(to_chai_xml(made))


def test_the_check_against_the_schema_finds_what_is_wrong():
    document = to_chai_xml(card())
    for wrong in (
        document.replace(b"ModelDeveloper", b"Developer"),
        document.replace(b"<Bibliography />", b""),
        document.replace(b"<Bibliography />", b"<Bibliography /><Bibliography />"),
    ):
        assert wrong != document
        with pytest.raises(AssertionError):
            check_against_schema(wrong)


def test_chai_metrics_hold_the_figures_and_the_controls_of_their_group():
    metrics = to_json(card())["chai_applied_model_card"]["KeyMetrics"]
    useful = {each["Label"]: json.loads(each["ValueJson"]) for each in _results(metrics["UsefulnessUsabilityEfficacy"])}
    assert useful["Dice, whole tumour (Real subjects)"] == {
        "kind": "estimate_ci",
        "estimate": 0.86,
        "lower": 0.79,
        "upper": 0.93,
        "level": 95,
    }
    assert useful["Hausdorff 95 (Real subjects)"] == {"kind": "single", "value": 10.2, "unit": "mm"}
    assert useful["Whole-tumour Dice"] == {"kind": "single", "value": 0.78}
    fair = {each["Label"]: json.loads(each["ValueJson"]) for each in _results(metrics["FairnessEquity"])}
    assert fair == {"Bias score": {"kind": "single", "value": 0.23}}
    assert "failed" in metrics["FairnessEquity"]["Interpretation"]
    # A control without a number is told in words, not made a number.
    assert [each["Label"] for each in _results(metrics["SafetyReliability"])] == ["Boundaries"]
    assert "insufficient-evidence; too few cases" in metrics["SafetyReliability"]["Interpretation"]


def _results(metric):
    return metric["Results"]["MetricResult"]


def test_what_is_missing_is_said():
    bare = card(evaluation=None, audit=None, release=None)
    text = to_markdown(bare)
    for words in (NOT_AUDITED, "No evaluation ships with this version.", "unreleased", "Boundaries were not measured"):
        assert words in text
    assert bare.privacy == NO_PRIVACY
    assert bare.energy == "not measured"
    assert "model-index" not in to_front_matter(bare)


def test_figures_of_another_version_are_left_out_and_said_to_be():
    other = card(evaluation={**EVALUATION, "model": "00" * 32})
    assert other.figures == ()
    assert "of version 000000000000, not of this one" in other.figures_note
    assert "0.86" not in to_markdown(other)


def test_a_card_holds_every_control_and_every_figure():
    made = card()
    text = to_markdown(made)
    assert len(control_rows(made)) == len(AUDIT["controls"])
    assert len(figure_rows(made)) == len(EVALUATION["figures"])
    for row in (*control_rows(made), *figure_rows(made)):
        assert all(cell in text for cell in row)
    assert "Required controls that did not pass: Bias score, Loss under attack." in text
    assert "missing FLAIR: Dice falls to 0.58" in text
    assert "slices: 6 mm: Dice falls to 0.61" in text
    assert RESEARCH_USE in text


def test_no_case_is_named():
    everything = to_markdown(card()) + json.dumps(to_json(card())) + to_chai_xml(card()).decode()
    assert not [subject for subject in SHIPPED["training"]["subjects"] if subject in everything]
    assert ("Real cases", "5") in card().training


def test_the_front_matter_is_yaml_between_lines_and_holds_the_figures():
    text = to_markdown(card())
    _, front, body = text.split("---\n", 2)
    found = yaml.safe_load(front)
    assert found == to_front_matter(card())
    (result,) = found["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "dice", "name": "Dice, whole tumour", "value": 0.86}
    assert body.startswith("\n# QFL glioma segmenter")


def test_hugging_face_reads_the_front_matter():
    hub = pytest.importorskip("huggingface_hub", reason="it validates the front matter where it is installed")
    found = hub.ModelCard(to_markdown(card()), ignore_metadata_errors=False).data
    assert isinstance(found, hub.ModelCardData)
    assert (found.license, found.pipeline_tag, found.library_name) == (
        "apache-2.0",
        "image-segmentation",
        "qfl-hospital-plugin",
    )
    assert [(each.metric_name, each.metric_value) for each in found.eval_results] == [
        ("Dice, whole tumour", 0.86),
        ("Hausdorff 95", 10.2),
    ]


def test_hostile_texts_stay_texts():
    hostile = "<script>alert(1)</script>|\n# Released\n---\n"
    made = card_of_model({**SHIPPED, "name": hostile, "training": {"note": hostile, "odd\x00": "\ud800\ufffe"}})
    text = to_markdown(made)
    assert "<script>" not in text
    assert "\n# Released" not in text
    assert text.count("\n---\n") == 1
    assert ET.fromstring(to_chai_xml(made)) is not None
    assert b"<script>" not in to_chai_xml(made)


def test_a_round_tells_of_its_sites_privacy_and_energy():
    events = run_events(rounds=3)
    made = [card_of_round(events, number) for number in (1, 2, 3)]
    finished = [event for event in events if event["event"] == "round-finished"]
    assert [each.version for each in made] == [event["model"] for event in finished]
    spent = max(told["epsilon_spent"] for told in finished[1]["sites"].values() if told["epsilon_spent"])
    assert f"epsilon {spent:.3g}" in made[1].privacy
    joules = sum(told.get("joules") or 0 for event in finished[:2] for told in event["sites"].values())
    assert f"{joules / 3.6e6:.3g} kWh" in made[1].energy
    assert len(made[2].figures) == sum(len(told.get("dice") or ()) for told in finished[2]["sites"].values())
    with pytest.raises(KeyError):
        card_of_round(events, 9)


def test_a_run_without_noise_is_said_to_have_none():
    assert card_of_round(run_events(private=False), 1).privacy == NO_PRIVACY
