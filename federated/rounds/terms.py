"""What a round asks of the sites: signed by the coordinator, checked by each site against its own policy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

from federated.errors import TermsError
from governance.canonical import Canonical, digest

TERMS_PURPOSE: Final = "qfl/round-terms"
Strategy = Literal["fedavg", "fedprox", "scaffold", "fedadam", "fedbn", "ditto"]
Trainable = Literal["all", "head"]
"""Of the network: everything, or only its head (the quantum or classical slot and its projections)."""
Weighting = Literal["examples", "equal"]
Rule = Literal["masked", "grouped-masked", "mean", "median", "trimmed-mean", "multi-krum", "norm-bounded"]
"""masked: the coordinator sees only the sum. grouped-masked: sums of groups, combined robustly. The others see each
update."""
Compression = Literal["none", "quantised", "sparse"]
Late = Literal["refuse", "merge"]
Part = TypeVar("Part")


@dataclass(frozen=True)
class Learning:
    """How each site trains.

    Attributes:
        preset: A name of federated.presets.PRESETS: network, grid, settings.
        steps: Optimiser steps a round.
        proximal: FedProx's and Ditto's pull to the global weights, mu.
        server_rate: Of the server's step along the mean update; 1 for plain averaging.
        seed: Of the run; a site's own seed derives from it, its name and the round.
    """

    preset: str = "tiny"
    strategy: Strategy = "fedavg"
    trainable: Trainable = "all"
    steps: int = 20
    learning_rate: float = 5e-3
    batch: int = 2
    proximal: float = 0.01
    server_rate: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Privacy:
    """What is clipped and noised; the two units are never added up.

    Attributes:
        record_noise: DP-SGD's noise multiplier, for each patient; 0 for no record-level privacy.
        record_clip: Norm that one case's gradient is clipped to.
        delta: Of the record-level guarantee.
        record_epsilon: What this round may cost each patient at most; a site whose accountant says more refuses.
        site_clip: Norm that a site's whole update is clipped to; 0 for no site-level clipping.
        site_noise: Standard deviation of the sum's noise over site_clip; each site adds its share.
    """

    record_noise: float = 0.0
    record_clip: float = 1.0
    delta: float = 1e-5
    record_epsilon: float = 0.0
    site_clip: float = 0.0
    site_noise: float = 0.0


@dataclass(frozen=True)
class Aggregation:
    """How the coordinator combines updates.

    Attributes:
        threshold: Sites whose update must arrive; with masking also the shares that open a mask.
        group_size: Sites a group, of grouped-masked.
        tolerated: Malicious sites that the robust rules reckon with.
        value_range: Numbers of an update are clipped to plus or minus this before they are written as fixed point.
        most_cases: What a site's update counts for at most, where it counts for its cases; also the scale of a masked
            weight, so about as many as the largest site has.
        late: What is done with an update that comes after the deadline.
        bits: Of a quantised number.
        kept: Share of the numbers that a sparse update keeps.
    """

    rule: Rule = "masked"
    weighting: Weighting = "examples"
    threshold: int = 2
    group_size: int = 3
    tolerated: int = 0
    value_range: float = 4.0
    most_cases: int = 100
    late: Late = "refuse"
    compression: Compression = "none"
    bits: int = 8
    kept: float = 0.1


@dataclass(frozen=True)
class RoundTerms:
    """One round.

    Attributes:
        federation: Its name.
        run: Id of the training of which this is a round.
        round: From 1.
        rounds: Of the run.
        participants: Names of the sites that are asked, sorted.
        app: Digest of the app that the sites must have installed.
        model: Digest of the weights that the round starts from, as federated.rounds.layout.write_weights writes them.
        layout: Digest of the layout of an update.
        network: As federated.models.describe_network gives it.
        minimum_cases: A site with fewer does not take part.
        deadline: When the round ends, UTC.
    """

    federation: str
    run: str
    round: int
    rounds: int
    participants: tuple[str, ...]
    app: str
    model: str
    layout: str
    network: Mapping[str, Any]
    deadline: datetime
    minimum_cases: int = 1
    learning: Learning = field(default_factory=Learning)
    privacy: Privacy = field(default_factory=Privacy)
    aggregation: Aggregation = field(default_factory=Aggregation)

    def __post_init__(self) -> None:
        """Check what can be checked without a site.

        Raises:
            TermsError: A number is out of range, or two contradict each other.
        """
        _check(self)

    @property
    def is_masked(self) -> bool:
        """Whether single updates stay hidden from the coordinator."""
        return self.aggregation.rule in {"masked", "grouped-masked"}

    @property
    def digest(self) -> str:
        """SHA-256 of the terms; every message of the round names it."""
        return digest(describe_terms(self))


def describe_terms(terms: RoundTerms) -> dict[str, Canonical]:
    """Terms as canonical JSON takes them: numbers that are no integers are strings."""
    return describe_part(terms)


def parse_terms(document: Any) -> RoundTerms:
    """The terms that describe_terms wrote.

    Raises:
        TermsError: Something is missing, unknown, of another type or out of range.
    """
    return parse_part(RoundTerms, document, "a round's terms")


def describe_part(part: Any) -> dict[str, Canonical]:
    """A dataclass of terms, or of a plan for them, as canonical JSON takes it."""
    found: dict[str, Canonical] = _plain(asdict(part))
    return found


def parse_part(kind: type[Part], document: Any, what: str) -> Part:
    """What describe_part wrote.

    Raises:
        TermsError: Something is missing, unknown, of another type or out of range.
    """
    try:
        part: Part = _build(kind, document)
    except (TypeError, ValueError, KeyError, AttributeError) as fault:
        raise TermsError(f"Expected {what}, got something else ({type(fault).__name__}: {fault}).") from fault
    return part


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case float():
            return repr(value)
        case datetime():
            return value.astimezone(UTC).isoformat()
    return value


def _build(cls: Any, document: Any) -> Any:
    if not isinstance(document, Mapping):
        raise TypeError(f"{cls.__name__} is no object")
    hints = get_type_hints(cls)
    known = {each.name for each in fields(cls)}
    if unknown := set(document) - known:
        raise ValueError(f"{cls.__name__} does not know {', '.join(sorted(unknown))}")
    return cls(**{name: _read(name, hints[name], value) for name, value in document.items()})


def _read(name: str, kind: Any, value: Any) -> Any:
    if is_dataclass(kind):
        return _build(kind, value)
    if kind is float and isinstance(value, str):
        return float(value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if get_origin(kind) is tuple:
        return tuple(_typed(name, str, item) for item in value)
    if get_origin(kind) is Mapping:
        return _typed(name, dict, value)
    if choices := get_args(kind):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
        return value
    return _typed(name, kind, value)


def _typed(name: str, kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{name} is {type(value).__name__}, expected {kind.__name__}")
    return value


_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "round": (1, 100_000),
    "rounds": (1, 100_000),
    "minimum_cases": (1, 1_000_000),
    "steps": (0, 1_000_000),
    "learning_rate": (0, 10),
    "batch": (1, 1024),
    "proximal": (0, 1000),
    "server_rate": (0, 100),
    "seed": (0, 2**31 - 1),
    "record_noise": (0, 1000),
    "record_clip": (1e-6, 1e6),
    "delta": (0, 0.1),
    "record_epsilon": (0, 1000),
    "site_clip": (0, 1e6),
    "site_noise": (0, 1000),
    "threshold": (1, 1000),
    "group_size": (2, 1000),
    "tolerated": (0, 500),
    "value_range": (1e-6, 1e6),
    "most_cases": (1, 1_000_000),
    "bits": (2, 16),
    "kept": (1e-6, 1.0),
}


def _check(terms: RoundTerms) -> None:
    _check_numbers(terms)
    sites, rule = terms.participants, terms.aggregation
    if not sites or list(sites) != sorted(set(sites)):
        raise TermsError("Expected the names of the participants, sorted, each once.")
    if terms.round > terms.rounds:
        raise TermsError(f"Expected a round of {terms.rounds}, got round {terms.round}.")
    if terms.deadline.tzinfo is None:
        raise TermsError("Expected a deadline with its time zone.")
    if rule.threshold > len(sites):
        raise TermsError(f"Expected a threshold of at most {len(sites)} sites, got {rule.threshold}.")
    if terms.is_masked and 2 * rule.threshold <= len(sites):
        raise TermsError(f"Masking needs a threshold above half of {len(sites)} sites, got {rule.threshold}.")
    if terms.is_masked and rule.late == "merge":
        raise TermsError("A masked update that comes late cannot be merged: expected late updates to be refused.")
    if terms.privacy.site_noise and not terms.privacy.site_clip:
        raise TermsError("Site-level noise needs a site-level clipping norm, got none.")


def _check_numbers(terms: RoundTerms) -> None:
    for part in (terms, terms.learning, terms.privacy, terms.aggregation):
        for name, value in vars(part).items():
            low, high = _LIMITS.get(name, (None, None))
            if low is not None and high is not None and not low <= value <= high:
                raise TermsError(f"Expected {name} from {low:g} to {high:g}, got {value!r}.")


def next_round(terms: RoundTerms, *, model: str, deadline: datetime) -> RoundTerms:
    """The terms of the round after, from another model."""
    return replace(terms, round=terms.round + 1, model=model, deadline=deadline)
