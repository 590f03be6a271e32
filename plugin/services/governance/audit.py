"""The audit of a model before it may be used: measured, judged by the policy in force, reported and recorded."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from federated.ports import Segmenter
from governance.audit import AuditReport, canonical_numbers
from governance.audit_controls import build_controls
from governance.canonical import Canonical
from governance.errors import AuditDataError
from governance.policy import GovernancePolicy
from plugin.services.governance.audit_boundaries import boundary_findings
from plugin.services.governance.audit_cases import MeasuredCase, cohort_digest, measure_cohort, write_whole
from plugin.services.governance.audit_cohorts import AuditCohort
from plugin.services.governance.audit_fairness import mimic_findings, segmentation_findings
from plugin.services.governance.audit_instruments import run_instruments
from plugin.services.governance.audit_record import record_of
from plugin.services.governance.audit_report import build_audit_page
from plugin.services.governance.audit_subject import Effort, Subject, TrainedOn, embedder
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.mimic_cohort import MimicCohort
from plugin.services.governance.shipped_audit import audit_entry
from plugin.services.governance.values import AuditRecord

DOCUMENT: Final = "audit.json"
PAGE: Final = "audit.html"
CASES: Final = "cases.csv"
WORK: Final = "work"
_CASES_STAGE: Final = "cases"


class AuditView(Protocol):
    """Who watches an audit."""

    def say(self, what: str, fraction: float) -> None:
        """What is done, and how much of it, 0 to 1."""

    def is_stopped(self) -> bool:
        """Whether to stop; what is finished is kept."""


@dataclass(frozen=True)
class Origin:
    """Where an audit comes from.

    Attributes:
        command: That ran it.
        commit: Of the code, or its version.
        machine: The kind of machine.
        trained_by: See AuditReport.
        clock: Gives the time.
    """

    command: str
    commit: str
    machine: str
    trained_by: tuple[str, ...]
    clock: Callable[[], datetime]


@dataclass(frozen=True)
class Audited:
    """A finished audit.

    Attributes:
        cases: What was measured; none where predictions were given.
    """

    report: AuditReport
    cases: tuple[MeasuredCase, ...] = ()


def run_audit(
    segmenter: Segmenter,
    model_dir: Path,
    cohort: AuditCohort,
    *,
    trained_on: TrainedOn | None,
    policy: GovernancePolicy,
    effort: Effort,
    work: Path,
    origin: Origin,
    view: AuditView,
) -> Audited:
    """Audit a model on labelled cases.

    Args:
        segmenter: The model as it is used.
        model_dir: Its folder: instruments look into its network.
        cohort: The cases.
        trained_on: Cases that it was trained on, and others; None where they are not known.
        policy: Gives the thresholds.
        effort: How much the instruments look at.
        work: Folder of this audit alone; an interrupted audit goes on from it.
        origin: See Origin.
        view: Is told how far it is.

    Raises:
        AuditDataError: The folder holds another audit, or a case cannot be judged.
        TrainingDataError: A case cannot be read.
        ModelFileError: The model cannot be loaded.
        KeyboardInterrupt: It was to stop; a repeated call goes on.
    """
    from federated.auditing.audited_model import load_audited_model

    audited = load_audited_model(model_dir)
    embed = embedder(audited)

    def told(done: int, of: int) -> None:
        view.say(f"{_CASES_STAGE}, {done} of {of}", done / of)

    cases = measure_cohort(segmenter, embed, cohort, work, told, view.is_stopped)
    view.say("fairness", 0.0)
    fairness = segmentation_findings(cases, policy)
    subject = Subject(audited, cohort.sources, cases, trained_on)
    instruments = run_instruments(subject, policy, effort, work, view.say, view.is_stopped)
    boundaries = boundary_findings(cases, instruments.sections["stress-tests"], policy)
    told_of = {name: each for name, each in instruments.sections.items() if name != "stress-tests"}
    seconds = sum(each.seconds for each in cases) + sum(instruments.sections["seconds"].values())
    report = _report(
        model=segmenter.identity.version,
        policy=policy,
        verdicts={**fairness.verdicts, **instruments.verdicts, **boundaries.verdicts},
        sections={**fairness.sections, **told_of, **boundaries.sections},
        cohort={
            "name": cohort.name,
            "digest": cohort_digest(cases),
            "cases": len(cases),
            "groups": _counts(cases, policy.fairness.attributes),
        },
        seeds=cohort.seeds,
        seconds=seconds,
        origin=origin,
    )
    return Audited(report, cases)


def run_mimic_audit(
    cohort: MimicCohort, *, model_version: str, policy: GovernancePolicy, origin: Origin, seconds: float = 0.0
) -> Audited:
    """Audit a model by what it said of studies in the layout of MIMIC-CXR; what needs the network has no evidence.

    Args:
        cohort: Findings and predictions.
        model_version: Of the model that made the predictions.
        policy: Gives the thresholds.
        origin: See Origin.
        seconds: That reading took.

    Raises:
        AuditDataError: Something cannot be judged.
    """
    if not model_version.strip():
        raise AuditDataError("Expected the version of the model that made the predictions.")
    found = mimic_findings(cohort, policy)
    report = _report(
        model=model_version.strip(),
        policy=policy,
        verdicts=found.verdicts,
        sections=found.sections,
        cohort={
            "name": "MIMIC-CXR layout, one study a patient",
            "digest": cohort.digest,
            "cases": cohort.patients,
            "left_out": cohort.left_out,
            "findings": {name: len(cases) for name, cases in cohort.findings.items()},
        },
        seeds=(),
        seconds=seconds,
        origin=origin,
    )
    return Audited(report)


def store_audit(desk: GovernanceDesk, report: AuditReport) -> AuditRecord:
    """Keep an audit in the site's records, with its entry of the ledger."""
    record = record_of(report.to_bytes())
    desk.store.save_audit(record, entries=[audit_entry(record, desk)])
    return record


