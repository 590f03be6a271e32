"""One run of a comparison: train one network, fix its temperatures and thresholds on validation, score it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit

from benchmarks.scores import score_case
from federated.augmentation import Augmentation
from federated.calibration import fit_temperatures
from federated.cases import Example
from federated.decision import Decision, decide
from federated.errors import DivergedError
from federated.inference import run_network
from federated.metrics import REGIONS, dice_of_masks, region_masks
from federated.models import (
    ARMS,
    HybridConfig,
    NetworkConfig,
    SegResNetConfig,
    UNetConfig,
    build_network,
    describe_network,
)
from federated.resampling import Floats, Mask
from federated.sampling import Patch, Split
from federated.training import train
from federated.training_settings import TrainingSettings

CPU: Final = torch.device("cpu")
THRESHOLDS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Protocol:
    """What all arms have in common; no run may depart from it.

    Attributes:
        spacing_mm: Of the grid.
        cohort_seed: Of the phantom's cases.
        patch: Voxels that a training step sees: the whole brain.
        synthetic_share: Share of phantom cases in a batch, where there are real ones.
        min_component_ml: See federated.decision.Decision.
    """

    spacing_mm: float = 4.0
    cohort_seed: int = 2026
    steps: int = 240
    batch: int = 2
    patch: Patch = (40, 48, 40)
    weight_decay: float = 1e-4
    average_decay: float = 0.98
    synthetic_share: float = 0.5
    min_component_ml: float = 0.5


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        purpose: "tuning" is never scored on test cases; "final" is.
        held_out: The real subject that this run is scored on; None for the phantom's test cases.
    """

    arm: str
    learning_rate: float
    seed: int
    purpose: str
    held_out: str | None = None

    @property
    def name(self) -> str:
        """Of its file."""
        words = [self.purpose, self.arm, f"lr{self.learning_rate:g}", f"seed{self.seed}", self.held_out]
        return "_".join(word for word in words if word)


@dataclass(frozen=True, eq=False)
class RunData:
    """The cases of a run.

    Attributes:
        split: Training and validation.
        tests: By group.
    """

    split: Split
    tests: Mapping[str, Sequence[Example]]


def small_network(arm: str) -> NetworkConfig:
    """The arm's network for a coarse grid: narrower, and where it has four levels, without the deepest."""
    config = ARMS[arm]
    if isinstance(config, HybridConfig):
        return replace(config, filters=(16, 32, 64), detail=8)
    if isinstance(config, UNetConfig):
        return replace(config, filters=(16, 32, 64))
    return SegResNetConfig(config.in_channels, 8, (1, 2, 2), (1, 1))


def describe_run(job: Job) -> dict[str, Any]:
    """What decides a run's result beside the protocol and the cases."""
    return {"network": describe_network(small_network(job.arm))}


def run_job(job: Job, protocol: Protocol, data: RunData) -> dict[str, Any]:
    """Train and score.

    Returns:
        A run file's content, see benchmarks.scores; a tuning run has no scores, and one that diverged a score of 0.
    """
    config = small_network(job.arm)
    result: dict[str, Any] = {
        "arm": job.arm,
        "seed": job.seed,
        "learning_rate": job.learning_rate,
        "purpose": job.purpose,
        **_size(config),
        "scores": [],
    }
    started = time.process_time()
    try:
        trained = train(data.split, config, _training(job, protocol), CPU)
    except DivergedError as fault:
        if job.purpose != "tuning":
            raise
        return {**result, "diverged": str(fault), "validation": {"score": 0.0}}
    result["cpu_seconds"] = round(time.process_time() - started, 1)
    network = build_network(config).eval()
    network.load_state_dict(dict(trained.weights))
    decision, validation = fix_decision(network, data.split.validation, config.stride, protocol)
    if job.purpose == "final":
        result["scores"] = [
            _score(network, group, example, config.stride, decision, protocol)
            for group, examples in data.tests.items()
            for example in examples
        ]
    return {
        **result,
        "validation": validation,
        "decision": asdict(decision),
        "losses": [round(float(np.mean(part)), 4) for part in np.array_split(trained.losses, 10) if len(part)],
    }


