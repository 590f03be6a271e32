"""Cases and the groups of people that they are of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GroupedCase:
    """One case, as far as fairness needs it.

    Attributes:
        name: A pseudonym.
        groups: By attribute ("sex", "age", "ethnicity", "site"), the group that it is of; what is unknown is left out.
        outcomes: By name, how well it was served, 0 (not at all) to 1; what does not concern it is left out.
    """

    name: str
    groups: Mapping[str, str]
    outcomes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Membership:
    """The groups of one attribute among some cases.

    Attributes:
        judged: Groups with enough cases, sorted.
        small: Groups with too few, and how many they have.
        unknown: Cases of which the attribute is not known.
    """

    attribute: str
    judged: tuple[str, ...]
    small: Mapping[str, int]
    unknown: int
    counts: Mapping[str, int]


def members_of(cases: Sequence[GroupedCase], attribute: str, minimum_group: int) -> Membership:
    """Count the groups of an attribute.

    Args:
        cases: Those that count.
        attribute: One of them.
        minimum_group: Fewest cases of a group that is judged.
    """
    counts = Counter(each.groups[attribute] for each in cases if attribute in each.groups)
    return Membership(
        attribute,
        tuple(sorted(name for name, count in counts.items() if count >= minimum_group)),
        {name: count for name, count in sorted(counts.items()) if count < minimum_group},
        len(cases) - sum(counts.values()),
        dict(sorted(counts.items())),
    )


def missing_evidence(membership: Membership, minimum_group: int) -> str | None:
    """Why nothing final can be said about an attribute, in a sentence; None where all its groups can be judged.

    Args:
        membership: Of the attribute.
        minimum_group: Fewest cases of a group that is judged; as many cases of unknown membership could hide one.
    """
    attribute, counts = membership.attribute, membership.counts
    if not counts:
        return f"{attribute}: of no case is it known."
    if len(counts) == 1:
        return f"{attribute}: all cases are of one group, {next(iter(counts))}; there is nothing to compare."
    if membership.small:
        few = ", ".join(f"{name} ({count})" for name, count in membership.small.items())
        return f"{attribute}: fewer than {minimum_group} cases of {few}."
    if membership.unknown >= minimum_group:
        return f"{attribute}: of {membership.unknown} cases it is not known."
    return None
