"""What every command does alike: errors in one line, and the way to the services."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")


def explained(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into one line and an exit code; anything else is a bug and shows where."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from dicom_ingest.errors import DicomIngestError
        from federated.errors import FederatedError
        from fhir_adapter.errors import FhirAdapterError
        from plugin.errors import PluginError, remedy

        try:
            return command(*args, **kwargs)
        except (PluginError, FhirAdapterError, DicomIngestError, FederatedError) as error:
            click.echo(f"qfl: {error}", err=True)
            sys.exit(remedy(error).exit_code)

    return run


def site_services() -> Any:
    """Everything that the environment configures."""
    from plugin.bootstrap import build_services
    from plugin.settings import load_settings

    return build_services(load_settings())