def write_audit(folder: Path, audited: Audited, *, with_groups: bool) -> Sequence[str]:
    """Write the document, the page that people read, and the cases.

    Args:
        folder: Files of an earlier audit are replaced.
        audited: What to write.
        with_groups: Whether to tell each case's groups: only of synthetic patients, for of real ones it could tell who
            a case is.

    Returns:
        The files' names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {DOCUMENT: audited.report.to_bytes(), PAGE: build_audit_page(audited.report).encode()}
    if audited.cases:
        files[CASES] = _table(audited.cases, with_groups=with_groups)
    for name, content in files.items():
        write_whole(folder / name, content)
    return list(files)


def _report(
    *,
    model: str,
    policy: GovernancePolicy,
    verdicts: Mapping[str, Any],
    sections: Mapping[str, Any],
    cohort: Mapping[str, Canonical],
    seeds: Sequence[int],
    seconds: float,
    origin: Origin,
) -> AuditReport:
    told = {name: canonical_numbers(each) for name, each in sections.items()}
    thresholds: dict[str, Any] = {
        "bias": policy.fairness.bias_threshold,
        "confidence": policy.fairness.confidence,
        "minimum_group": policy.fairness.minimum_group,
        "whole_tumour_dice": policy.performance.whole_tumour_dice,
        "worst_group_dice": policy.performance.worst_group_dice,
        "robust_dice_drop": policy.performance.robust_dice_drop,
    }
    return AuditReport(
        model_version=model,
        policy_digest=policy.digest,
        at=origin.clock(),
        controls=build_controls(verdicts, policy),
        cohort=cohort,
        sections={**told, "policy": {"name": policy.name, **_whole(canonical_numbers(thresholds))}},
        provenance={
            "command": origin.command,
            "commit": origin.commit,
            "seeds": list(seeds),
            "machine": origin.machine,
            "seconds": f"{seconds:.0f}",
        },
        trained_by=origin.trained_by,
    )


def _whole(value: Canonical) -> Mapping[str, Canonical]:
    if not isinstance(value, Mapping):
        raise TypeError("A mapping stays a mapping.")
    return value


def _counts(cases: Sequence[MeasuredCase], attributes: Sequence[str]) -> Mapping[str, Canonical]:
    return {
        attribute: dict(sorted(Counter(each.groups.get(attribute, "unknown") for each in cases).items()))
        for attribute in attributes
    }


def _table(cases: Sequence[MeasuredCase], *, with_groups: bool) -> bytes:
    regions = list(cases[0].dice)
    attributes = sorted({name for each in cases for name in each.groups}) if with_groups else []
    head = ["case", *attributes, *(f"dice {region}" for region in regions)]
    head += [f"surface dice {region}" for region in regions] + [f"hausdorff 95 mm {region}" for region in regions]
    head += ["confidence", "drawn ml", "found ml", "missing", "seconds"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for each in cases:
        figures = [part[region] for part in (each.dice, each.surface_dice, each.hausdorff_95_mm) for region in regions]
        sizes = (each.drawn_ml["whole-tumour"], each.found_ml["whole-tumour"])
        writer.writerow(
            [
                each.name,
                *(each.groups.get(name, "") for name in attributes),
                *(f"{value:.4f}" for value in (*figures, each.confidence)),
                *(f"{size:.2f}" for size in sizes),
                " ".join(each.missing),
                f"{each.seconds:.2f}",
            ]
        )
    return text.getvalue().encode()
