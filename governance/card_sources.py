"""From what is on record of a model version to its card: a model's own file, or a federated run's events.

What is read here was written by others, at another site perhaps: every value becomes a text, and lists of cases become
counts, for a case's name may be a patient's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from governance.model_card import (
    NO_PRIVACY,
    NOT_MEASURED,
    AuditSummary,
    Facts,
    Figure,
    ModelCard,
    Release,
)

UNTESTED: Final = "Other diseases, children, and scans after surgery or radiotherapy: not tested."
THICK_SLICES: Final = "Slices thicker than 3 mm: volumes and diameters are coarse, small findings may be missed."
BRAIN_MASK: Final = (
    "Images with the skull: it is removed first, and the figures are of images that came without it; check with care."
)
_CASES: Final = ("subjects", "cases_trained_on")
_SHOWN_ELSEWHERE: Final = ("intended_use", "commit", "hardware", "results", "data_sha256", "torch", "threads", "energy")
_LONGEST: Final = 400


def card_of_model(
    document: Mapping[str, Any],
    *,
    evaluation: Mapping[str, Any] | None = None,
    audit: AuditSummary | None = None,
    release: Release | None = None,
) -> ModelCard:
    """The card of a model that is on disk.

    Args:
        document: Content of its segmenter.json.
        evaluation: Content of the segmenter-evaluation.json beside it; of another version, only that is said.
        audit: Of this version.
        release: Where it stands.
    """
    network, preprocessing = _mapping(document.get("network")), _mapping(document.get("preprocessing"))
    training, version = _mapping(document.get("training")), _text(document.get("version"))
    figures, note, remarks = _evaluated(evaluation, version)
    contrasts = [_text(each) for each in preprocessing.get("contrasts") or ()]
    return ModelCard(
        name=_text(document.get("name")),
        version=version,
        kind="segmentation model",
        summary=_summary(network, contrasts),
        network=_network(network),
        inputs=(
            ("Sequences", f"{', '.join(contrasts)}; T1ce must be there, the others may be missing"),
            ("Grid", f"{_text(preprocessing.get('spacing_mm'))} mm, isotropic, brain only"),
            (
                "Labels",
                "; ".join(f"{value} {_text(name)}" for value, name in _mapping(document.get("label_map")).items()),
            ),
        ),
        training=_training(training),
        provenance=_provenance(training),
        figures=figures,
        figures_note=note,
        boundaries=(*_boundaries(audit), UNTESTED, THICK_SLICES, BRAIN_MASK),
        privacy=NO_PRIVACY,
        energy=_energy(training),
        release=release or Release(),
        audit=audit,
        remarks=remarks,
    )


def card_of_round(
    events: Sequence[Mapping[str, Any]],
    number: int,
    *,
    network: Mapping[str, Any] | None = None,
    audit: AuditSummary | None = None,
    release: Release | None = None,
) -> ModelCard:
    """The card of the model that a federated round made.

    Args:
        events: Of the run, as federated.rounds.events says.
        number: Of a round that is finished.
        network: As federated.models.describe_network gives it, where the round's checkpoint is still there.
        audit: Of this version.
        release: Where it stands.

    Raises:
        KeyError: The round is not finished.
    """
    started = next((event for event in events if event.get("event") == "run-started"), {})
    finished = {event["round"]: event for event in events if event.get("event") == "round-finished"}
    this, until = finished[number], [finished[each] for each in sorted(finished) if each <= number]
    sites = _mapping(this.get("sites"))
    examples = sum(int(told.get("examples") or 0) for told in sites.values())
    facts = (
        ("Federation", _text(started.get("federation"))),
        ("Run", _text(this.get("run"))),
        ("Round", f"{number} of {_text(started.get('rounds'))}"),
        ("Starts from", _text(started.get("model")) or "fresh weights"),
        ("Sites in this round", str(len(sites))),
        ("Cases in this round", str(examples)),
        ("Strategy", _text(started.get("strategy"))),
        ("Aggregation", _text(started.get("rule"))),
        ("Secure aggregation", "yes: the coordinator saw sums only" if started.get("secure_aggregation") else "no"),
        ("Mean loss of the sites", _text(this.get("loss"))),
    )
    return ModelCard(
        name=f"Federated model of run {_text(this.get('run'))}, round {number}",
        version=_text(this.get("model")),
        kind="model of a federated round; its thresholds are not fixed yet",
        summary=(
            "Weights that hospitals trained together without showing each other any image. It is not ready for use: "
            "thresholds are fixed when it is made a model folder, which has a version and a card of its own."
        ),
        network=_network(network or {}) or (("Preset", _text(started.get("preset"))),),
        inputs=(("Sequences", "As its preset reads them"),),
        training=facts,
        provenance=(("Finished", _text(this.get("at"))), ("Seconds", _text(this.get("seconds")))),
        figures=_round_figures(sites),
        figures_note="On each site's own held-out cases, as the site told; a name of a site stands for no patient.",
        boundaries=(*_boundaries(audit), UNTESTED),
        privacy=_round_privacy(until, started),
        energy=_round_energy(until),
        release=release or Release(),
        audit=audit,
    )


def _summary(network: Mapping[str, Any], contrasts: Sequence[str]) -> str:
    quantum = [where for where in ("neck", "head") if _mapping(network.get(where)).get("kind") == "quantum"]
    circuits = f", with quantum circuits in its {' and '.join(quantum)}" if quantum else ""
    return (
        f"A {_text(network.get('architecture'))} network{circuits} that outlines gliomas on brain MRI "
        f"({', '.join(contrasts)})."
    )


def _network(network: Mapping[str, Any]) -> Facts:
    facts = []
    for name, value in network.items():
        parts = [f"{key} {each}" for key, each in value.items()] if isinstance(value, Mapping) else value
        facts.append((_label(name), _text(parts)))
    return tuple(facts)


def _training(training: Mapping[str, Any]) -> Facts:
    facts = []
    for name, value in training.items():
        if name in _SHOWN_ELSEWHERE:
            continue
        if name in _CASES:
            facts.append(("Real cases", str(len(value)) if isinstance(value, list | tuple) else _text(value)))
        elif isinstance(value, Mapping):
            facts += [(f"{_label(name)}, {_label(key).lower()}", _text(each)) for key, each in value.items()]
        else:
            facts.append((_label(name), _text(value)))
    return tuple(facts) or (("Training", "Not stated."),)


def _provenance(training: Mapping[str, Any]) -> Facts:
    names = (("commit", "Commit"), ("data_sha256", "Digest of the data"), ("hardware", "Hardware"), ("torch", "torch"))
    return tuple((label, _text(training[name])) for name, label in names if training.get(name)) or (
        ("Provenance", "Not stated."),
    )


def _energy(training: Mapping[str, Any]) -> str:
    energy = _mapping(training.get("energy"))
    joules = energy.get("joules")
    if not isinstance(joules, int | float):
        return NOT_MEASURED
    return f"{joules / 3.6e6:.3g} kWh ({_text(energy.get('energy_source') or energy.get('source'))})"


def _evaluated(evaluation: Mapping[str, Any] | None, version: str) -> tuple[tuple[Figure, ...], str, tuple[str, ...]]:
    """The figures, what is to be said of them, and remarks."""
    if evaluation is None:
        return (), "No evaluation ships with this version.", ()
    if evaluation.get("model") != version:
        other = _text(evaluation.get("model"))[:12]
        return (
            (),
            f"The evaluation beside this model is of version {other}, not of this one: its figures are left out.",
            (),
        )
    figures = tuple(
        Figure(
            group=_text(each["group"]),
            name=_text(each["name"]),
            value=float(each["value"]),
            low=_float(each.get("low")),
            high=_float(each.get("high")),
            unit=_text(each.get("unit")),
            cases=each["cases"] if isinstance(each.get("cases"), int) else None,
        )
        for each in evaluation.get("figures", ())
    )
    return figures, _text(evaluation.get("what")), tuple(map(_text, evaluation.get("remarks", ())))


def _boundaries(audit: AuditSummary | None) -> tuple[str, ...]:
    if audit is None:
        return ("Boundaries were not measured: this version was not audited.",)
    control = next((each for each in audit.controls if each.name == "boundaries"), None)
    found = [] if control is None else [f"{control.title}: {control.outcome}; {control.measured}. {control.reason}"]
    return (*found, *audit.details)


def _round_figures(sites: Mapping[str, Any]) -> tuple[Figure, ...]:
    return tuple(
        Figure(f"held-out cases of {_text(site)}", f"Dice, {_text(region)}", float(value))
        for site, told in sorted(sites.items())
        for region, value in _mapping(_mapping(told).get("dice")).items()
        if isinstance(value, int | float)
    )


def _round_privacy(rounds: Sequence[Mapping[str, Any]], started: Mapping[str, Any]) -> str:
    spent = [
        told["epsilon_spent"]
        for event in rounds
        for told in _mapping(event.get("sites")).values()
        if isinstance(told.get("epsilon_spent"), int | float)
    ]
    if not any(spent):
        return NO_PRIVACY  # sites that add no noise tell an epsilon of 0, which is no guarantee
    return (
        f"DP-SGD: until this round at most epsilon {max(spent):.3g} of a patient of any site, at delta "
        f"{_text(started.get('delta'))}; the terms allow {_text(started.get('epsilon_limit'))}"
    )


def _round_energy(rounds: Sequence[Mapping[str, Any]]) -> str:
    told = [each for event in rounds for each in _mapping(event.get("sites")).values()]
    joules = [each["joules"] for each in told if isinstance(each.get("joules"), int | float)]
    if not joules:
        return NOT_MEASURED
    sources = sorted({_text(each.get("energy_source")) for each in told if each.get("energy_source")})
    missing = f"; {len(told) - len(joules)} of {len(told)} parts not measured" if len(joules) < len(told) else ""
    return f"{sum(joules) / 3.6e6:.3g} kWh of the sites' work until this round ({', '.join(sources)}{missing})"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _label(name: object) -> str:
    text = str(name).replace("_", " ")
    return text[:1].upper() + text[1:]


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case list() | tuple():
            return ", ".join(map(_text, value))[:_LONGEST]
        case float():
            return f"{value:.6g}"
    return " ".join(str(value).split())[:_LONGEST]
