"""From when on frameworks apply, as a site configures it; laws are amended, so no date is in the code."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from governance.compliance.frameworks import ApplicationDate, parse_dates
from governance.errors import ReportError
from plugin.errors import SitePolicyError
from plugin.services.strict_yaml import parse_yaml

_MOST_BYTES: Final = 1 << 18


def read_dates(path: Path | None) -> Sequence[ApplicationDate]:
    """Read the dates.

    Args:
        path: Of the site's own file; None for the one that is shipped.

    Raises:
        ReportError: It cannot be read, or is no list of dates.
    """
    try:
        if path is None:
            content = files("governance").joinpath("compliance-dates.yaml").read_bytes()
        else:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES)
        return parse_dates(parse_yaml(content))
    except OSError as fault:
        raise ReportError(f"{path}: the dates of application cannot be read ({fault.strerror}).") from fault
    except SitePolicyError as fault:
        raise ReportError(f"The dates of application cannot be used: {fault}") from fault
