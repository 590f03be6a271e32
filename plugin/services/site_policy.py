"""What a hospital allows federated rounds to do: one YAML file, read anew and checked whole at every round."""

import hashlib
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo

from federated.rounds.terms import Rule, Strategy
from fhir_adapter.research_use import ResearchUse
from plugin.errors import SitePolicyError
from plugin.services.policy_model import (
    CohortLimits,
    Leaves,
    MachineLimits,
    Names,
    PrivacyLimits,
    RoundLimits,
)
from plugin.services.strict_yaml import MAX_BYTES, parse_yaml
from plugin.services.working_hours import DAYS, MIDNIGHT, Window, WorkingHours

VERSION: Final = 1
_EXAMPLE = Path(__file__).parent / "templates" / "site-policy.yaml"
_NETWORKS: Final = ("hybrid", "unet", "segresnet")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class SitePolicy:
    """A policy that contradicts itself nowhere.

    Attributes:
        digest: SHA-256 of the file.

    Raises:
        SitePolicyError: Two rules contradict each other.
    """

    digest: str
    leaves: Leaves
    rounds: RoundLimits
    cohort: CohortLimits
    privacy: PrivacyLimits
    hours: WorkingHours
    machine: MachineLimits

    def __post_init__(self) -> None:
        """Look for contradictions."""
        for is_wrong, fault in _contradictions(self):
            if is_wrong:
                raise SitePolicyError(f"The policy contradicts itself: {fault}.")


def default_policy_text() -> str:
    """A policy to begin with, explained for a hospital's IT."""
    return _EXAMPLE.read_text(encoding="utf-8")


def read_policy(path: Path) -> SitePolicy:
    """Read a policy file.

    Raises:
        SitePolicyError: It cannot be read, everybody may write it, or it is no policy; says what to change.
    """
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise SitePolicyError(f"{path}: everybody on this machine may change it; take that right away (chmod o-w).")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as fault:
        raise SitePolicyError(
            f"{path}: expected the site's policy, it cannot be read ({fault.strerror}). "
            "`qfl federation policy example` prints one to begin with."
        ) from fault
    try:
        return parse_policy(data)
    except SitePolicyError as fault:
        raise SitePolicyError(f"{path}: {fault}") from fault


def parse_policy(data: bytes) -> SitePolicy:
    """Take a policy.

    Raises:
        SitePolicyError: A key is missing, unknown or out of range, or two contradict each other.
    """
    top = _Section("", parse_yaml(data))
    version = top.whole("version", 1, 1000)
    if version != VERSION:
        raise SitePolicyError(f"version: expected {VERSION}, got {version}; this program knows no other.")
    policy = SitePolicy(
        digest=hashlib.sha256(data).hexdigest(),
        leaves=_leaves(top.section("leaves")),
        rounds=_rounds(top.section("rounds")),
        cohort=_cohort(top.section("cohort")),
        privacy=_privacy(top.section("privacy")),
        hours=_hours(top.section("hours")),
        machine=_machine(top.section("machine")),
    )
    top.end()
    return policy


def describe_policy(policy: SitePolicy) -> dict[str, Any]:
    """A policy for people and programs, section by section, in the words of the file."""
    rounds, cohort, hours = policy.rounds, policy.cohort, policy.hours
    listed = {name: _described(value) for name, value in vars(rounds).items() if name != "largest_message_bytes"}
    return {
        "sha256": policy.digest,
        "leaves": vars(policy.leaves),
        "rounds": {**listed, "largest_message_mb": rounds.largest_message_bytes / _MEGABYTE},
        "cohort": {
            "minimum_cases": cohort.minimum_cases,
            "consent": "opt-out" if cohort.use.is_presumed else "opt-in",
            "verified_consent_only": cohort.use.needs_verification,
            "consent_codes": sorted(cohort.use.codes),
            "consent_actors": sorted(cohort.use.actors),
        },
        "privacy": {
            "record_level": "required" if policy.privacy.required else "optional",
            **{name: value for name, value in vars(policy.privacy).items() if name != "required"},
        },
        "hours": {
            "time_zone": hours.zone.key,
            "windows": "always" if hours.windows is None else [str(window) for window in hours.windows],
        },
        "machine": vars(policy.machine),
    }


