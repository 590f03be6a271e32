import pytest

from federated.errors import SecureAggregationError
from federated.secure_aggregation.parties import Parties, default_threshold, transcript


@pytest.mark.parametrize("sites", range(2, 101))
def test_default_threshold_is_above_two_thirds_and_allowed(sites):
    threshold = default_threshold(sites)
    assert 3 * threshold > 2 * sites
    assert 3 * (threshold - 1) <= 2 * sites
    Parties(b"", tuple(f"{number:03}" for number in range(sites)), threshold)


@pytest.mark.parametrize("sites", range(2, 101))
def test_default_threshold_leaves_two_honest_sites_in_any_sum_that_a_lying_coordinator_can_open(sites):
    """The counting argument of docs/secure-aggregation.md, for every number of accomplices below a third."""
    threshold = default_threshold(sites)
    for accomplices in range((sites + 2) // 3):
        honest, needed = sites - accomplices, threshold - accomplices
        assert 2 * threshold > sites + accomplices  # never both kinds of shares of one site
        opened = honest * (sites - threshold) // needed  # recoveries, if each honest site is told other dropouts
        assert honest - opened >= 2


@pytest.mark.parametrize(
    ("participants", "threshold", "bits"),
    [
        pytest.param(("a",), 1, 32, id="one site"),
        pytest.param(("b", "a", "c"), 2, 32, id="not sorted"),
        pytest.param(("a", "a", "b"), 2, 32, id="twice"),
        pytest.param(("a", "b", "c", "d"), 2, 32, id="threshold of half"),
        pytest.param(("a", "b", "c"), 4, 32, id="threshold above all"),
        pytest.param(("a", "b", "c"), 2, 33, id="ring too wide"),
    ],
)
def test_refuses_parties_that_protect_nobody(participants, threshold, bits):
    with pytest.raises(SecureAggregationError):
        Parties(b"", participants, threshold, bits)


def test_id_depends_on_everything():
    base = Parties(b"round 1", ("a", "b", "c"), 2)
    others = [
        Parties(b"round 2", ("a", "b", "c"), 2),
        Parties(b"round 1", ("a", "b", "cc"), 2),
        Parties(b"round 1", ("a", "b", "c"), 3),
        Parties(b"round 1", ("a", "b", "c"), 2, 16),
    ]
    assert len({base.id, *(other.id for other in others)}) == 5


def test_transcript_tells_where_parts_end():
    assert transcript(b"ab", b"c") != transcript(b"a", b"bc") != transcript(b"abc")
