"""Evidence on federated rounds: what they cost, how many sites shared them, and whose data they used."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from federated.privacy.budget import Spending
from governance.canonical import Canonical
from governance.compliance.assessment import Evidence
from plugin.services.governance.reporting_desk import Scene
from plugin.services.round_records import Outcome, RoundRow, added_up, cost_of

_ALL: Final = 1_000_000


def epsilon_budget(scene: Scene, _topic: str) -> Evidence:
    """What the costliest federated run cost a patient's record."""
    query = "federation_spendings: epsilon of each run, composed; ledger: epsilon-spent"
    site = scene.desk.services.federation.site()
    limit = scene.policy.privacy.epsilon_limit if scene.policy else 0.0
    if site is None:
        return Evidence(query, {"joined": 0, "charges": 0, "epsilon": "0", "limit": repr(limit)})
    by_run: dict[tuple[str, str], list[Spending]] = defaultdict(list)
    for charge in site.records.charges():
        by_run[charge.federation, charge.spending.run].append(charge.spending)
    worst = max((_cost(each, limit) for each in by_run.values()), default=0.0)
    charges = sum(map(len, by_run.values()))
    numbers: dict[str, Canonical] = {"joined": 1, "charges": charges, "epsilon": f"{worst:.6g}", "limit": repr(limit)}
    return Evidence(query, numbers, scene.newest(scene.entries("epsilon-spent")))


def minimum_sites(scene: Scene, _topic: str) -> Evidence:
    """How many sites shared the rounds that something left for."""
    rounds, joined = _sent(scene)
    least = scene.policy.minimum_sites if scene.policy else 0
    below = sum(each.participants < least for each in rounds)
    numbers = {"joined": joined, "rounds": len(rounds), "below": below, "minimum": least}
    query = "federation_rounds: participants of rounds that something was sent for"
    return Evidence(query, numbers, scene.newest(scene.entries("update-sent")))


def consent_checked(scene: Scene, _topic: str) -> Evidence:
    """Whether each round's cohort was drawn under a policy."""
    rounds, joined = _sent(scene)
    unchecked = sum(not each.cohort_digest or not each.policy_digest for each in rounds)
    numbers = {"joined": joined, "rounds": len(rounds), "unchecked": unchecked}
    query = "federation_rounds: cohort_digest and policy_digest of rounds that something was sent for"
    return Evidence(query, numbers, scene.newest(scene.entries("consent-applied", "cohort-drawn")))


def _sent(scene: Scene) -> tuple[Sequence[RoundRow], int]:
    site = scene.desk.services.federation.site()
    if site is None:
        return (), 0
    return [each for each in site.records.rounds(limit=_ALL) if each.outcome is Outcome.SENT], 1


def _cost(spendings: Sequence[Spending], limit: float) -> float:
    """An upper bound: the plain sum where that is within the limit, else what the accountant finds."""
    plain = added_up(spendings)
    return plain.epsilon if plain.epsilon <= limit else min(plain.epsilon, cost_of(spendings, plain.delta).epsilon)
