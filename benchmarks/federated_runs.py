"""Runs of the federated-learning benchmark: rounds over ten phantom sites in one process, with the sites' real work.

No engine, no keys: what is measured is learning. Each round's state is on the disk, so a run goes on where it stopped.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.arm_runs import Protocol, fix_decision, outline
from federated.aggregation import combine
from federated.cases import Example, to_example
from federated.checkpoints import CheckpointFolder
from federated.compression import Compressor, rounding
from federated.decision import Decision
from federated.evaluation import area_under_roc
from federated.initial_weights import to_arrays, to_tensors
from federated.local_work import do_work
from federated.metrics import REGIONS, dice_of_masks, region_masks
from federated.models import NetworkConfig, build_network, describe_network
from federated.phantom_sites import SITES, phantom_cohort
from federated.presets import PRESETS
from federated.rounds.layout import Vector, Weights
from federated.rounds.messages import Stage
from federated.rounds.ports import LocalResult
from federated.rounds.terms import Aggregation, Learning, RoundTerms
from federated.sampling import Split
from federated.secure_aggregation.fixed_point import reduce_to
from federated.site_state import SiteFolder
from federated.strategies import (
    ServerState,
    advance,
    extras,
    shared_names,
    site_weight,
    start_state,
    update_size,
)
from federated.training import train

CPU: Final = torch.device("cpu")
PRESET: Final = "tiny"
COHORT_SEED: Final = 2026
SPACING_MM: Final = 4.0
SITE_NAMES: Final = tuple(sorted(site.name for site in SITES if site.seen))
Tamper = Callable[[str, LocalResult], LocalResult]
"""What an attacker does to a site's result before it is sent."""


@dataclass(frozen=True, eq=False)
class Data:
    """The prepared cases.

    Attributes:
        training, validation, test: By site of the federation.
        elsewhere: Cases of two hospitals that are not in it.
    """

    training: Mapping[str, Sequence[Example]]
    validation: Mapping[str, Sequence[Example]]
    test: Mapping[str, Sequence[Example]]
    elsewhere: Sequence[Example]

    def of(self, site: str) -> "Data":
        """One site's part."""
        training, validation, test = ({site: cases[site]} for cases in (self.training, self.validation, self.test))
        return Data(training, validation, test, ())


@dataclass(frozen=True)
class Rounds:
    """How a federation learns.

    Attributes:
        rounds: In all.
        learning: Of the terms.
        aggregation: Of the terms; unmasked.
    """

    rounds: int
    learning: Learning
    aggregation: Aggregation = field(default_factory=lambda: Aggregation(rule="mean", threshold=1))


@dataclass(frozen=True, eq=False)
class Finished:
    """Where a federation came to.

    Attributes:
        weights: Of the global model.
        personal: By site, the weights that it keeps for itself; empty where it keeps none.
        bytes_per_round: That a site sends.
        loss: Of each round, mean over the sites.
    """

    weights: Weights
    personal: Mapping[str, Weights]
    bytes_per_round: int
    loss: Sequence[float]


def load(limit: int | None = None) -> Data:
    """Build and prepare the cases.

    Args:
        limit: Cases of each site and split at most; None for all.
    """

    def prepared(split: str) -> dict[str, list[Example]]:
        found: dict[str, list[Example]] = {}
        for plan in phantom_cohort(COHORT_SEED, spacing_mm=SPACING_MM, split=split):
            if limit is None or plan.index < limit:
                found.setdefault(plan.site.name, []).append(to_example(plan.read(), PRESETS[PRESET].preprocessing))
        return found

    elsewhere = [example for site in prepared("unseen").values() for example in site]
    return Data(prepared("training"), prepared("validation"), prepared("test"), elsewhere)


def run_rounds(
    plan: Rounds,
    network: NetworkConfig,
    start: Weights,
    cohorts: Mapping[str, Split],
    folder: Path,
    tamper: Tamper | None = None,
) -> Finished:
    """Run a federation, or go on with it.

    Args:
        plan: How.
        network: Of the model.
        start: All of its weights.
        cohorts: By site.
        folder: Of this run alone.
        tamper: What comes between a site and the coordinator.
    """
    names = shared_names(network, plan.learning)
    first = start_state(start, names, plan.learning)
    kept = folder / "server.bin"
    state = ServerState.from_bytes(kept.read_bytes()) if kept.exists() else first
    losses = np.load(folder / "loss.npy").tolist()[: state.round] if kept.exists() else []
    sites = tuple(sorted(cohorts))
    terms = RoundTerms(
        federation="benchmark",
        run="benchmark",
        round=1,
        rounds=plan.rounds,
        participants=sites,
        app="",
        model="",
        layout=first.layout.digest,
        network=describe_network(network),
        deadline=datetime(2100, 1, 1, tzinfo=UTC),
        learning=plan.learning,
        aggregation=plan.aggregation,
    )
    channel = _Channel(plan, update_size(first.layout, plan.learning), folder / "residuals.npz")
    while state.round < plan.rounds:
        terms = replace(terms, round=state.round + 1)
        results = {site: _train(terms, state, site, cohorts[site], folder, tamper) for site in sites}
        state = advance(state, terms, channel.mean(terms, results), sites)
        losses.append(float(np.mean([result.figures["loss"] for result in results.values()])))
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "loss.npy", losses)
        channel.keep()
        _replace(kept, state.to_bytes())
        for site in sites:
            shutil.rmtree(_checkpoints(folder, site, terms))
    personal = {site: SiteFolder(folder / site / "state").before(plan.rounds + 1).personal for site in sites}
    return Finished(state.weights, personal, channel.bytes(terms), losses)


