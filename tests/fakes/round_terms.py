"""Terms of a round, and the plan of a run, that nobody runs, for tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from federated.rounds.plan import RunPlan
from federated.rounds.terms import Aggregation, RoundTerms

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def example_terms(**changes):
    """Round 1 of 2 at three sites, an hour long."""
    terms = RoundTerms(
        federation="test",
        run="run-1",
        round=1,
        rounds=2,
        participants=("site-01", "site-02", "site-03"),
        app="a" * 64,
        model="b" * 64,
        layout="c" * 64,
        network={"arm": "hybrid"},
        deadline=NOW + timedelta(hours=1),
        aggregation=Aggregation(threshold=2),
    )
    return replace(terms, **changes)


def example_plan(**changes):
    """Two rounds at three sites."""
    sites = ("site-01", "site-02", "site-03")
    return replace(RunPlan("test", "run-1", sites, 2, "a" * 64, aggregation=Aggregation(threshold=2)), **changes)
