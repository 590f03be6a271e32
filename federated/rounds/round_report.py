"""What became of a round, and the event that tells it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from statistics import fmean
from typing import Any

from federated.errors import RoundRecordError, TermsError
from federated.rounds.events import Event
from federated.rounds.figures import WHOLE_TUMOUR, Evaluated, Trained
from federated.rounds.inquiry import Fate, Told
from federated.rounds.terms import RoundTerms, describe_terms, parse_terms


@dataclass
class RoundFacts:
    """A round on its way.

    Attributes:
        terms: Of its newest attempt.
        began: When the coordinator began to ask.
        trained: By site whose update came.
        late: By site whose update is of an earlier round, that round.
        counted: Sites whose updates the new model holds; empty before.
        fates: By site that was asked, "done" while it takes part, else what became of it.
        sent, received: Bytes by site, both ways as the coordinator sees it.
    """

    terms: RoundTerms
    began: datetime
    trained: dict[str, Trained] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    counted: tuple[str, ...] = ()
    fates: dict[str, str] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)

    def note(self, told: Told, *, only_bytes: bool = False) -> None:
        """Add what a stage came to."""
        for site, fate in told.fates.items():
            if not only_bytes:
                self.fates[site] = fate.value
            self.sent[site] = self.sent.get(site, 0) + told.sent[site]
            self.received[site] = self.received.get(site, 0) + told.received[site]

    @property
    def there(self) -> tuple[str, ...]:
        """Participants that are still in the round, sorted."""
        return tuple(site for site in self.terms.participants if self.fates.get(site) == Fate.DONE.value)

    def to_bytes(self) -> bytes:
        """As JSON."""
        facts = {**asdict(self), "terms": describe_terms(self.terms), "began": self.began.isoformat()}
        return json.dumps(facts).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "RoundFacts":
        """What to_bytes wrote.

        Raises:
            RoundRecordError: It is damaged.
        """
        try:
            facts = json.loads(data)
            trained = {site: Trained(**figures) for site, figures in facts.pop("trained").items()}
            began, terms = datetime.fromisoformat(facts.pop("began")), parse_terms(facts.pop("terms"))
            return cls(**{**facts, "counted": tuple(facts["counted"])}, began=began, terms=terms, trained=trained)
        except (TermsError, ValueError, KeyError, TypeError, AttributeError) as fault:
            raise RoundRecordError("Expected the stored facts of a round, got damaged ones.") from fault


def finished_event(
    facts: RoundFacts, evaluated: Mapping[str, Evaluated], history: Sequence[Event], *, model: str, now: datetime
) -> Event:
    """The "round-finished" event; see federated.rounds.events.

    Args:
        facts: Of the round.
        evaluated: By site that evaluated its model.
        history: The events of the rounds before.
        model: Digest of the new weights.
        now: When it was finished.
    """
    seconds = (now - facts.began).total_seconds()
    sites = {site: _site(site, facts, evaluated.get(site), history) for site in sorted(facts.fates)}
    dice = {site: told["dice"].get(WHOLE_TUMOUR) for site, told in sites.items()}
    known = {site: value for site, value in dice.items() if value is not None}
    return {
        "event": "round-finished",
        "at": now.isoformat(),
        "run": facts.terms.run,
        "round": facts.terms.round,
        "model": model,
        "seconds": round(seconds, 3),
        "engine_overhead_s": round(max(0.0, seconds - _slowest(facts, evaluated)), 3),
        "bytes_sent": sum(facts.sent.values()),
        "bytes_received": sum(facts.received.values()),
        "loss": _mean_loss(facts),
        "sites": sites,
        "dropped": [site for site in sorted(facts.fates) if site not in facts.counted],
        "dice": round(fmean(known.values()), 6) if known else None,
        "worst_site": min(known, key=lambda site: (known[site], site)) if known else None,
    }


def _site(site: str, facts: RoundFacts, found: Evaluated | None, history: Sequence[Event]) -> dict[str, Any]:
    trained = facts.trained.get(site)
    epsilon = trained.epsilon if trained else 0.0
    figures = found or Evaluated()
    return {
        **figures.other,
        "examples": trained.examples if trained else None,
        "loss": trained.loss if trained else None,
        "dice": dict(figures.dice),
        "groups": dict(figures.groups),
        "cases": figures.cases,
        "epsilon_round": epsilon,
        # An upper bound of what this run cost the site's patients; the site's own accountant finds less.
        "epsilon_spent": sum((event["sites"].get(site, {}).get("epsilon_round") or 0.0) for event in history) + epsilon,
        "seconds": _sum(trained.seconds if trained else None, figures.seconds),
        "joules": _sum(trained.joules if trained else None, figures.joules),
        "energy_source": figures.energy_source or (trained.energy_source if trained else None),
        "bytes_sent": facts.received.get(site, 0),
        "state": facts.fates[site],
    }


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _slowest(facts: RoundFacts, evaluated: Mapping[str, Evaluated]) -> float:
    """Seconds that the round takes for the sites' own work: each stage waits for its slowest site."""
    on_time = [facts.trained[site] for site in facts.there if site in facts.trained]
    training = max((each.seconds or 0.0 for each in on_time), default=0.0)
    return training + max((each.seconds or 0.0 for each in evaluated.values()), default=0.0)


def _mean_loss(facts: RoundFacts) -> float | None:
    told = [(each.loss, each.examples) for each in facts.trained.values() if each.loss is not None]
    examples = sum(count for _, count in told)
    return round(sum(loss * count for loss, count in told) / examples, 6) if examples else None
