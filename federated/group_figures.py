"""How a model does by subgroup at one site, as it may leave: sums with noise, once a run, of sites with many cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from federated.demographics import Demographics, age_band
from federated.privacy.randomness import SecretRandom
from federated.privacy.subgroups import noised_groups
from federated.rounds.terms import RoundTerms

REGION: Final = "whole-tumour"
"""The only one that is told: each number more makes the noise on all of them louder."""
KINDS: Final = ("age", "ethnicity", "sex")
MINIMUM_CASES: Final = 10
EPSILON: Final = 1.0
"""What the statistic costs each held-out patient, once a run; at the delta of the terms."""
_KEY_FILE: Final = "groups.key"


@dataclass(frozen=True)
class GroupFigures:
    """What may leave, and what it costs.

    Attributes:
        groups: By "kind: value", the noised "count" and the noised sum of "dice" by region; a mean is sum over count.
        epsilon: Of each held-out patient; 0 where nothing was looked at.
    """

    groups: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float = 0.0


def group_figures(
    dice: Mapping[str, float], people: Mapping[str, Demographics], terms: RoundTerms, secrets: Path
) -> GroupFigures:
    """The figures of a round: those of the last one, where there are enough cases at all.

    Args:
        dice: Of REGION, by case, one a patient.
        people: By case, where known.
        terms: Of the round.
        secrets: Folder of this stage of this round alone: the same noise is drawn when it is done again.

    Raises:
        PrivacySettingsError: The terms' delta does not serve.
        CheckpointError: The secret cannot be kept.
    """
    if terms.round < terms.rounds or len(dice) < MINIMUM_CASES:
        return GroupFigures()
    # Bound to the numbers: other numbers never have the same noise on them.
    random = SecretRandom.kept(secrets / _KEY_FILE).child("qfl/groups", terms.digest, repr(sorted(dice.items())))
    found = noised_groups(
        {case: {REGION: value} for case, value in dice.items()},
        {case: _attributes(person) for case, person in people.items()},
        regions=(REGION,),
        kinds=KINDS,
        minimum_count=MINIMUM_CASES,
        epsilon=EPSILON,
        delta=terms.privacy.delta,
        run=terms.run,
        number=terms.round,
        random=random,
    )
    groups = {
        f"{kind}: {value}": {
            "count": round(each.count, 1),
            "dice": {name: round(total, 2) for name, total in each.dice.items()},
        }
        for (kind, value), each in found.groups.items()
    }
    return GroupFigures(groups, found.spending.epsilon)


def _attributes(person: Demographics) -> dict[str, str]:
    return {"sex": person.sex, "age": age_band(person.age_years), "ethnicity": person.ethnicity}