def _train(
    terms: RoundTerms, state: ServerState, site: str, cohort: Split, folder: Path, tamper: Tamper | None
) -> LocalResult:
    result = do_work(
        terms,
        Stage.TRAIN,
        state.weights,
        extras(state, terms, site),
        cohort,
        site=site,
        state=folder / site / "state",
        checkpoints=_checkpoints(folder, site, terms),
        device=CPU,
    )
    if not isinstance(result, LocalResult):
        raise TypeError("TRAIN gives a result.")
    return tamper(site, result) if tamper else result


def _checkpoints(folder: Path, site: str, terms: RoundTerms) -> Path:
    return folder / site / f"round-{terms.round:04d}"


class _Channel:
    """From the sites' updates to their mean, compressed on the way where the plan says so."""

    def __init__(self, plan: Rounds, size: int, kept: Path) -> None:
        self._plan, self._size, self._kept = plan, size, kept
        self._residuals: dict[str, Vector] = dict(np.load(kept)) if kept.exists() else {}

    def keep(self) -> None:
        """What is left over, for the next round."""
        np.savez(self._kept, **self._residuals)  # type: ignore[arg-type]

    def mean(self, terms: RoundTerms, results: Mapping[str, LocalResult]) -> Vector:
        rule = terms.aggregation
        weights = {site: site_weight(terms, result.examples) for site, result in results.items()}
        if rule.compression == "none":
            return combine(
                rule.rule,
                [result.update for result in results.values()],
                list(weights.values()),
                sites=list(results),
                size=self._size,
                tolerated=rule.tolerated,
            )
        compressor, total = Compressor.of(terms, self._size), np.zeros(0, np.uint32)
        for site, result in results.items():
            weight = weights[site] / max(weights.values())
            sent = compressor.compress(result.update, self._residuals.get(site), weight, rounding(terms, site))
            self._residuals[site] = sent.residual
            total = total + sent.ring if total.size else sent.ring
        return compressor.mean(reduce_to(total, compressor.fixed.bits))

    def bytes(self, terms: RoundTerms) -> int:
        if terms.aggregation.compression == "none":
            return 4 * self._size
        return Compressor.of(terms, self._size).bytes


def train_pooled(
    examples: Sequence[Example],
    network: NetworkConfig,
    start: Weights,
    folder: Path,
    *,
    steps: int,
    seed: int,
    **changes: Any,
) -> Weights:
    """Train on all cases in one place, by the preset's way, or go on with it; the last averaged weights.

    Args:
        examples: To train on.
        network: What to train.
        start: Its weights.
        folder: Of checkpoints, of this training alone.
        steps: Optimiser steps.
        seed: Of the training.
        changes: Of the preset's settings.
    """
    settings = replace(PRESETS[PRESET].settings, steps=steps, seed=seed, validate_every=steps, patience=None, **changes)
    trained = train(
        Split(synthetic=examples),
        network,
        settings,
        CPU,
        checkpoints=CheckpointFolder(folder),
        initial=to_tensors(start),
    )
    return to_arrays(trained.weights)


def score(
    network: NetworkConfig, weights: Weights, personal: Mapping[str, Weights], data: Data
) -> list[dict[str, Any]]:
    """Dice and AUC of each test case, by the model that its site would use.

    Temperatures and thresholds are fixed on validation cases: those of all sites for a model that all share, those of
    the site for its own.

    Returns:
        One entry a case: "site", "case", "dice" and "auc" by region; an AUC that does not exist is None.
    """
    everyone = [example for _, examples in sorted(data.validation.items()) for example in examples]
    shared, found = _decided(network, weights, everyone), []
    for site, examples in sorted(data.test.items()):
        own = personal.get(site)
        model, decision = shared if not own else _decided(network, {**weights, **own}, data.validation[site])
        for example in examples:
            labels, probabilities = outline(model, example, network.stride, decision, SPACING_MM)
            drawn, truth = region_masks(labels), region_masks(example.labels)
            inside = example.model_input.head
            auc = [
                area_under_roc(each[inside], mask[inside])
                for each, mask in zip(probabilities, truth.values(), strict=True)
            ]
            dice = [dice_of_masks(drawn[region], truth[region]) for region in REGIONS]
            found.append(
                {"site": site, "case": example.name, "dice": _named(np.array(dice)), "auc": _named(np.array(auc))}
            )
    return found


def _decided(
    network: NetworkConfig, weights: Weights, validation: Sequence[Example]
) -> tuple[torch.nn.Module, Decision]:
    model = build_network(network).eval()
    model.load_state_dict(to_tensors(weights))
    return model, fix_decision(model, validation, network.stride, Protocol())[0]


def _named(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    return {
        region: None if np.isnan(value) else round(float(value), 5)
        for region, value in zip(REGIONS, values, strict=True)
    }


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".part")
    beside.write_bytes(data)
    beside.replace(path)
