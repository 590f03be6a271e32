"""The cases that a site's worker uses in a round: drawn anew for each stage, prepared once.

Consent may have been withdrawn since the last round, so which cases take part is asked each time. Preparing a case
takes seconds, so what was prepared stays in the worker's memory as long as the case takes part.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from federated.cases import Example, to_example
from federated.demographics import Demographics
from federated.errors import TermsError
from federated.preprocessing import Preprocessing
from federated.presets import PRESETS
from federated.rounds.terms import RoundTerms
from federated.sampling import Split
from plugin.services.research_cohort import Cohort


@dataclass(frozen=True, eq=False)
class SiteCohort:
    """A cohort, prepared for a network.

    Attributes:
        people: By the name of a held-out case, where known.
    """

    split: Split
    people: Mapping[str, Demographics]


class CohortKeeper:
    """Gives the cohort of a round; keeps what it prepared for the next one."""

    def __init__(self, draw: Callable[[RoundTerms], Cohort]) -> None:
        """Use what draws the cases, by the site's rules at that moment."""
        self._draw = draw
        self._prepared: dict[tuple[str, Preprocessing], Example] = {}

    def __call__(self, terms: RoundTerms) -> SiteCohort:
        """Draw and prepare.

        Raises:
            TermsError: This version has no such preset.
            TrainingDataError: A case cannot be used; the message says which and why.
        """
        cases, preprocessing = self._draw(terms), preprocessing_of(terms)
        before, self._prepared = self._prepared, {}
        for source in (*cases.training, *cases.held_out):
            key = (source.name, preprocessing)
            self._prepared[key] = before.get(key) or to_example(source.read(), preprocessing)
        training, held_out = (
            [self._prepared[source.name, preprocessing] for source in part] for part in (cases.training, cases.held_out)
        )
        split = (
            Split(synthetic=training, validation=held_out)
            if cases.synthetic
            else Split(real=training, validation=held_out)
        )
        return SiteCohort(split, cases.people)


def preprocessing_of(terms: RoundTerms) -> Preprocessing:
    """How the cases of a round are prepared.

    Raises:
        TermsError: This version has no such preset.
    """
    if terms.learning.preset not in PRESETS:
        raise TermsError(f"Expected a preset of {', '.join(PRESETS)}, got {terms.learning.preset!r}.")
    return PRESETS[terms.learning.preset].preprocessing
