"""What an audit's instruments look at: the model, its cases, and how much of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from federated.cases import Case, CaseSource, Example, to_example
from federated.errors import EvaluationError
from federated.preprocessing import ModelInput, Preprocessing
from plugin.services.governance.audit_cases import WHOLE, Embed, MeasuredCase, pseudonym

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from federated.auditing.audited_model import AuditedModel
    from federated.auditing.budget import AuditBudget

LEAST_HEADS: Final = 8
"""That gradient inversion needs."""
LEAST_OTHERS: Final = 100
"""Of which 1 % is one case."""
_EXPLAINED: Final = 20


@dataclass(frozen=True)
class Effort:
    """How much the instruments look at.

    Attributes:
        budget: See federated.auditing.budget.
        permutations: Of each two-sample test.
        explained_cases, samples: Cases that are explained, and samples of each explanation.
        stresses: How many of the stresses; None for all.
    """

    budget: "AuditBudget"
    permutations: int = 999
    explained_cases: int = _EXPLAINED
    samples: int = 200
    stresses: int | None = None


@dataclass(frozen=True)
class TrainedOn:
    """Cases that tell whether the model remembers whom it was trained on.

    Attributes:
        members: Cases that it was trained on, as it saw them.
        others: Cases of the same kind that it was not trained on.
        note: What these are, and what is not among them, a sentence.
    """

    members: tuple[CaseSource, ...]
    others: tuple[CaseSource, ...]
    note: str


@dataclass(frozen=True)
class Subject:
    """What is under audit.

    Attributes:
        audited: The model.
        sources: Of the cohort's cases, in the order of measured.
        measured: What the model did on them.
        trained_on: None where it is not known.
    """

    audited: "AuditedModel"
    sources: tuple[CaseSource, ...]
    measured: tuple[MeasuredCase, ...]
    trained_on: TrainedOn | None


def full_effort(spacing_mm: float, minimum_group: int) -> Effort:
    """What an audit before release takes: about 40 minutes on one core at 2 mm."""
    from federated.auditing.budget import budget_for

    budget = budget_for(spacing_mm)
    return Effort(
        replace(
            budget,
            attacked_cases=max(budget.attacked_cases, minimum_group),
            boundary_cases=max(budget.boundary_cases, minimum_group),
            # A trial takes half a minute. So few show a leak, if there is one; that there is none takes hundreds.
            inversion_trials=min(budget.inversion_trials, LEAST_HEADS),
        )
    )


def quick_effort(stride: int) -> Effort:
    """To see that everything works: too little to conclude from."""
    from federated.auditing.adversarial import AttackSettings
    from federated.auditing.budget import AuditBudget
    from federated.auditing.gradient_inversion import InversionSettings

    edge = 4 * stride
    return Effort(
        AuditBudget(
            embedded_cases=8,
            bounded_cases=1,
            attacked_cases=2,
            attacks=AttackSettings((0.1,), (0.1,), steps=1, patch=(edge, edge, edge)),
            inversion_trials=1,
            inversion=InversionSettings(iterations=2),
            membership_cases=4,
            boundary_cases=2,
        ),
        permutations=99,
        explained_cases=1,
        samples=20,
        stresses=2,
    )


def embedder(audited: "AuditedModel") -> Embed:
    """What the network makes of a case at its neck; nothing of a network without one."""
    from federated.auditing.embeddings import case_embeddings
    from federated.hybrid import HybridNet

    if not isinstance(audited.network, HybridNet):
        return lambda _: ()

    def embed(case: Case) -> Sequence[float]:
        found: list[float] = (
            case_embeddings(audited, [to_example(case, audited.model.preprocessing)]).values[0].tolist()
        )
        return found

    return embed


class LateExamples:
    """Examples that are read when they are looked at, the last one kept: hundreds of heads would not fit in memory."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing
        self._last: tuple[str, Example] | None = None

    def of(self, kind: str, sources: Sequence[CaseSource]) -> list[Example]:
        """One example a case, under pseudonyms of its kind."""
        return [_LateExample(self, f"{kind}-{number:04d}", source) for number, source in enumerate(sources, start=1)]

    def built(self, name: str, source: CaseSource) -> Example:
        """The example of this name."""
        if self._last is None or self._last[0] != name:
            self._last = name, to_example(source.read(), self._preprocessing)
        return self._last[1]


class _LateExample(Example):
    def __init__(self, late: LateExamples, name: str, source: CaseSource) -> None:
        # The base is frozen.
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_where", (late, source))

    @property
    def model_input(self) -> ModelInput:
        """See Example."""
        return self._built().model_input

    @property
    def labels(self) -> "npt.NDArray[np.uint8]":
        """See Example."""
        return self._built().labels

    def _built(self) -> Example:
        late, source = self.__dict__["_where"]
        found: Example = late.built(self.name, source)
        return found


class _Renamed:
    """A case under its pseudonym: instruments tell names."""

    def __init__(self, source: CaseSource, name: str) -> None:
        self._source = source
        self.name = name

    def read(self) -> Case:
        """See CaseSource."""
        return replace(self._source.read(), name=self.name)


def renamed(subject: Subject, place: int) -> CaseSource:
    """The case at a place of the cohort, under its pseudonym."""
    return _Renamed(subject.sources[place], pseudonym(place + 1))


def example_at(subject: Subject, place: int) -> Example:
    """The same, as the network sees it."""
    return to_example(renamed(subject, place).read(), subject.audited.model.preprocessing)


def complete_cases(subject: Subject) -> list[int]:
    """Places of the cases that lack no contrast and have a tumour."""
    return [place for place, each in enumerate(subject.measured) if not each.missing and each.drawn_ml[WHOLE] > 0]


def first_examples(subject: Subject, limit: int) -> list[Example]:
    """The first complete cases.

    Raises:
        EvaluationError: There is none.
    """
    places = complete_cases(subject)[:limit]
    if not places:
        raise EvaluationError("No case has all contrasts and a tumour.")
    return [example_at(subject, place) for place in places]
