"""A site's part of a round: train on its own cases from the global model, or measure the new global model on them.

    do_work(terms, stage, weights, extras, cohort, *, site, state, checkpoints, device, report, people) -> LocalResult
        for TRAIN, figures for EVALUATE

What comes out depends on the terms, the weights, the cohort and the site's earlier rounds only: a worker that is killed
and starts again gives the same bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from federated.demographics import Demographics
from federated.errors import PrivacySettingsError, TermsError, TrainingDataError, UpdateError
from federated.evaluation import Scores, evaluate
from federated.group_figures import REGION, GroupFigures, group_figures
from federated.guidance import Guide
from federated.initial_weights import to_tensors
from federated.local_training import LocallyTrained, round_settings, train_locally
from federated.metrics import REGIONS
from federated.models import NetworkConfig, parse_network
from federated.numerics import choose_precision, reproducible
from federated.rounds.layout import Layout, Vector, Weights
from federated.rounds.messages import Progress, Stage
from federated.rounds.ports import LocalResult
from federated.rounds.terms import RoundTerms
from federated.sampling import Split
from federated.site_state import SiteFolder, SiteState
from federated.strategies import shared_names, trained_names
from federated.training import Event, Stepped
from federated.training_settings import TrainingSettings

Report = Callable[[Progress], None]
DIGITS: Final = 6


def silent(_progress: Progress) -> None:
    """Report nothing."""


def do_work(
    terms: RoundTerms,
    stage: Stage,
    weights: Weights,
    extras: Mapping[str, bytes],
    cohort: Split,
    *,
    site: str,
    state: Path,
    checkpoints: Path,
    device: torch.device,
    report: Report = silent,
    people: Mapping[str, Demographics] | None = None,
) -> LocalResult | dict[str, Any]:
    """Do a stage of a round.

    Args:
        terms: Of the round.
        stage: TRAIN or EVALUATE.
        weights: The global model, all of it, float32.
        extras: Of strategies.extras; only for TRAIN.
        cohort: The site's cases; validation is what it holds out.
        site: Its name in the federation.
        state: Folder of what the site keeps from round to round of this run.
        checkpoints: Folder of this stage of this round, for a worker that goes on after a kill.
        device: Where to compute.
        report: Called between two steps; an exception from it ends the work after a checkpoint.
        people: By the name of a held-out case, for the figures of subgroups.

    Returns:
        Of TRAIN a LocalResult with the figures "loss" (null with record-level privacy: it is a number of the training
        cases), "seconds", "joules" and "dice", the latter on the held-out cases after training, null without such. Of
        EVALUATE the figures "cases", "dice" and "auc" by region, "groups" by subgroup with "groups_epsilon", what
        they cost (see group_figures), and for Ditto "personal" with the same of the site's own model.

    Raises:
        TermsError: The terms' network, preset or layout is none that this version has.
        UpdateError: The weights or extras do not fit the terms.
        TrainingDataError: There is no case to train on.
        PrivacySettingsError: The strategy has no record-level privacy.
        RoundRecordError: The site's own state is damaged.
    """
    work = _Work(terms, weights, extras, cohort, site, SiteFolder(state), checkpoints, device, report)
    if stage is Stage.TRAIN:
        return work.train()
    if stage is Stage.EVALUATE:
        return work.evaluate(people or {})
    raise TermsError(f"Expected a stage that a worker does, train or evaluate, got {stage}.")


@dataclass(frozen=True, eq=False)
class _Work:
    terms: RoundTerms
    weights: Weights
    extras: Mapping[str, bytes]
    cohort: Split
    site: str
    folder: SiteFolder
    checkpoints: Path
    device: torch.device
    report: Report

    @cached_property
    def network(self) -> NetworkConfig:
        return parse_network(self.terms.network)

    @cached_property
    def layout(self) -> Layout:
        """Of the update; checked against the terms."""
        found = Layout.of(self.weights, self._known(shared_names(self.network, self.terms.learning)))
        if found.digest != self.terms.layout:
            raise TermsError(
                f"Expected the layout {found.digest[:12]} for this network and strategy, the terms have "
                f"{self.terms.layout[:12]}; coordinator and site must have the same version installed."
            )
        return found

    @cached_property
    def learns(self) -> tuple[str, ...]:
        return self._known(trained_names(self.network, self.terms.learning.trainable))

    @cached_property
    def before(self) -> SiteState:
        return self.folder.before(self.terms.round)

    @cached_property
    def settings(self) -> TrainingSettings:
        return round_settings(self.terms, self.site)

    @property
    def is_private(self) -> bool:
        return self.terms.privacy.record_noise > 0

    def train(self) -> LocalResult:
        terms, strategy = self.terms, self.terms.learning.strategy
        if strategy == "scaffold" and self.is_private:
            raise PrivacySettingsError(
                "SCAFFOLD's control variate is no part of what DP-SGD protects: choose another strategy for "
                "record-level privacy."
            )
        examples = len(self.cohort.real) + len(self.cohort.synthetic)
        if not examples:
            raise TrainingDataError(f"{self.site}: expected at least one case to train on, got none.")
        start = {**self.weights, **self._local_weights()}
        control, own = self._controls()
        trained = self._train("shared", start, self._guide(control, own))
        update = self.layout.flatten(trained.weights) - self.layout.flatten(self.weights)
        kept = SiteState({name: trained.weights[name] for name in self._personal_names()})
        seconds = trained.seconds
        if strategy == "scaffold":
            fresh = self.layout.flatten(trained.gradient) if trained.gradient else own
            update, kept = np.concatenate([update, fresh - own]), SiteState(control=fresh)
        if strategy == "ditto":
            personal = self._train_personal()
            seconds += personal.seconds
            kept = SiteState({name: personal.weights[name] for name in self.learns})
        self.folder.keep(terms.round, kept, counted=self._counted)
        held_out = self._scores({**start, **trained.weights})
        figures = {
            "loss": None if trained.loss is None else round(trained.loss, DIGITS),
            "seconds": round(seconds, 3),
            "joules": None,
            "dice": None if held_out is None else _rounded(held_out.figures()["dice"]),
        }
        return LocalResult(update.astype(np.float32), examples, figures, trained.epsilon)

    def evaluate(self, people: Mapping[str, Demographics]) -> dict[str, Any]:
        _ = self.layout
        # The state of this round, if the site took part in it.
        own = self.folder.before(self.terms.round + 1).personal
        strategy = self.terms.learning.strategy
        scores = self._scores({**self.weights, **own} if strategy == "fedbn" else self.weights)
        groups = self._groups(scores, people)
        figures = {
            "cases": len(self.cohort.validation),
            **_figures(scores),
            "groups": dict(groups.groups),
            "groups_epsilon": groups.epsilon or None,
        }
        if strategy == "ditto":
            # Trained without noise and never sent: with record-level privacy not even its figures leave.
            is_told = bool(own) and not self.is_private
            figures["personal"] = _figures(self._scores({**self.weights, **own}) if is_told else None)
        return figures

    def _groups(self, scores: Scores | None, people: Mapping[str, Demographics]) -> GroupFigures:
        if scores is None or not people:
            return GroupFigures()
        names = [example.name for example in self.cohort.validation]
        dice = {name: float(row[REGIONS.index(REGION)]) for name, row in zip(names, scores.dice, strict=True)}
        return group_figures(dice, people, self.terms, self.checkpoints)

    def _known(self, names: tuple[str, ...]) -> tuple[str, ...]:
        if missing := [name for name in names if name not in self.weights]:
            raise UpdateError(f"Expected the weights of the terms' network, {missing[0]} and perhaps others missing.")
        return names

    def _personal_names(self) -> tuple[str, ...]:
        """Of the weights that FedBN keeps at the site."""
        return tuple(sorted(set(self.learns) - {name for name, _ in self.layout.entries}))

    def _local_weights(self) -> Weights:
        """FedBN's norms of the site; in its first round the global model's."""
        return {name: self.before.personal.get(name, self.weights[name]) for name in self._personal_names()}

    @property
    def _counted(self) -> int:
        try:
            return int(self.extras.get("counted", b"0"))
        except ValueError as fault:
            raise UpdateError('Expected the number of a round as "counted", got something else.') from fault

    def _controls(self) -> tuple[Vector, Vector]:
        """SCAFFOLD's control variates of the server and of the site; the latter as the server has counted it."""
        size = self.layout.size if self.terms.learning.strategy == "scaffold" else 0
        sent = self.extras.get("control", b"") if size else b""
        control = np.frombuffer(sent, "<f4").astype(np.float32) if len(sent) == 4 * size else None
        if control is None or not np.isfinite(control).all():
            raise UpdateError(f"Expected a control variate of {size} finite numbers, got {len(sent)} bytes.")
        own = self.folder.after(self._counted).control
        return control, own if own.shape == (size,) else np.zeros(size, np.float32)

    def _guide(self, control: Vector, own: Vector) -> Guide:
        strategy = self.terms.learning.strategy
        if strategy == "scaffold":
            return self._place(correction=to_tensors(self.layout.split(control - own)))
        if strategy == "fedprox":
            return self._place(pull=self.terms.learning.proximal, towards=to_tensors(self.weights))
        return self._place()

    def _place(self, **arguments: Any) -> Guide:
        """A guide that knows where this round stands in the run: the learning rate falls once, not in each round."""
        learning = self.terms.learning
        done, of = (self.terms.round - 1) * learning.steps, self.terms.rounds * learning.steps
        return Guide(learns=self.learns, done=done, of=of, **arguments)

    def _train_personal(self) -> LocallyTrained:
        """Ditto's own model: from where the site left it, pulled towards the global one."""
        guide = self._place(pull=self.terms.learning.proximal, towards=to_tensors(self.weights))
        start = {**self.weights, **self.before.personal}
        return self._train("personal", start, guide, first=self.terms.learning.steps, privately=False)

    def _train(
        self, name: str, start: Weights, guide: Guide, *, first: int = 0, privately: bool = True
    ) -> LocallyTrained:
        """Train once; its steps are reported as those after the first ones of the round."""
        steps = self.terms.learning.steps
        total = steps * (2 if self.terms.learning.strategy == "ditto" else 1)

        def tell(event: Event) -> None:
            if isinstance(event, Stepped):
                self.report(Progress(first + event.step, total, None if self.is_private else event.loss))

        # Another cohort, as after a withdrawn consent, is another training.
        folder = self.checkpoints / f"{name}-{self.cohort.digest()[:16]}"
        return train_locally(
            self.terms,
            self.network,
            self.settings,
            self.cohort,
            start,
            guide,
            folder=folder,
            device=self.device,
            report=tell,
            privately=self.is_private and privately,
        )

    def _scores(self, weights: Weights) -> Scores | None:
        if not self.cohort.validation:
            return None
        precision = choose_precision(self.settings.precision, self.device)
        with reproducible(self.settings.seed, self.settings.threads or torch.get_num_threads(), self.device):
            return evaluate(self.network, to_tensors(weights), self.cohort.validation, self.device, precision)


def _figures(scores: Scores | None) -> dict[str, Any]:
    if scores is None:
        return {"dice": None, "auc": None}
    return {name: _rounded(means) for name, means in scores.figures().items()}


def _rounded(means: Mapping[str, float | None]) -> dict[str, float | None]:
    return {region: None if mean is None else round(mean, DIGITS) for region, mean in means.items()}
