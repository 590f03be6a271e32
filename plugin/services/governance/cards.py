"""Model cards: of the model in a folder, or of each model that a federated run made; written from what is on record.

A process that reads a card imports no torch: the version is checked against the files by their digests alone.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined, Template

from federated.rounds.events import EVENTS_FILE
from governance.canonical import digest
from governance.card_sources import card_of_model, card_of_round
from governance.errors import AuditDataError, NotCanonicalError, ReportError
from governance.model_card import (
    CONTROL_HEADS,
    FIGURE_HEADS,
    HOW_TO_USE,
    INTENDED_USE,
    POPULATION,
    RESEARCH_USE,
    AuditSummary,
    ModelCard,
    Release,
    audit_sentence,
    control_rows,
    figure_rows,
    identity_facts,
    summarise_audit,
    to_chai_xml,
    to_json,
    to_markdown,
)
from plugin.errors import OutputFolderError
from plugin.services.federation_summary import finished_rounds, read_events
from plugin.services.governance.desk import GovernanceDesk

WEIGHTS, MODEL, EVALUATION, AUDIT = (
    "segmenter.safetensors",
    "segmenter.json",
    "segmenter-evaluation.json",
    "segmenter-audit.json",
)
FORMATS: Final = {"html": "html", "json": "json", "markdown": "md", "xml": "xml"}
"""And how their files end; xml is the CHAI Applied Model Card."""
_VERSIONED: Final = ("label_map", "network", "preprocessing", "decision")
_MOST_BYTES: Final = 8 << 20


def read_cards(folder: Path, desk: GovernanceDesk | None = None) -> list[ModelCard]:
    """The card of the model in a folder, or of each finished round of a federated run, in their order.

    Args:
        folder: With segmenter.json and the weights; or a run's folder, with events.jsonl.
        desk: Knows audits and the state of release; None where there is no database: then only the audit that ships
            beside the model is told, and the state of release is said to be not known.

    Raises:
        ReportError: The folder has neither, or its files contradict each other.
    """
    if (folder / MODEL).is_file():
        return [_model_card(folder, desk)]
    if (folder / EVENTS_FILE).is_file():
        return _round_cards(folder, desk)
    raise ReportError(
        f"{folder}: expected a model ({MODEL} and {WEIGHTS}) or a federated run ({EVENTS_FILE}), found neither."
    )


def card_html(desk: GovernanceDesk, folder: Path) -> str:
    """The card of the model in a folder, as a page that stands alone.

    Raises:
        ReportError: There is no model, or its files contradict each other.
    """
    return render(read_cards(folder, desk)[-1], "html")


def write_cards(cards: list[ModelCard], folder: Path, form: str) -> list[Path]:
    """Write cards as model-card-VERSION.FORMAT; those of an earlier run are replaced.

    Raises:
        OutputFolderError: They cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for card in cards:
            path = folder / f"model-card-{_file_part(card.version)}.{FORMATS[form]}"
            path.write_text(render(card, form), encoding="utf-8")
            written.append(path)
    except OSError as fault:
        raise OutputFolderError(f"{folder}: cannot be written to ({fault.strerror}); choose another one.") from fault
    return written


def render(card: ModelCard, form: str) -> str:
    """A card in one of FORMATS."""
    match form:
        case "json":
            return json.dumps(to_json(card), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        case "markdown":
            return to_markdown(card)
        case "xml":
            return to_chai_xml(card).decode("utf-8")
    return _template().render(
        card=card,
        research_use=RESEARCH_USE,
        identity=identity_facts(card),
        use=(INTENDED_USE, HOW_TO_USE, POPULATION),
        figures=figure_rows(card),
        figure_heads=FIGURE_HEADS,
        audit=audit_sentence(card),
        controls=control_rows(card),
        control_heads=CONTROL_HEADS,
    )


def _model_card(folder: Path, desk: GovernanceDesk | None) -> ModelCard:
    document = _document(folder / MODEL)
    version = _checked_version(folder, document)
    evaluation = _document(folder / EVALUATION) if (folder / EVALUATION).is_file() else None
    try:
        return card_of_model(
            document,
            evaluation=evaluation,
            audit=_audit(desk, version, folder / AUDIT),
            release=_release(desk, version),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as fault:
        raise ReportError(
            f"{folder}: what is said of the model there is not what it should be ({type(fault).__name__})."
        ) from fault


def _round_cards(folder: Path, desk: GovernanceDesk | None) -> list[ModelCard]:
    events = read_events(folder)
    try:
        return [
            card_of_round(
                events,
                event["round"],
                audit=_audit(desk, str(event["model"]), None),
                release=_release(desk, str(event["model"])),
            )
            for event in _finished(folder, events)
        ]
    except (TypeError, ValueError, KeyError, AttributeError) as fault:
        raise ReportError(f"{folder}: the run's events are damaged ({type(fault).__name__}).") from fault


def _finished(folder: Path, events: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    found = finished_rounds(events)
    if not found:
        raise ReportError(f"{folder}: no round of this run is finished, so there is no model yet.")
    return found


def _checked_version(folder: Path, document: Mapping[str, Any]) -> str:
    """The version that the files have; it is the digest over them, as federated.model_file makes it."""
    weights = _read(folder / WEIGHTS, 64 << 20)
    try:
        parts = {name: document[name] for name in _VERSIONED}
        found = digest({"weights_sha256": hashlib.sha256(weights).hexdigest(), **parts})
    except (KeyError, NotCanonicalError) as fault:
        raise ReportError(f"{folder / MODEL}: is no model's file; install the model again.") from fault
    if found != document.get("version"):
        raise ReportError(
            f"{folder}: expected the version {document.get('version')}, got {found}: the files were changed, so no "
            "card is written; install the model again."
        )
    return found


def _audit(desk: GovernanceDesk | None, version: str, shipped: Path | None) -> AuditSummary | None:
    """The newest one on record of this version, else the one that ships beside the model."""
    records = desk.store.audits(version) if desk is not None else ()
    if records:
        content = records[0].document
    elif shipped is not None and shipped.is_file():
        content = _read(shipped)
    else:
        return None
    from governance.audit import parse_audit

    try:
        report = parse_audit(content)
    except AuditDataError as fault:
        raise ReportError(f"The audit of version {version[:12]} cannot be read: {fault}") from fault
    if report.model_version != version:
        return None
    return summarise_audit(json.loads(content), report.digest)


def _release(desk: GovernanceDesk | None, version: str) -> Release:
    if desk is None:
        return Release("not known: no site's records were read")
    status = desk.store.model_status(version)
    if status is None:
        return Release()
    return Release(status.state.value, status.since.date().isoformat(), status.reason)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(_read(path))
    except (ValueError, RecursionError) as fault:
        raise ReportError(f"{path}: expected JSON, got something else.") from fault
    if not isinstance(found, Mapping):
        raise ReportError(f"{path}: expected a JSON object, got {type(found).__name__}.")
    return found


def _read(path: Path, limit: int = _MOST_BYTES) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as fault:
        raise ReportError(f"{path}: cannot be read ({fault.strerror}).") from fault
    if len(content) > limit:
        raise ReportError(f"{path}: expected at most {limit} bytes.")
    return content


def _file_part(version: str) -> str:
    """A version comes from a file: only what cannot lead out of the folder is used."""
    return "".join(sign for sign in version[:12] if sign.isalnum()) or "unknown"


@cache
def _template() -> Template:
    text = files("plugin.services").joinpath("templates/model-card.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        loader=DictLoader({"card": text}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("card")
