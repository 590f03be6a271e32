"""What the coordinator tells whoever watches: one JSON object a line, in the run's folder.

Every event has "event", "at" (ISO 8601, UTC) and "run". Numbers that are not known yet are null.

run-started     federation, sites [name], rounds, rule, strategy, preset, model, secure_aggregation (bool),
                resumed_at_round (int, 0 for a new run), epsilon_limit (the most that all rounds together may cost a
                patient, added up; null without record-level privacy), delta
round-started   round, model, deadline, participants [name]
site            round, site, stage, state ("asked", "working", "done", "refused", "late", "lost",
                "spared": enough others had answered), reason, step, steps, loss
round-finished  round, model, seconds, engine_overhead_s (round time less the slowest site's own work), bytes_sent,
                bytes_received, loss (mean over sites by examples),
                sites: {name: {examples, loss, dice {region: mean}, groups {...}, epsilon_round, epsilon_spent, seconds,
                joules, energy_source, bytes_sent, state}}, dropped [name], dice (mean whole-tumour over sites),
                worst_site
round-failed    round, reason
run-finished    model, rounds_finished, reason ("done", "stopped", or why it failed)
"""

from collections.abc import Callable, Mapping
from typing import Any

Event = Mapping[str, Any]
Watch = Callable[[Event], None]
"""Takes each event once, but the last round's again when a coordinator goes on after a restart; it must not fail."""

EVENTS_FILE = "events.jsonl"


def nobody(_event: Event) -> None:
    """Nobody watches."""
