"""AIF360 without its noise: notes on packages that it could use, and divisions that come to nothing."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NOTE: Final = "will be unavailable"


@contextmanager
def quiet_aif360() -> Iterator[None]:
    """Within it, import AIF360 and compute with it; any other warning or log entry gets through.

    A rate over no case is NaN there, with a warning of NumPy's: who calls must look for it.
    """
    root = logging.getLogger()
    # Without any handler, logging would add one of its own for good.
    bare = None if root.handlers else logging.NullHandler()
    if bare is not None:
        root.addHandler(bare)
    root.addFilter(_is_no_note)
    try:
        with warnings.catch_warnings():
            for what in ("invalid value", "divide by zero"):
                warnings.filterwarnings("ignore", f"{what} encountered", RuntimeWarning, r"aif360\.")
            yield
    finally:
        root.removeFilter(_is_no_note)
        if bare is not None:
            root.removeHandler(bare)


def _is_no_note(record: logging.LogRecord) -> bool:
    return _NOTE not in str(record.msg)
