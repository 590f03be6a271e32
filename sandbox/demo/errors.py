"""Errors of the demo.

DemoError
├── ProcessDiedError      a process ended, or did not get ready
├── CommandError          a command of the product failed
├── HospitalError         EHR or PACS refused what the demo gave it
└── LoopNotClosedError    the analysis ended otherwise, or time ran out
"""

from pathlib import Path


class DemoError(Exception):
    """The demo cannot go on.

    Attributes:
        log: What a person should read.
        state: How far the analysis came, if it was seen.
    """

    def __init__(self, message: str, *, log: Path | None = None, state: str | None = None) -> None:
        super().__init__(message)
        self.log = log
        self.state = state


class ProcessDiedError(DemoError):
    """A process ended, or did not get ready."""


class CommandError(DemoError):
    """A command of the product failed."""


class HospitalError(DemoError):
    """EHR or PACS refused what the demo gave it."""


class LoopNotClosedError(DemoError):
    """The analysis ended otherwise than with a published result, or time ran out."""
