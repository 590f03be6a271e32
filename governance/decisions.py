"""Decisions by named rules: what was asked, what it was decided from, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from governance.canonical import Canonical


class Outcome(StrEnum):
    """What a rule says."""

    ALLOW = "allow"
    REFUSE = "refuse"
    HALT = "halt"
    INSUFFICIENT_EVIDENCE = "insufficient-evidence"
    """Too few cases, or none of a kind: nothing is concluded, and nothing is guessed."""


@dataclass(frozen=True)
class Decision:
    """What one rule decided; recorded as an entry of the kind "decision-made".

    Attributes:
        rule: Its name, e.g. "bias-within-threshold".
        outcome: What it says.
        inputs: Everything that it looked at, numbers that are not whole as text.
        reason: One sentence for people; it names no person.
    """

    rule: str
    outcome: Outcome
    inputs: Mapping[str, Canonical]
    reason: str

    @property
    def facts(self) -> Mapping[str, Canonical]:
        """As the ledger takes it."""
        return {
            "rule": self.rule,
            "inputs": dict(self.inputs),
            "outcome": self.outcome.value,
            "reason": self.reason,
        }
