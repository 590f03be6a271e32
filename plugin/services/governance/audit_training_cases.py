"""Which cases a model was trained on, and others of the same kind: what membership inference is tried on."""

import re
from pathlib import Path
from typing import Final

from federated.cases import read_cohort
from federated.phantom_sites import PhantomCase, Split, phantom_cohort
from governance.errors import AuditDataError
from plugin.services.governance.audit_cohorts import FIRST_SEED, AuditCohort
from plugin.services.governance.audit_subject import TrainedOn

USUAL: Final = f"phantom:{FIRST_SEED}"
"""What the shipped model, and the presets of `qfl train`, learn from."""
_PHANTOM: Final = re.compile(r"phantom:(\d{1,9})")
_FAR: Final = 1000
"""Seeds apart from those of any cohort that a model is trained or audited on."""
_OTHER_COHORTS: Final = 2


def find_training_cases(trained_on: str, cohort: AuditCohort, spacing_mm: float) -> TrainedOn:
    """Find them.

    Args:
        trained_on: "phantom:SEED", or a folder of labelled cases.
        cohort: Of the audit; for a folder, its cases are those that the model was not trained on.
        spacing_mm: Of synthetic cases.

    Raises:
        AuditDataError: A case of the audit is among them.
        TrainingDataError: The folder cannot be read.
    """
    match = _PHANTOM.fullmatch(trained_on)
    if match is None:
        members = read_cohort(Path(trained_on))
        if {each.name for each in members} & {each.name for each in cohort.sources}:
            raise AuditDataError("A case of the audit is among those that the model was trained on: audit on others.")
        return TrainedOn(
            members, cohort.sources, "Members are the folder of --trained-on, others are the audit's cases."
        )
    seed = int(match[1])
    # Others come the same way as members, drawn by the same readers: else the labels' style would tell them apart.
    others: list[PhantomCase] = []
    for other in range(seed + _FAR, seed + _FAR + _OTHER_COHORTS):
        others += phantom_cohort(other, spacing_mm=spacing_mm, split=Split.TRAINING)
    others.sort(key=lambda case: case.index)
    return TrainedOn(
        phantom_cohort(seed, spacing_mm=spacing_mm, split=Split.TRAINING),
        tuple(others),
        f"Members are the synthetic training cases of seed {seed}; of real training cases nothing was tried.",
    )
