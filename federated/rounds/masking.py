"""Who masks with whom in a round: the same for the coordinator and for each site, from the terms alone."""

from typing import Final

from federated.aggregation import draw_groups
from federated.compression import Compressor
from federated.errors import SecureAggregationError
from federated.rounds.terms import RoundTerms
from federated.secure_aggregation.parties import default_threshold
from governance.canonical import canonical_bytes

Group = tuple[str, ...]
_LEAST: Final = 3
"""Sites a group: the sum of two shows each of them the other's update, with the coordinator's help."""


def masking_groups(terms: RoundTerms) -> tuple[Group, ...]:
    """The groups whose sums the coordinator may see, each sorted; none where single updates are seen.

    Raises:
        SecureAggregationError: A group would be smaller than three.
    """
    if not terms.is_masked:
        return ()
    if terms.aggregation.rule == "masked":
        return (terms.participants,)
    groups = draw_groups(terms.participants, terms.aggregation.group_size, terms.run, terms.round)
    if min(map(len, groups)) < _LEAST:
        raise SecureAggregationError(
            f"Expected groups of at least {_LEAST} sites, got one of {min(map(len, groups))}; choose a larger group "
            "size, or wait for more sites."
        )
    return groups


def group_of(terms: RoundTerms, site: str) -> Group:
    """The group in which a site masks its update.

    Raises:
        SecureAggregationError: There is none.
    """
    for group in masking_groups(terms):
        if site in group:
            return group
    raise SecureAggregationError(f"{site}: expected a site of one of the round's groups, got none of them.")


def group_threshold(terms: RoundTerms, group: Group) -> int:
    """Sites of a group without which its sum stays closed."""
    return terms.aggregation.threshold if group == terms.participants else default_threshold(len(group))


def group_context(terms: RoundTerms, group: Group) -> bytes:
    """What every key and share of a group's sum is bound to."""
    return canonical_bytes(
        {
            "federation": terms.federation,
            "run": terms.run,
            "round": terms.round,
            "terms": terms.digest,
            "group": list(group),
        }
    )


def ring_bits(terms: RoundTerms) -> int:
    """Of the ring in which a round's updates are summed."""
    return Compressor.of(terms, 1).fixed.bits


def case_weight(terms: RoundTerms, examples: int) -> float:
    """What a site's update counts for, above 0 and at most 1."""
    if terms.aggregation.weighting == "equal":
        return 1.0
    return min(max(examples, 1), terms.aggregation.most_cases) / terms.aggregation.most_cases
