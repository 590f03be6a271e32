"""Run the demo: python -m sandbox.demo, or qfl demo."""

import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import click

from sandbox.demo.bias_watch import describe_halt, tell_halt
from sandbox.demo.bias_watch import watch_halt as watch_the_halt
from sandbox.demo.display import Display
from sandbox.demo.errors import DemoError
from sandbox.demo.processes import Processes
from sandbox.demo.state import locked
from sandbox.demo.values import Plan, Running
from sandbox.demo.walk import describe, describe_failure, start_everything, walk
from sandbox.patients import subject_ids

DEFAULT_SUBJECT = "Brats18_TCIA02_370_1"
"""The shipped model never saw this one; the others were among its training cases."""

_STAYING_FOLDER = Path("var/demo")
_POLL_S = 0.5
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--once", is_flag=True, help="Stop after the loop has closed; exit 1 if it does not.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object on standard output.")
@click.option("--port", default=0, help="Port of the product's pages.  [default: the last one, or a free one]")
@click.option(
    "--subject",
    type=click.Choice(subject_ids()),
    default=DEFAULT_SUBJECT,
    show_default=True,
    help="Whose MRI. The shipped model never saw the default one; it was trained on the others.",
)
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that keeps everything.  [default: var/demo; with --once a temporary one]",
)
@click.option("--timeout", default=300.0, show_default=True, help="Wait so many seconds for the results.")
@click.option(
    "--watch-halt",
    is_flag=True,
    help="Instead: one of two scanners goes bad, its results are rejected, and the model halts by itself.",
)
def main(
    once: bool, as_json: bool, port: int, subject: str, keep: Path | None, timeout: float, watch_halt: bool
) -> None:
    """Try it: a pretend EHR and PACS, a real patient's MRI under an invented name, and the whole loop.

    Everything runs on this machine and listens on 127.0.0.1 only. Research use only; not a medical device.
    """
    # A closed terminal and a service manager stop the demo as cleanly as Ctrl-C does.
    for name in _STOP_SIGNALS:
        signal.signal(name, _interrupt)
    is_temporary = once and keep is None
    folder = Path(tempfile.mkdtemp(prefix="qfl-demo-")) if is_temporary else (keep or _STAYING_FOLDER).absolute()
    display = Display()
    plan = Plan(folder, subject, port, timeout)
    try:
        with locked(folder):
            _run(plan, display, once=once, as_json=as_json, is_watch=watch_halt)
    except DemoError as error:
        display.tell_failure(error)
        if as_json:
            click.echo(json.dumps(describe_failure(error)))
        sys.exit(1)
    except KeyboardInterrupt:
        display.say("Stopped.")
        exit_code = 130 if once else 0
    else:
        exit_code = 0
    if is_temporary:  # kept only when there is something to find out
        shutil.rmtree(folder)
    sys.exit(exit_code)


def _run(plan: Plan, display: Display, *, once: bool, as_json: bool, is_watch: bool) -> None:
    """Start, walk, tell, stay; the processes are stopped whatever happens."""
    processes = Processes(plan.folder / "logs")
    try:
        running = start_everything(plan, processes, display)
        told = _watch(plan, running, processes, display) if is_watch else _walk(plan, running, processes, display)
        if as_json:
            click.echo(json.dumps(told))
        if not once:
            display.tell_addresses(running, str(plan.folder))
            display.say("Running. Stop with Ctrl-C; start again to find everything as it was.")
            while True:
                processes.check()
                time.sleep(_POLL_S)
    finally:
        for name in _STOP_SIGNALS:  # an impatient second Ctrl-C must not leave processes behind
            signal.signal(name, signal.SIG_IGN)
        with display.step("Stopping"):
            processes.stop()


def _walk(plan: Plan, running: Running, processes: Processes, display: Display) -> dict[str, object]:
    outcome = walk(plan, running, processes, display)
    display.tell_outcome(outcome)
    return describe(outcome)


def _watch(plan: Plan, running: Running, processes: Processes, display: Display) -> dict[str, object]:
    halted = watch_the_halt(plan, running, processes, display)
    tell_halt(display, halted, running.product.url)
    return describe_halt(halted)


if __name__ == "__main__":
    main()
