"""The model card: what a model version is, was trained on, reaches, and must not be used for; generated, never typed.

Everything of one model version comes from its own file, from the evaluation that is shipped beside it, from its audit
and from its record of release; what none of them says is said to be missing. Three renderings follow two formats:

- `to_chai`, `to_chai_xml`: the CHAI Applied Model Card, schema v0.2 (namespace https://mc.chai.org/v0.2/schema.xsd);
- `to_markdown`: a Hugging Face model card, YAML front matter with a model-index and Markdown;
- `to_json`: everything, both structures included.

No case is named: a site's own names may be those of patients.
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from xml.etree import ElementTree as ET

RESEARCH_USE: Final = "Research use only. Not a medical device; not for primary diagnosis."
CHAI_NAMESPACE: Final = "https://mc.chai.org/v0.2/schema.xsd"
NOT_MEASURED: Final = "not measured"
NOT_AUDITED: Final = "This version was not audited."
NO_PRIVACY: Final = "not trained with differential privacy"
DEVELOPER: Final = "The maintainers of the QFL hospital plugin"
CONTACT: Final = "The hospital's administrator of the plugin; faults of the software: the project's issue tracker"
LICENCE: Final = "apache-2.0"
LIBRARY: Final = "qfl-hospital-plugin"

Facts = tuple[tuple[str, str], ...]
Chai = Mapping[str, Any]
"""Elements in the schema's order: a text, a mapping of elements, or a list of those that repeat."""


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes:
        group: Of which cases.
        name: E.g. "Dice, whole tumour".
        low, high: Of its 95 % interval, where there is one.
        unit: Empty for a number without one.
        cases: That it was measured on.
    """

    group: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    cases: int | None = None

    @property
    def text(self) -> str:
        """The value with its interval."""
        unit = f" {self.unit}" if self.unit else ""
        if self.low is None or self.high is None:
            return f"{self.value:.3g}{unit}"
        return f"{self.value:.3f}{unit} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class ControlSummary:
    """One control of an audit, as it was reported."""

    name: str
    title: str
    outcome: str
    required: bool
    measured: str
    threshold: str
    reason: str


@dataclass(frozen=True)
class AuditSummary:
    """The audit of a version.

    Attributes:
        outcome: "passed", "failed" or "insufficient-evidence".
        digest: Of the whole audit document; empty where it is not known.
        details: What its sections say of boundaries.
    """

    outcome: str
    at: str
    policy: str
    digest: str
    cohort: str
    cases: int | None
    controls: tuple[ControlSummary, ...]
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """Where a version stands."""

    state: str = "unreleased"
    since: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ModelCard:
    """One model version.

    Attributes:
        kind: What it is, in a few words.
        summary: One or two sentences.
        network, inputs, training, provenance: Facts, in order.
        figures: Measured on this very version, or as `figures_note` says.
        boundaries: Where it must not be used, or was not tested.
        privacy, energy: A sentence each.
        audit: None where there was none.
        remarks: What a reader must know besides.
    """

    name: str
    version: str
    kind: str
    summary: str
    network: Facts
    inputs: Facts
    training: Facts
    provenance: Facts
    figures: tuple[Figure, ...]
    figures_note: str
    boundaries: tuple[str, ...]
    privacy: str
    energy: str
    release: Release = field(default_factory=Release)
    audit: AuditSummary | None = None
    remarks: tuple[str, ...] = ()

    def controls(self, *names: str) -> tuple[ControlSummary, ...]:
        """The audit's controls of these names."""
        return tuple(each for each in (self.audit.controls if self.audit else ()) if each.name in names)


USEFULNESS: Final = ("performance", "interpretability")
FAIRNESS: Final = ("bias", "worst-group", "equity-scaled-dice", "quantum-kernel", "lipschitz")
SAFETY: Final = (
    "robustness",
    "boundaries",
    "surface-distance",
    "calibration",
    "privacy-inversion",
    "privacy-membership",
    "privacy-epsilon",
)
"""Names of the audit's controls by CHAI's groups of key metrics."""