def _described(value: Any) -> Any:
    if value is None:
        return "any"
    return sorted(value) if isinstance(value, frozenset) else value


class _Section:
    """A mapping of the file; each key is taken once, and none may be left."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        self._name = f"{name}." if name else ""
        self._left = dict(values)

    def take(self, key: str) -> Any:
        if key not in self._left:
            raise SitePolicyError(
                f"{self._name}{key}: expected a value, got none; nothing is allowed by being left out."
            )
        return self._left.pop(key)

    def end(self) -> None:
        if self._left:
            unknown = ", ".join(sorted(str(key)[:40] for key in self._left))
            raise SitePolicyError(f"{self._name.rstrip('.') or 'The policy'}: does not know {unknown}.")

    def section(self, key: str) -> "_Section":
        value = self.take(key)
        if not isinstance(value, dict):
            raise self.fault(key, "keys with values", value)
        return _Section(f"{self._name}{key}", value)

    def flag(self, key: str) -> bool:
        value = self.take(key)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false", value)
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fault(key, f"a whole number from {low} to {high}", value)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Above low, at most high."""
        value = self.take(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low < value <= high:
            hint = " (YAML takes 1e-5 for a text: write 1.0e-5)" if isinstance(value, str) else ""
            raise self.fault(key, f"a number above {low:g}, at most {high:g}{hint}", value)
        return float(value)

    def choice(self, key: str, choices: Sequence[str]) -> str:
        value = self.take(key)
        if value not in choices:
            raise self.fault(key, " or ".join(choices), value)
        return str(value)

    def names(self, key: str, known: Sequence[str] = (), *, may_be_empty: bool = False) -> frozenset[str]:
        """A list of names; of known ones, where there are such."""
        value = self.take(key)
        if not isinstance(value, list) or not all(isinstance(each, str) and 0 < len(each) <= 200 for each in value):
            raise self.fault(key, "a list of names in brackets", value)
        if not value and not may_be_empty:
            raise SitePolicyError(
                f"{self._name}{key}: expected at least one name, got none; leaves.updates: false refuses every round."
            )
        if known and (strange := set(value) - set(known)):
            raise self.fault(key, f"names of {', '.join(known)}", ", ".join(sorted(strange)))
        return frozenset(value)

    def names_or_any(self, key: str, pattern: re.Pattern[str] | None = None) -> Names:
        if self._left.get(key) == "any":
            self.take(key)
            return None
        found = self.names(key)
        if pattern and (strange := [each for each in found if not pattern.fullmatch(each)]):
            raise self.fault(key, "any, or digests of 64 hexadecimal digits", strange[0])
        return found

    def fault(self, key: str, expected: str, value: object) -> SitePolicyError:
        return SitePolicyError(f"{self._name}{key}: expected {expected}, got {str(value)[:60]!r}.")


def _leaves(section: _Section) -> Leaves:
    found = Leaves(section.flag("updates"), section.flag("metrics"), section.flag("subgroup_sums"))
    section.end()
    return found


def _rounds(section: _Section) -> RoundLimits:
    found = RoundLimits(
        aggregation=section.names("aggregation", get_args(Rule)),
        strategies=section.names("strategies", get_args(Strategy)),
        presets=section.names_or_any("presets"),
        networks=section.names("networks", _NETWORKS),
        quantum_backends=section.names("quantum_backends"),
        minimum_participants=section.whole("minimum_participants", 1, 1000),
        maximum_participants=section.whole("maximum_participants", 1, 1000),
        minimum_in_sum=section.whole("minimum_in_sum", 1, 1000),
        models=section.names_or_any("models", _DIGEST),
        apps=section.names_or_any("apps", _DIGEST),
        longest_hours=section.number("longest_hours", 0, 24 * 31),
        largest_message_bytes=int(section.number("largest_message_mb", 0, 16_000) * _MEGABYTE),
    )
    section.end()
    return found


def _cohort(section: _Section) -> CohortLimits:
    found = CohortLimits(
        minimum_cases=section.whole("minimum_cases", 1, 1_000_000),
        use=ResearchUse(
            is_presumed=section.choice("consent", ("opt-in", "opt-out")) == "opt-out",
            needs_verification=section.flag("verified_consent_only"),
            codes=section.names("consent_codes", may_be_empty=True),
            actors=section.names("consent_actors", may_be_empty=True),
        ),
    )
    section.end()
    return found


def _privacy(section: _Section) -> PrivacyLimits:
    found = PrivacyLimits(
        required=section.choice("record_level", ("required", "optional")) == "required",
        epsilon_per_round=section.number("epsilon_per_round", 0, 1000),
        epsilon_per_run=section.number("epsilon_per_run", 0, 1000),
        epsilon_per_year=section.number("epsilon_per_year", 0, 1000),
        delta=section.number("delta", 0, 0.01),
    )
    section.end()
    return found


def _hours(section: _Section) -> WorkingHours:
    name = section.take("time_zone")
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as fault:
        raise section.fault("time_zone", "a time zone like Europe/Berlin", name) from fault
    windows = section.take("windows")
    section.end()
    if windows == "always":
        return WorkingHours(zone, None)
    if not isinstance(windows, list) or not windows:
        raise section.fault("windows", "always, or a list of windows, without which work could never begin", windows)
    return WorkingHours(zone, tuple(_window(index, each) for index, each in enumerate(windows, start=1)))


def _window(index: int, value: object) -> Window:
    name = f"hours.windows, number {index}"
    if not isinstance(value, dict):
        raise SitePolicyError(f"{name}: expected days, from and to, got {str(value)[:60]!r}.")
    section = _Section(name, value)
    days = frozenset(DAYS.index(day) for day in section.names("days", DAYS))
    start, end = _minutes(section, "from"), _minutes(section, "to")
    section.end()
    if start in {end, MIDNIGHT}:
        raise SitePolicyError(
            f"{name}: expected some time between from and to, got none; for whole days 00:00 to 24:00."
        )
    return Window(days, start, end)


def _minutes(section: _Section, key: str) -> int:
    value = section.take(key)
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise section.fault(key, 'a time in quotes like "19:00"', value)
    hours, minutes = value.split(":")
    return int(hours) * 60 + int(minutes)


def _machine(section: _Section) -> MachineLimits:
    found = MachineLimits(section.whole("cpu_threads", 1, 4096), section.flag("gpu"))
    section.end()
    return found


def _contradictions(policy: SitePolicy) -> Sequence[tuple[bool, str]]:
    rounds, privacy, leaves = policy.rounds, policy.privacy, policy.leaves
    least, in_sum, most = rounds.minimum_participants, rounds.minimum_in_sum, rounds.maximum_participants
    a_round, a_run, a_year = privacy.epsilon_per_round, privacy.epsilon_per_run, privacy.epsilon_per_year
    return (
        (least > most, f"rounds.minimum_participants {least} is above maximum_participants {most}"),
        (in_sum > most, f"rounds.minimum_in_sum {in_sum} is above maximum_participants {most}"),
        (a_round > a_run, f"privacy.epsilon_per_round {a_round:g} is above epsilon_per_run {a_run:g}"),
        (a_run > a_year, f"privacy.epsilon_per_run {a_run:g} is above epsilon_per_year {a_year:g}"),
        (leaves.subgroup_sums and not leaves.metrics, "leaves.subgroup_sums are metrics, and leaves.metrics is false"),
    )
