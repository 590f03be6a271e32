"""The values of the demo: what it is to do, what runs, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

from sandbox.demo.hospital import Findings, Hospital
from sandbox.demo.product import Product
from sandbox.patients import Subject, Visit


@dataclass(frozen=True)
class Plan:
    """What the demo is to do.

    Attributes:
        folder: Keeps everything.
        port: Of the product's web process; 0 takes a free one.
        timeout_s: For the analysis, from its announcement.
    """

    folder: Path
    subject_id: str
    port: int
    timeout_s: float


@dataclass(frozen=True)
class Running:
    """Everything that runs."""

    hospital: Hospital
    product: Product
    password: str


@dataclass(frozen=True)
class Outcome:
    """A closed loop.

    Attributes:
        seconds: By step, and in total from the announcement to the last result.
        dice: Against the subject's own label, by region.
    """

    subject: Subject
    visit: Visit
    state: str
    findings: Findings
    dice: dict[str, float]
    seconds: dict[str, float]