def summarise_audit(document: Mapping[str, Any] | None, digest: str = "") -> AuditSummary | None:
    """What a card says of an audit document; None of none."""
    if document is None:
        return None
    cohort = document.get("cohort") or {}
    controls = tuple(
        ControlSummary(
            name=str(each.get("name", "")),
            title=str(each.get("title", each.get("name", ""))),
            outcome=str(each.get("outcome", "")),
            required=bool(each.get("required", False)),
            measured=str(each.get("measured", NOT_MEASURED)),
            threshold=str(each.get("threshold", "")),
            reason=str(each.get("reason", "")),
        )
        for each in document.get("controls", ())
    )
    cases = cohort.get("cases")
    return AuditSummary(
        outcome=str(document.get("outcome", "")),
        at=str(document.get("at", "")),
        policy=str(document.get("policy", "")),
        digest=digest,
        cohort=str(cohort.get("name", "")),
        cases=cases if isinstance(cases, int) else None,
        controls=controls,
        details=tuple(_flat((document.get("sections") or {}).get("boundaries"))),
    )


def _flat(value: Any, prefix: str = "") -> list[str]:
    """A section's data as lines of text."""
    match value:
        case None:
            return []
        case Mapping():
            return [line for name, each in value.items() for line in _flat(each, f"{prefix}{name}: ")]
        case list() | tuple():
            if not all(isinstance(each, str | int) for each in value):
                return [line for each in value for line in _flat(each, prefix)]
            return [f"{prefix}{', '.join(map(str, value))}"]
    return [f"{prefix}{value}"]


def to_json(card: ModelCard) -> dict[str, Any]:
    """Everything, as JSON."""
    return {
        "v": 1,
        "research_use": RESEARCH_USE,
        "card": _plain(asdict(card)),
        "chai_applied_model_card": to_chai(card),
        "hugging_face": to_front_matter(card),
    }


def to_chai(card: ModelCard) -> Chai:
    """The elements of the CHAI Applied Model Card v0.2, in the order that its schema asks for."""
    audit = card.audit
    return {
        "BasicInfo": {"ModelName": card.name, "ModelDeveloper": DEVELOPER, "DeveloperContact": CONTACT},
        "ReleaseInfo": {
            "ReleaseStage": f"{card.release.state}; {RESEARCH_USE}",
            "ReleaseDate": card.release.since or "not released",
            "ReleaseVersion": card.version,
            "GlobalAvailability": "Wherever the hospital that installed it allows it; not marketed.",
            "RegulatoryApproval": "None: not a medical device.",
        },
        "ModelSummary": {"Summary": card.summary, "Keywords": {"Keyword": list(KEYWORDS)}},
        "UsesAndDirections": {
            "IntendedUseAndWorkflow": INTENDED_USE,
            "PrimaryIntendedUsers": "Radiologists and researchers of the hospital that installed it.",
            "HowToUse": HOW_TO_USE,
            "TargetedPatientPopulation": POPULATION,
            "CautionedOutOfScopeSettings": _lines(card.boundaries),
        },
        "Warnings": {
            "KnownRisksAndLimitations": _lines((*card.boundaries, *card.remarks)),
            "KnownBiasesOrEthicalConsiderations": _controls_text(card, FAIRNESS),
            "ClinicalRiskLevel": "Not classified: research use only.",
        },
        "TrustIngredients": {
            "AISystemFacts": {
                "OutcomesAndOutputs": OUTPUTS,
                "ModelType": _facts_text(card.network),
                "InputDataSource": "MRI studies of the hospital's archive (DICOM), or NIfTI files.",
                "OutputAndInputDataTypes": _facts_text(card.inputs),
                "DevelopmentDataCharacterization": _facts_text(card.training),
                "BiasMitigationApproaches": _controls_text(card, FAIRNESS),
                "OngoingMaintenance": MAINTENANCE,
                "Security": _controls_text(card, tuple(name for name in SAFETY if name.startswith("privacy")))
                + f" Privacy: {card.privacy}.",
                "Transparency": f"Provenance: {_facts_text(card.provenance)} Energy: {card.energy}.",
            },
            "TransparencyInformation": {
                "FundingSource": "Not stated.",
                "StakeholdersConsulted": "Not stated.",
            },
        },
        "KeyMetrics": {
            "UsefulnessUsabilityEfficacy": _key_metric(card, USEFULNESS, card.figures),
            "FairnessEquity": _key_metric(card, FAIRNESS, ()),
            "SafetyReliability": _key_metric(card, SAFETY, ()),
        },
        "Resources": {
            "EvaluationReferences": f"Audit {audit.digest or 'document'} of {audit.at}." if audit else NOT_AUDITED,
            "PeerReviewedPublications": "None of this version.",
            "PatientConsentOrDisclosure": "The hospital decides on consent; every use is recorded in its ledger.",
        },
        "Bibliography": "",
    }


