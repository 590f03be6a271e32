"""Cases as a hospital sees them: drawn groups, a chance of rejection by site, and quiet features."""

from datetime import UTC, datetime, timedelta

import numpy as np

from governance.monitoring.cases import Case

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2027, 1, 1, tzinfo=UTC)


def draw(number, seed=0, *, rejected=0.05, rejected_at_a=None, share_of_a=0.3, shift=0.0, shift_from=150):
    """Cases at the sites A and B, one an hour, each reviewed half an hour later."""
    rng = np.random.default_rng(seed)
    cases = []
    for place in range(number):
        site = "A" if rng.random() < share_of_a else "B"
        chance = rejected if site == "B" or rejected_at_a is None else rejected_at_a
        at = START + timedelta(hours=place)
        moved = shift if place >= shift_from else 0.0
        cases.append(
            Case(
                groups={
                    "sex": "FM"[rng.integers(2)],
                    "age": ("0-39", "40-59", "60-79", "80 and older")[rng.integers(4)],
                    "ethnicity": "white" if rng.random() < 0.9 else "asian",
                    "site": site,
                },
                confidence=float(rng.beta(17, 3)),
                at=at,
                features={f"feature {number}": float(rng.normal() + moved) for number in range(4)},
                accepted=bool(rng.random() >= chance),
                reviewed_at=at + timedelta(minutes=30),
            )
        )
    return cases
