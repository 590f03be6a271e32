"""What a person says of a federated run, on the command line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """What a run is to be; see plugin.services.federation_plan.RunRequest."""
    for option in reversed(
        [
            click.option("--rounds", default=10, show_default=True, type=click.IntRange(1, 100_000)),
            click.option("--preset", default="tiny", show_default=True, metavar="NAME", help="tiny, phantom or real."),
            click.option(
                "--strategy",
                default="fedavg",
                show_default=True,
                metavar="NAME",
                help="fedavg, fedprox, scaffold, fedadam, fedbn or ditto.",
            ),
            click.option("--model", default="", metavar="FOLDER", help="Start from this released model."),
            click.option("--head-only", is_flag=True, help="Train only the network's head, quantum or classical."),
            click.option(
                "--fresh",
                is_flag=True,
                help="Train a whole new network even with noise.  [default with noise, of the tiny preset: the head of "
                "the small model that is shipped, which so few patients can still improve]",
            ),
            click.option("--steps", type=click.IntRange(0, 1_000_000), help="Optimiser steps a round at each site."),
            click.option("--learning-rate", type=float, help="Of the sites' optimiser."),
            click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the run."),
            click.option(
                "--rule",
                default="masked",
                show_default=True,
                metavar="NAME",
                help="masked or grouped-masked; or, seeing each update: mean, median, trimmed-mean, multi-krum or "
                "norm-bounded.",
            ),
            click.option("--no-masking", is_flag=True, help="The coordinator sees each update: --rule mean."),
            click.option("--epsilon", type=float, help="What the run may cost each patient.  [default: 8]"),
            click.option("--no-privacy", is_flag=True, help="No noise for the patients' privacy."),
            click.option(
                "--compression", default="none", show_default=True, metavar="NAME", help="none, quantised or sparse."
            ),
        ]
    ):
        command = option(command)
    return command


def run_request(wanted: Mapping[str, Any], *, fewest: int, settle_s: float | None = None) -> Any:
    """The options as a plugin.services.federation_plan.RunRequest.

    Args:
        wanted: Of run_options.
        fewest: Cases of a site that takes part.
        settle_s: How long the first round waits for the other sites once there are enough; None for the usual time.
    """
    from federated.rounds.plan import Patience
    from plugin.services.federation_plan import EPSILON, RunRequest
    from plugin.settings import PACKAGED_STARTS

    if wanted["no_privacy"] and wanted["epsilon"] is not None:
        raise click.UsageError("--no-privacy and --epsilon contradict each other.")
    if wanted["fresh"] and wanted["model"]:
        raise click.UsageError("--fresh and --model contradict each other.")
    epsilon = None if wanted["no_privacy"] else wanted["epsilon"] or EPSILON
    # Noise drowns a whole network where a hospital has few patients; a head has few numbers to drown.
    shipped = PACKAGED_STARTS.get(wanted["preset"]) if epsilon is not None and not wanted["fresh"] else None
    model = wanted["model"] or (shipped or "")
    return RunRequest(
        rounds=wanted["rounds"],
        preset=wanted["preset"],
        strategy=wanted["strategy"],
        trainable="head" if wanted["head_only"] or (shipped and not wanted["model"]) else "all",
        steps=wanted["steps"],
        learning_rate=wanted["learning_rate"],
        seed=wanted["seed"],
        rule="mean" if wanted["no_masking"] else wanted["rule"],
        compression=wanted["compression"],
        epsilon=epsilon,
        model=str(Path(model).absolute()) if model else "",
        cases=fewest,
        patience=None if settle_s is None else Patience(settle_s=settle_s),
    )