def to_chai_xml(card: ModelCard) -> bytes:
    """The CHAI card as the schema's XML."""
    root = ET.Element(f"{{{CHAI_NAMESPACE}}}AppliedModelCard")
    _append(root, to_chai(card))
    ET.indent(root)
    found: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True, default_namespace=CHAI_NAMESPACE)
    return found + b"\n"


def to_front_matter(card: ModelCard) -> dict[str, Any]:
    """The metadata of a Hugging Face model card; figures stand in its model-index."""
    results = []
    for group in dict.fromkeys(figure.group for figure in card.figures):
        metrics = [
            {"type": _slug(figure.name.split(",")[0]), "name": figure.name, "value": figure.value}
            for figure in card.figures
            if figure.group == group
        ]
        results.append(
            {
                "task": {"type": "image-segmentation", "name": "Segmentation of glioma on brain MRI"},
                "dataset": {"type": _slug(group), "name": group},
                "metrics": metrics,
            }
        )
    matter: dict[str, Any] = {
        "language": "en",
        "license": LICENCE,
        "library_name": LIBRARY,
        "pipeline_tag": "image-segmentation",
        "tags": ["medical", "mri", "glioma", "quantum-machine-learning", "research-use-only"],
    }
    if results:
        matter |= {"model-index": [{"name": card.name, "results": results}]}
    return matter


