"""Train a segmenter by hand, or have a worker do it."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from plugin.cli.common import INTERRUPTED, explained, interruptible


@click.command()
@click.option("--preset", metavar="NAME", help="What to train: tiny, phantom or real.  [default: tiny]")
@click.option("--arm", metavar="NAME", help="Which network: hybrid, one of its controls (mlp, identity, ...), or unet.")
@click.option("--data", metavar="FOLDER", help="Train on the labelled cases of this folder (BraTS layout).")
@click.option("--held-out", multiple=True, metavar="CASE", help="A case of the folder not to train on; repeatable.")
@click.option(
    "--balance", metavar="NAMES", help="Even out groups by case weights: sex, age, ethnicity, site; or sex,age."
)
@click.option(
    "--balance-solver",
    metavar="NAME",
    help="How: exact, annealed, greedy, qaoa, vqe, reweighing or equal-reweighing.  [default: exact]",
)
@click.option("--max-gap", type=float, help="Choose thresholds so that these groups' mean Dice is no further apart.")
@click.option("--output", metavar="DIR", type=click.Path(path_type=Path), help="Where the model and its files go.")
@click.option("--steps", type=int, help="Optimiser steps.")
@click.option("--seed", type=int, help="Of everything that is random.")
@click.option("--learning-rate", type=float, help="The highest.")
@click.option("--batch", type=int, help="Cases a step.")
@click.option("--threads", type=int, help="CPU threads; the same number gives the same bits.")
@click.option("--precision", metavar="NAME", help="auto, float32 or bfloat16.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu or cuda.")
@click.option("--checkpoint-every", default=30.0, show_default=True, metavar="SECONDS", help="What a kill can cost.")
@click.option("--resume", is_flag=True, help="Go on with the training in --output that was stopped or killed.")
@click.option("--queue", "is_queued", is_flag=True, help="Have a worker of the training queue do it, and print its id.")
@click.option("--status", "status_of", metavar="ID", help="Show how far a queued training is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@explained
def train(
    output: Path | None,
    checkpoint_every: float,
    resume: bool,
    is_queued: bool,
    status_of: str | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Train a segmentation model. Without options: a minute on synthetic heads, to see that everything works.

    DIR gets the model (segmenter.safetensors, segmenter.json), training-log.jsonl, curves.png and the checkpoints. The
    same options give the same weights, bit for bit, on one machine. Ctrl-C stops it after the step; what is done is
    kept, as it is when the process is killed.

    Research use only; not a medical device.
    """
    if status_of is not None:
        _show_status(status_of, as_json=as_json)
        return
    if resume:
        _check_resume(output, wanted)
    request = None if resume else _request(wanted)
    if is_queued:
        _submit(request, output, as_json=as_json)
        return
    folder = (output or _usual_folder(request)).absolute()
    _run(folder, request, checkpoint_every, as_json=as_json)


def _request(wanted: dict[str, Any]) -> Any:
    from federated.training_request import TrainingRequest

    lists = {"held_out": tuple(wanted["held_out"]), "balance": _names(wanted["balance"])}
    return TrainingRequest(**{**wanted, "preset": wanted["preset"] or "tiny", **lists})


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def _check_resume(output: Path | None, wanted: dict[str, Any]) -> None:
    if output is None:
        raise click.UsageError("Give the folder of the training with --output.")
    given = [name for name, value in wanted.items() if value and name != "device"]
    if given:
        raise click.UsageError(
            f"--resume goes on with what was begun; leave out {', '.join('--' + n.replace('_', '-') for n in given)}."
        )


def _usual_folder(request: Any) -> Path:
    return Path("trained") / f"{request.preset}-{request.arm or 'default'}-seed{request.seed or 0}"


def _submit(request: Any, output: Path | None, *, as_json: bool) -> None:
    from plugin.cli.common import site_services
    from plugin.services import training

    if request is None or output is not None:
        raise click.UsageError("A queued training goes to the data folder, and on by itself: no --output, no --resume.")
    services = site_services()
    run_id = training.submit(services, request)
    if as_json:
        click.echo(json.dumps({"id": run_id, "folder": str(services.trainings.folder(run_id))}))
        return
    click.echo(f"Training {run_id}")
    click.echo("A worker takes it: qfl worker --queue training")
    click.echo(f"How far it is:     qfl train --status {run_id}")


def _show_status(run_id: str, *, as_json: bool) -> None:
    from plugin.cli.common import site_services
    from plugin.services import training

    store = site_services().trainings
    run = training.get_run(store, run_id)
    folder = store.folder(run_id)
    if as_json:
        shown = ("id", "step", "steps", "loss", "learning_rate", "dice", "remaining_s", "reason", "model_version")
        document = {name: getattr(run, name) for name in shown}
        click.echo(json.dumps({**document, "state": run.state, "folder": str(folder)}))
        return
    click.echo(f"{run.state}: step {run.step} of {run.steps}" if run.steps else str(run.state))
    if run.reason:
        click.echo(run.reason)
    if run.loss is not None:
        click.echo(f"loss {run.loss:.3f}")
    if run.dice:
        click.echo(f"validation Dice: {_dice(run.dice)}")
    if run.remaining_s is not None and run.state.is_open:
        click.echo(f"about {timedelta(seconds=round(run.remaining_s))} to go")
    if run.model_version:
        click.echo(f"model {run.model_version}")
    click.echo(str(folder))


def _run(folder: Path, request: Any, checkpoint_s: float, *, as_json: bool) -> None:
    from datetime import UTC, datetime

    from plugin.bootstrap.services import build_training_store
    from plugin.services import training

    store = build_training_store(folder.parent)
    with interruptible() as is_interrupted, _view(is_interrupted, as_json=as_json) as view:
        try:
            run = training.run_here(store, folder.name, request, lambda: datetime.now(UTC), view, checkpoint_s)
        except KeyboardInterrupt:
            view.close()
            click.echo(f"Stopped. Go on with: qfl train --output {folder} --resume", err=True)
            sys.exit(INTERRUPTED)
    if as_json:
        click.echo(
            json.dumps({"event": "model", "version": run.model_version, "dice": run.dice, "folder": str(folder)})
        )
        return
    click.echo(f"Model            {run.model_version}")
    if run.dice:
        click.echo(f"Validation Dice  {_dice(run.dice)}")
        click.echo("                 (of cases that also chose the weights and the thresholds)")
    click.echo(f"Files            {folder}: segmenter.safetensors, segmenter.json, {training.LOG}, {training.CURVES}")
    click.echo(f"Use it           qfl predict INPUT --output DIR --model {folder}")


def _dice(dice: Any) -> str:
    return ", ".join(f"{region.replace('-', ' ')} {value:.3f}" for region, value in dice.items())


@contextmanager
def _view(is_interrupted: Any, *, as_json: bool) -> Iterator[Any]:
    from plugin.cli.training_view import BarView, JsonView, LineView

    if as_json:
        view: Any = JsonView(is_interrupted)
    else:
        view = BarView(is_interrupted) if sys.stderr.isatty() else LineView(is_interrupted)
    try:
        yield view
    finally:
        view.close()
