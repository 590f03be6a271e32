"""The rules of a site's policy, one function each: what it looked at, what it says, and why.

A refusal's reason is told to the coordinator, so it holds no count of patients; what a rule looked at stays here.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from federated.rounds.ports import Finding
from federated.rounds.terms import RoundTerms
from plugin.services.policy_model import NO_CIRCUIT, Cost, Names, ParticipationState, Situation, listed
from plugin.services.site_policy import SitePolicy

Rule = Callable[[SitePolicy, RoundTerms, Situation, datetime], Finding]
_CIRCUITS: Final = frozenset({"quantum", "no-entangler", "frozen"})
"""Kinds of slot that execute a circuit; the others are classical controls."""
_SHORT = 12


def check_message(policy: SitePolicy, size: int) -> Finding:
    """Whether a message is small enough to be taken or sent, by its size in bytes."""
    limit = policy.rounds.largest_message_bytes
    inputs = f"{size} bytes, at most {limit}"
    if size <= limit:
        return Finding("message-size", inputs, True, "The message is small enough.")
    reason = f"Expected a message of at most {limit} bytes, got {size}; compress, or raise rounds.largest_message_mb."
    return Finding("message-size", inputs, False, reason)


def _updates(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    inputs = f"run {terms.run}, round {terms.round}"
    if policy.leaves.updates:
        return Finding("leaves", inputs, True, "Updates of the model may leave.")
    reason = (
        "Expected a policy under which updates may leave, got leaves.updates: false; nothing is trained for others."
    )
    return Finding("leaves", inputs, False, reason)


def _participation(_policy: SitePolicy, terms: RoundTerms, situation: Situation, _now: datetime) -> Finding:
    found = situation.participation
    since = f" since {found.since:%Y-%m-%d %H:%M %Z}" if found.since else ""
    inputs = f"{terms.federation}: {found.state}{since}"
    if found.state is ParticipationState.ACTIVE:
        return Finding("participation", inputs, True, "The site takes part.")
    words = {
        ParticipationState.PAUSED: "The site has paused and takes part in no new round; ask again later.",
        ParticipationState.LEFT: "The site has left the federation; do not ask it again.",
    }
    return Finding("participation", inputs, False, words[found.state])


def _deadline(policy: SitePolicy, terms: RoundTerms, situation: Situation, now: datetime) -> Finding:
    longest = timedelta(hours=policy.rounds.longest_hours)
    inputs = f"now {now.isoformat(timespec='seconds')}, deadline {terms.deadline.isoformat(timespec='seconds')}"
    if terms.deadline > now + longest:
        hours = longest.total_seconds() / 3600
        reason = f"Expected a deadline within {hours:g} hours, got a later one; check both clocks."
        return Finding("deadline", inputs, False, reason)
    if terms.deadline > now:
        return Finding("deadline", inputs, True, "The deadline is near enough.")
    if situation.begun and now < terms.deadline + longest:
        return Finding("deadline", inputs, True, "The round began in time, and may end.")
    return Finding(
        "deadline", inputs, False, "Expected a deadline to come, got one that has passed; check both clocks."
    )


def _hours(policy: SitePolicy, _terms: RoundTerms, situation: Situation, now: datetime) -> Finding:
    local = now.astimezone(policy.hours.zone)
    inputs = f"{local:%a %H:%M} in {policy.hours.zone.key}"
    if policy.hours.are_now(now):
        return Finding("working-hours", inputs, True, "Work may begin now.")
    if situation.begun:
        return Finding("working-hours", inputs, True, "The round began within the working hours, and may end.")
    start = policy.hours.next_start(now)
    when = f"; they begin at {start.isoformat(timespec='minutes')}" if start else ""
    reason = f"Expected a moment within the site's working hours, got another{when}."
    return Finding("working-hours", inputs, False, reason)


def _aggregation(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    rule = terms.aggregation.rule
    shown = "" if terms.is_masked else ", which shows the coordinator each site's own update"
    return _among("aggregation", rule, policy.rounds.aggregation, "rounds.aggregation", shown)


def _participants(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    low, high, count = policy.rounds.minimum_participants, policy.rounds.maximum_participants, len(terms.participants)
    inputs = f"{count} sites, from {low} to {high} allowed"
    if low <= count <= high:
        return Finding("participants", inputs, True, "As many sites are asked as the policy wants.")
    return Finding("participants", inputs, False, f"Expected {low} to {high} participants, got {count}.")


def _smallest_sum(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    if not terms.is_masked:
        return Finding(
            "smallest-sum", terms.aggregation.rule, True, "Nothing is summed before the coordinator sees it."
        )
    parts = [terms.aggregation.threshold]
    if terms.aggregation.rule == "grouped-masked":
        parts.append(terms.aggregation.group_size)
    least, wanted = min(parts), policy.rounds.minimum_in_sum
    inputs = f"sums of {least} sites or more, at least {wanted} wanted"
    if least >= wanted:
        return Finding("smallest-sum", inputs, True, "No sum that the coordinator sees is of fewer sites.")
    reason = f"Expected sums of {wanted} sites or more, got a threshold or groups that allow {least}; raise both."
    return Finding("smallest-sum", inputs, False, reason)


def _strategy(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    return _among("strategy", terms.learning.strategy, policy.rounds.strategies, "rounds.strategies")


def _preset(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    return _among("preset", terms.learning.preset, policy.rounds.presets, "rounds.presets")


def _network(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    return _among("network", str(terms.network.get("architecture")), policy.rounds.networks, "rounds.networks")


def _backend(policy: SitePolicy, terms: RoundTerms, situation: Situation, _now: datetime) -> Finding:
    backend = situation.backend if has_circuit(terms.network) else NO_CIRCUIT
    return _among("quantum-backend", backend, policy.rounds.quantum_backends, "rounds.quantum_backends")


def _model(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    return _among("model", terms.model, policy.rounds.models, "rounds.models")


def _app(policy: SitePolicy, terms: RoundTerms, _situation: Situation, _now: datetime) -> Finding:
    return _among("app", terms.app, policy.rounds.apps, "rounds.apps")


def _record_level(policy: SitePolicy, terms: RoundTerms, situation: Situation, _now: datetime) -> Finding:
    asked, limits = terms.privacy, policy.privacy
    inputs = f"noise {asked.record_noise:g}, epsilon {asked.record_epsilon:g}, delta {asked.delta:g}"
    if not asked.record_noise:
        if limits.required:
            reason = "Expected noise on record level, got none; this site's policy requires it."
            return Finding("record-level-privacy", inputs, False, reason)
        return Finding(
            "record-level-privacy", inputs, True, "No noise on record level, which the policy does not require."
        )
    if not 0 < asked.record_epsilon <= limits.epsilon_per_round:
        reason = f"Expected a round's epsilon above 0 up to {limits.epsilon_per_round:g}, got {asked.record_epsilon:g}."
        return Finding("record-level-privacy", inputs, False, reason)
    if not 0 < asked.delta <= limits.delta:
        reason = f"Expected a delta above 0 up to {limits.delta:g}, got {asked.delta:g}."
        return Finding("record-level-privacy", inputs, False, reason)
    if situation.cost_fault:
        reason = "Expected a round that costs this site's patients no more than its terms promise, got another."
        return Finding("record-level-privacy", f"{inputs}; {situation.cost_fault}", False, reason)
    return Finding("record-level-privacy", inputs, True, "Epsilon and delta of the round are within the policy's.")


def _run_budget(policy: SitePolicy, _terms: RoundTerms, situation: Situation, _now: datetime) -> Finding:
    limits = policy.privacy
    return _budget("epsilon-per-run", situation.forecast.run, Cost(limits.epsilon_per_run, limits.delta))


def _year_budget(policy: SitePolicy, _terms: RoundTerms, situation: Situation, _now: datetime) -> Finding:
    limits = policy.privacy
    return _budget("epsilon-per-year", situation.forecast.year, Cost(limits.epsilon_per_year, limits.delta))


def _cohort(policy: SitePolicy, terms: RoundTerms, situation: Situation, _now: datetime) -> Finding:
    found, wanted = situation.cohort, max(policy.cohort.minimum_cases, terms.minimum_cases)
    left_out = "".join(f", {count} {reason}" for reason, count in sorted(found.left_out.items()))
    inputs = f"{found.cases} cases, at least {wanted} wanted; left out: {left_out[2:] or 'none'}"
    if found.fault:
        return Finding(
            "cohort", f"none: {found.fault}", False, "The site's cohort cannot be drawn now; ask again later."
        )
    if found.cases >= wanted:
        return Finding("cohort", inputs, True, "There are enough cases of patients who consent.")
    reason = f"Expected at least {wanted} reviewed cases of patients who consent, got fewer."
    return Finding("cohort", inputs, False, reason)


def _machine(policy: SitePolicy, _terms: RoundTerms, situation: Situation, _now: datetime) -> Finding:
    inputs = f"{situation.threads} CPU threads, {'a GPU' if situation.gpu else 'no GPU'}"
    allowed = f"{policy.machine.cpu_threads} CPU threads and {'a GPU' if policy.machine.gpu else 'no GPU'}"
    if situation.threads <= policy.machine.cpu_threads and (policy.machine.gpu or not situation.gpu):
        return Finding("machine", inputs, True, f"The worker uses no more than {allowed}.")
    return Finding("machine", inputs, False, f"Expected a worker with at most {allowed}, got {inputs}.")


def _message(policy: SitePolicy, _terms: RoundTerms, situation: Situation, _now: datetime) -> Finding:
    if situation.message_bytes is not None:
        return check_message(policy, situation.message_bytes)
    limit = policy.rounds.largest_message_bytes
    return Finding("message-size", "not known yet", True, f"Each message of more than {limit} bytes is refused.")


RULES: Final[Sequence[Rule]] = (
    _participation,
    _updates,
    _deadline,
    _hours,
    _aggregation,
    _participants,
    _smallest_sum,
    _strategy,
    _preset,
    _network,
    _backend,
    _model,
    _app,
    _record_level,
    _run_budget,
    _year_budget,
    _cohort,
    _machine,
    _message,
)


def check_round(policy: SitePolicy, terms: RoundTerms, situation: Situation, now: datetime) -> Sequence[Finding]:
    """Apply every rule to a round; all of them are explained, also those that allow it."""
    return tuple(rule(policy, terms, situation, now) for rule in RULES)


def has_circuit(network: Mapping[str, Any]) -> bool:
    """Whether a network, as federated.models.describe_network gives it, executes a circuit."""
    slots = (network.get(name) for name in ("neck", "head"))
    return any(isinstance(slot, Mapping) and slot.get("kind", "quantum") in _CIRCUITS for slot in slots)


def _among(rule: str, got: str, allowed: Names, key: str, remark: str = "") -> Finding:
    shown = got if len(got) < 64 else f"{got[:_SHORT]}..."
    names = listed(
        allowed if allowed is None else [each if len(each) < 64 else f"{each[:_SHORT]}..." for each in allowed]
    )
    inputs = f"{shown}; allowed: {names}"
    if allowed is None or got in allowed:
        return Finding(rule, inputs, True, f"{shown} is allowed.")
    return Finding(rule, inputs, False, f"Expected one of {names} ({key}), got {shown}{remark}.")


def _budget(rule: str, after: Cost, limit: Cost) -> Finding:
    inputs = f"epsilon {after.epsilon:.4g} and delta {after.delta:.3g} after this round, at most {limit.epsilon:g} and "
    inputs += f"{limit.delta:g}"
    if after.epsilon <= limit.epsilon and after.delta <= limit.delta:
        return Finding(rule, inputs, True, "The budget covers what the round may cost.")
    reason = (
        f"Expected a round within the site's budget of epsilon {limit.epsilon:g} at delta {limit.delta:g}, got one "
    )
    return Finding(
        rule, inputs, False, f"{reason}that would pass it; ask for less, or when older spendings have lapsed."
    )