def _training(job: Job, protocol: Protocol) -> TrainingSettings:
    return TrainingSettings(
        steps=protocol.steps,
        batch=protocol.batch,
        patch=protocol.patch,
        learning_rate=job.learning_rate,
        weight_decay=protocol.weight_decay,
        synthetic_share=protocol.synthetic_share,
        average_decay=protocol.average_decay,
        threads=1,
        seed=job.seed,
        # Cases here have no skull.
        augmentation=Augmentation(spacing_mm=protocol.spacing_mm, shell=0.0),
    )


def _size(config: NetworkConfig) -> dict[str, Any]:
    network = build_network(config)
    counts = [weight.numel() for weight in network.parameters()]
    return {
        "network": describe_network(config),
        "parameters": sum(counts),
        "learning_parameters": sum(weight.numel() for weight in network.parameters() if weight.requires_grad),
        # What a site receives and sends in a federated round: every weight, float32, there and back.
        "round_bytes": 2 * 4 * sum(counts),
    }


def fix_decision(
    network: torch.nn.Module, examples: Sequence[Example], stride: int, protocol: Protocol
) -> tuple[Decision, dict[str, Any]]:
    """Fix temperatures, then thresholds, on validation cases.

    Returns:
        The decision, and the validation Dice that its thresholds reach: by region, and their mean as "score".
    """
    logits = [_logits(network, example, stride) for example in examples]
    truths = [_truth(example) for example in examples]
    heads = [example.model_input.head for example in examples]
    temperatures = fit_temperatures(logits, truths, heads)
    answers = [_probabilities(each, head, temperatures) for each, head in zip(logits, heads, strict=True)]
    chosen, reached = zip(*(_best_threshold(index, answers, truths) for index in range(len(REGIONS))), strict=True)
    decision = Decision(chosen, temperatures, protocol.min_component_ml)
    return decision, {"dice": dict(zip(REGIONS, reached, strict=True)), "score": float(np.mean(reached))}


def _best_threshold(region: int, answers: Sequence[Floats], truths: Sequence[Any]) -> tuple[float, float]:
    """The threshold with the best mean Dice, the one nearest 0.5 among equals, and that Dice."""
    means = {
        threshold: float(
            np.mean(
                [
                    dice_of_masks(each[region] > threshold, truth[region])
                    for each, truth in zip(answers, truths, strict=True)
                ]
            )
        )
        for threshold in THRESHOLDS
    }
    best = max(means, key=lambda threshold: (means[threshold], -abs(threshold - 0.5)))
    return best, means[best]


def _score(
    network: torch.nn.Module, group: str, example: Example, stride: int, decision: Decision, protocol: Protocol
) -> dict[str, Any]:
    labels, probabilities = outline(network, example, stride, decision, protocol.spacing_mm)
    head = example.model_input.head
    return score_case(group, example.name, labels, example.labels, [protocol.spacing_mm] * 3, probabilities, head)


def outline(
    network: torch.nn.Module, example: Example, stride: int, decision: Decision, spacing_mm: float
) -> tuple[npt.NDArray[np.uint8], Floats]:
    """A case's labels under a decision, and the calibrated probabilities behind them."""
    probabilities = _probabilities(_logits(network, example, stride), example.model_input.head, decision.temperatures)
    return decide(probabilities, spacing_mm**3 / 1000, decision), probabilities


def _logits(network: torch.nn.Module, example: Example, stride: int) -> Floats:
    with torch.inference_mode():
        logits: Floats = run_network(network, torch.from_numpy(example.model_input.channels), stride).numpy()
    return logits


def _probabilities(logits: Floats, head: Mask, temperatures: Sequence[float]) -> Floats:
    """Calibrated; 0 outside the head."""
    scaled = logits / np.array(temperatures, np.float32)[:, None, None, None]
    probabilities: Floats = expit(scaled) * head
    return probabilities


def _truth(example: Example) -> Any:
    return np.stack(list(region_masks(example.labels).values()))