def to_markdown(card: ModelCard) -> str:
    """The card as Hugging Face has them: front matter and Markdown."""
    import yaml

    front = yaml.safe_dump(to_front_matter(card), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {_mark(card.name)}",
        f"**{RESEARCH_USE}**",
        _mark(card.summary),
        *(
            f"## {title}\n\n{_table(('', ''), rows)}"
            for title, rows in (("Model", identity_facts(card)), ("Network", card.network), ("Input", card.inputs))
        ),
        f"## Intended use\n\n{INTENDED_USE} {HOW_TO_USE} {POPULATION}",
        f"## Training\n\n{_table(('', ''), card.training)}",
        f"## Figures\n\n{_mark(card.figures_note)}\n\n{_table(FIGURE_HEADS, figure_rows(card))}".rstrip(),
        f"## Audit\n\n{audit_sentence(card)}\n\n{_table(CONTROL_HEADS, control_rows(card))}".rstrip(),
        "## Boundaries\n\n" + "\n".join(f"- {_mark(each)}" for each in card.boundaries),
        f"## Privacy\n\n{_mark(_sentence(card.privacy))}",
        f"## Energy\n\n{_mark(_sentence(card.energy))}",
        f"## Provenance\n\n{_table(('', ''), card.provenance)}",
        "## Remarks\n\n" + ("\n".join(f"- {_mark(each)}" for each in card.remarks) or "None."),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


FIGURE_HEADS: Final = ("cases", "figure", "value (95 % interval)", "number of cases")
CONTROL_HEADS: Final = ("control", "outcome", "required", "measured", "threshold", "reason")


def identity_facts(card: ModelCard) -> Facts:
    """What a version is and where it stands."""
    since = f" since {card.release.since}" if card.release.since else ""
    reason = f": {card.release.reason}" if card.release.reason else ""
    return (
        ("Version", card.version),
        ("Kind", card.kind),
        ("Release state", f"{card.release.state}{since}{reason}"),
        ("Developer", DEVELOPER),
        ("Contact", CONTACT),
        ("Licence", "Apache-2.0"),
    )


def figure_rows(card: ModelCard) -> list[tuple[str, ...]]:
    """The figures as a table's rows."""
    return [
        (each.group, each.name, each.text, NOT_MEASURED if each.cases is None else str(each.cases))
        for each in card.figures
    ]


def control_rows(card: ModelCard) -> list[tuple[str, ...]]:
    """The audit's controls as a table's rows."""
    return [
        (each.title, each.outcome, "yes" if each.required else "no", each.measured, each.threshold, each.reason)
        for each in (card.audit.controls if card.audit else ())
    ]


def audit_sentence(card: ModelCard) -> str:
    """Whether it was audited, and how that ended."""
    audit = card.audit
    if audit is None:
        return NOT_AUDITED
    cases = NOT_MEASURED if audit.cases is None else f"{audit.cases} cases"
    failed = [each.title for each in audit.controls if each.outcome != "passed" and each.required]
    because = f" Required controls that did not pass: {', '.join(failed)}." if failed else ""
    return f"Audited {audit.at} on {audit.cohort or 'a cohort'} ({cases}): {audit.outcome}.{because}"


KEYWORDS: Final = ("glioma", "brain MRI", "segmentation", "quantum machine learning", "federated learning")
INTENDED_USE: Final = (
    "Research on adult glioma: it outlines the whole tumour, the tumour core and the enhancing tumour on brain MRI. "
    "A radiologist reviews every result before it is used; nothing is final without a person."
)
HOW_TO_USE: Final = (
    "The hospital's archive announces a study; the result waits in the worklist as preliminary until a radiologist "
    "accepts, corrects or rejects it."
)
POPULATION: Final = "Adults with suspected diffuse glioma, before treatment."
OUTPUTS: Final = (
    "A mask of three labels, voxel-wise probabilities and uncertainty, volumes, diameters and an expected Dice."
)
MAINTENANCE: Final = (
    "While it is released, fairness, drift, rejections and failures are monitored; past a threshold of the policy it "
    "is halted, and only officers let it run again. An audit holds for the interval that the policy sets."
)


def _key_metric(card: ModelCard, names: Sequence[str], figures: Sequence[Figure]) -> dict[str, Any]:
    controls = card.controls(*names)
    results = [
        *({"Label": f"{each.name} ({each.group})", "ValueJson": json.dumps(_value(each))} for each in figures),
        *(
            {"Label": each.title, "ValueJson": json.dumps({"kind": "single", "value": number})}
            for each in controls
            if (number := _first_number(each.measured)) is not None
        ),
    ]
    # The schema asks for one result at least.
    nothing = {"Label": "Figures measured", "ValueJson": json.dumps({"kind": "single", "value": 0, "unit": "count"})}
    audit = card.audit
    return {
        "MetricGoal": "; ".join(f"{each.title}: {each.threshold}" for each in controls) or "None was set.",
        "Results": {"MetricResult": results or [nothing]},
        "Interpretation": _controls_text(card, names),
        "TestType": "Retrospective, on cases with labels" if results else NOT_MEASURED,
        "TestingDataDescription": (f"{audit.cohort}, {audit.cases} cases. " if audit else "") + card.figures_note,
        "ValidationProcessAndJustification": audit_sentence(card),
    }


def _value(figure: Figure) -> dict[str, Any]:
    """As the schema's published examples write a number; its own type is a text."""
    unit = {"unit": figure.unit} if figure.unit else {}
    if figure.low is None or figure.high is None:
        return {"kind": "single", "value": figure.value, **unit}
    interval = {"lower": figure.low, "upper": figure.high, "level": 95}
    return {"kind": "estimate_ci", "estimate": figure.value, **interval, **unit}


def _first_number(text: str) -> float | None:
    found = re.search(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", text)
    return float(found.group()) if found else None


def _controls_text(card: ModelCard, names: Sequence[str]) -> str:
    if card.audit is None:
        return NOT_AUDITED
    found = card.controls(*names)
    if not found:
        return "The audit has no control of this."
    return " ".join(f"{each.title}: {each.outcome}; {each.measured}. {each.reason}".strip() for each in found)


def _facts_text(facts: Facts) -> str:
    return "; ".join(f"{name}: {value}" for name, value in facts) + "." if facts else "Not stated."


def _lines(texts: Sequence[str]) -> str:
    return "\n".join(f"- {each}" for each in texts) or "None stated."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _append(parent: ET.Element, elements: Mapping[str, Any]) -> None:
    for name, value in elements.items():
        for each in value if isinstance(value, list) else [value]:
            child = ET.SubElement(parent, f"{{{CHAI_NAMESPACE}}}{name}")
            if isinstance(each, Mapping):
                _append(child, each)
            else:
                child.text = _xml_text(str(each))


def _xml_text(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return "".join(
        sign
        for sign in text
        if sign in "\t\n\r" or " " <= sign < "\ud800" or "\ue000" <= sign < "\ufffe" or sign > "\uffff"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_mark, line))} |" for line in lines)


def _mark(text: str) -> str:
    """A text that stays one line, one cell, and no HTML."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:96] or "unnamed"


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value
