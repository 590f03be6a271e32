"""A run's plan from what a person asks for: rounds, strategy, masking and privacy, with numbers that fit each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from federated.errors import TermsError
from federated.privacy.accounting import epsilon, noise_for
from federated.rounds.plan import Patience, RunPlan
from federated.rounds.terms import Aggregation, Compression, Learning, Privacy, Rule, Strategy, Trainable

FEWEST_CASES: Final = 5
"""At a site, where nobody says otherwise: fewer would hide nobody, with or without noise."""
DELTA: Final = 1e-5
EPSILON: Final = 8.0
"""Of a whole run, for each patient."""
ROUND_EPSILON: Final = 2.0
"""Of one round, at most: what a site's policy allows where nobody changed it."""


@dataclass(frozen=True)
class RunRequest:
    """What a coordinator wants.

    Attributes:
        steps: Optimiser steps a round at each site; None for what suits the preset.
        rule: How updates are combined.
        epsilon: What the whole run may cost each patient; None for no record-level privacy.
        site_clip, site_noise: See federated.rounds.terms.Privacy.
        model: Folder of a released model to start from; empty for fresh weights.
        cases: Fewest cases of a site that takes part.
        quorum: Sites that a round begins with at least; None for more than half.
        patience: None for the usual one.
    """

    rounds: int = 10
    preset: str = "tiny"
    strategy: Strategy = "fedavg"
    trainable: Trainable = "all"
    steps: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    rule: Rule = "masked"
    compression: Compression = "none"
    epsilon: float | None = EPSILON
    site_clip: float = 0.0
    site_noise: float = 0.0
    model: str = ""
    cases: int = FEWEST_CASES
    quorum: int | None = None
    patience: Patience | None = None


@dataclass(frozen=True)
class _Pace:
    steps: int
    learning_rate: float
    batch: int


_PACES: Final = {"tiny": _Pace(8, 1e-2, 2), "phantom": _Pace(40, 5e-3, 4), "real": _Pace(40, 5e-3, 4)}
_HEAD_PACES: Final = {**_PACES, "tiny": _Pace(5, 2e-2, 2)}
"""Where only the head learns."""


def make_plan(request: RunRequest, *, federation: str, run: str, sites: Sequence[str], app: str) -> RunPlan:
    """Work the numbers out.

    Args:
        request: What is wanted.
        federation: Its name.
        run: Id of the new run.
        sites: Names of those that may take part.
        app: Digest of the installed app.

    Raises:
        TermsError: Something is unknown, out of range, or contradicts something else.
        PrivacySettingsError: No noise gives the privacy that is asked for.
    """
    for value, kind in (
        (request.strategy, Strategy),
        (request.rule, Rule),
        (request.compression, Compression),
        (request.trainable, Trainable),
    ):
        if value not in get_args(kind):
            raise TermsError(f"Expected one of {', '.join(get_args(kind))}, got {value!r}.")
    if request.preset not in _PACES:
        raise TermsError(f"Expected a preset of {', '.join(_PACES)}, got {request.preset!r}.")
    half = len(sites) // 2 + 1
    pace = (_HEAD_PACES if request.trainable == "head" else _PACES)[request.preset]
    steps = pace.steps if request.steps is None else request.steps
    quorum = half if request.quorum is None else request.quorum
    is_masked = request.rule in {"masked", "grouped-masked"}
    return RunPlan(
        federation=federation,
        run=run,
        sites=tuple(sorted(sites)),
        rounds=request.rounds,
        app=app,
        quorum=quorum,
        minimum_cases=request.cases,
        model=request.model,
        learning=Learning(
            preset=request.preset,
            strategy=request.strategy,
            trainable=request.trainable,
            steps=steps,
            learning_rate=pace.learning_rate if request.learning_rate is None else request.learning_rate,
            batch=pace.batch,
            seed=request.seed,
        ),
        privacy=_privacy(request, steps, pace.batch),
        aggregation=Aggregation(
            rule=request.rule, compression=request.compression, threshold=half if is_masked else min(2, quorum)
        ),
        patience=request.patience or Patience(),
    )


def _privacy(request: RunRequest, steps: int, batch: int) -> Privacy:
    if request.epsilon is None:
        return Privacy(site_clip=request.site_clip, site_noise=request.site_noise)
    # Noise for the smallest site that may take part: a larger one draws each patient more seldom, and spends less.
    sample_rate = min(1.0, batch / request.cases)
    noise = max(
        noise_for(request.epsilon, sample_rate, steps * request.rounds, DELTA),
        noise_for(min(request.epsilon, ROUND_EPSILON), sample_rate, steps, DELTA),
    )
    noise = math.ceil(noise * 1000) / 1000
    return Privacy(
        record_noise=noise,
        delta=DELTA,
        record_epsilon=math.ceil(epsilon(noise, sample_rate, steps, DELTA) * 1000) / 1000,
        site_clip=request.site_clip,
        site_noise=request.site_noise,
    )
