"""The interpretability score of a model: in how many cases a local explanation follows it."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scipy import stats

from federated.cases import CaseSource, to_example
from federated.errors import TrainingDataError
from federated.explanation.lime_supervoxels import SAMPLES, explain_window
from federated.explanation.supervoxels import COUNT, cut_supervoxels
from federated.explanation.window import open_window, trained_network
from federated.model_file import Model
from federated.ports import Progress

LOCAL_FIDELITY: Final = 0.8
LEVEL: Final = 0.95


@dataclass(frozen=True)
class InterpretabilityResult:
    """How well local explanations follow a model.

    Attributes:
        share_explained: Of the cases whose R2 reaches local_fidelity, 0 to 1.
        low, high: Its 95 % interval (Wilson).
        r2: By case: the R2 on samples that the explanation was not fitted to.
        n: Number of cases.
        local_fidelity: R2 from which on an explanation counts.
        samples: Of each explanation.
        supervoxels: Wanted of each case.
        seconds: All cases together.
    """

    share_explained: float
    low: float
    high: float
    r2: tuple[tuple[str, float], ...]
    n: int
    local_fidelity: float
    samples: int
    supervoxels: int
    seconds: float


def interpretability(
    model: Model,
    cases: Iterable[CaseSource],
    *,
    local_fidelity: float = LOCAL_FIDELITY,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> InterpretabilityResult:
    """Explain each case and count those whose explanation is faithful.

    Args:
        model: See federated.model_file.load_model.
        cases: Read one after the other; about 20 are enough for an interval that says something.
        local_fidelity: See governance.policy.Interpretability.
        samples: Of each explanation.
        seed: Of what is drawn.
        progress: Called after each case.

    Raises:
        TrainingDataError: There is no case, or one that cannot be used.
    """
    sources, began = list(cases), time.monotonic()
    if not sources:
        raise TrainingDataError("Expected at least one case to explain, got none.")
    network, found = trained_network(model), []
    for done, source in enumerate(sources, start=1):
        example = to_example(source.read(), model.preprocessing)
        window = open_window(model, network, example.model_input)
        local = explain_window(window, cut_supervoxels(window), samples=samples, seed=seed)
        found.append((source.name, local.r2_held_out))
        progress(done / len(sources))
    faithful = sum(r2 >= local_fidelity for _, r2 in found)
    low, high = wilson_interval(faithful, len(found))
    return InterpretabilityResult(
        share_explained=faithful / len(found),
        low=low,
        high=high,
        r2=tuple(found),
        n=len(found),
        local_fidelity=local_fidelity,
        samples=samples,
        supervoxels=COUNT,
        seconds=time.monotonic() - began,
    )


def wilson_interval(successes: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of a share.

    Args:
        successes: Of the trials.
        trials: From 1.
        level: Of confidence.

    References:
        Wilson (1927), doi:10.1080/01621459.1927.10502953.
    """
    z = float(stats.norm.ppf((1 + level) / 2))
    share, spread = successes / trials, z**2 / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
