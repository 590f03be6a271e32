"""What every command does alike: errors in one line, and the way to the services."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import click

INTERRUPTED = 130
"""As a shell says of a command that Ctrl-C ended."""
P = ParamSpec("P")
R = TypeVar("R")


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into one line and an exit code; anything else is a bug and shows where."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from dicom_ingest.errors import DicomIngestError
        from federated.errors import FederatedError
        from fhir_adapter.errors import FhirAdapterError
        from governance.errors import GovernanceError
        from plugin.errors import PluginError, remedy

        try:
            return command(*args, **kwargs)
        except (PluginError, FhirAdapterError, DicomIngestError, FederatedError, GovernanceError) as error:
            click.echo(f"qfl: {error}", err=True)
            sys.exit(remedy(error).exit_code)

    return run


def site_services() -> Any:
    """Everything that the environment configures."""
    from plugin.bootstrap.services import build_services
    from plugin.settings import load_settings

    return build_services(load_settings())


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM are asked for, where it is safe to stop; a second one does not wait."""
    asked = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for each in before:
            signal.signal(each, signal.default_int_handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
