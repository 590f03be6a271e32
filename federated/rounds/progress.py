"""Where a run is: its events folded into one view, for the terminal, the pages and the report.

    view = fold(events)          or, as they come,          view = fold(more, view)

Reads only what it knows and leaves out what has another form: events may be those of another version.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from federated.rounds.events import Event
from federated.rounds.figures import WHOLE_TUMOUR
from federated.rounds.run_view import RoundView, RunState, RunView, SiteFigures, SiteView, Trouble, added

_TROUBLES: Final = {"refused", "late", "lost"}


def fold(events: Iterable[Event], view: RunView | None = None) -> RunView:
    """Take in events, in order.

    Args:
        events: See federated.rounds.events; unknown ones change nothing. Telling a "round-finished" again is harmless.
        view: What the events before came to.
    """
    found = view or RunView()
    for event in events:
        found = _take(found, event)
    return found


def _take(view: RunView, event: Event) -> RunView:
    taker = _TAKERS.get(_text(event.get("event")))
    if taker is None:
        return view
    found: RunView = taker(view, event)
    return replace(found, changed_at=_moment(event.get("at")) or view.changed_at)


def _run_started(view: RunView, event: Event) -> RunView:
    planned = _names(event.get("sites"))
    known = {name: view.current.get(name, SiteView(name)) for name in (*planned, *view.current)}
    return replace(
        view,
        run=_text(event.get("run")),
        federation=_text(event.get("federation")),
        planned=planned,
        rounds=_count(event.get("rounds")),
        rule=_text(event.get("rule")),
        strategy=_text(event.get("strategy")),
        preset=_text(event.get("preset")),
        model=_text(event.get("model")),
        is_masked=event.get("secure_aggregation") is True,
        epsilon_limit=_number(event.get("epsilon_limit")),
        delta=_number(event.get("delta")),
        state=RunState.RUNNING,
        reason="",
        round=None,
        participants=(),
        current={name: _at_rest(site) for name, site in known.items()},
        started_at=view.started_at or _moment(event.get("at")),
    )


def _round_started(view: RunView, event: Event) -> RunView:
    participants = _names(event.get("participants"))
    known = {name: view.current.get(name, SiteView(name)) for name in (*view.current, *participants)}
    return replace(
        view,
        state=RunState.RUNNING,
        round=_count(event.get("round")),
        round_began_at=_moment(event.get("at")),
        deadline=_moment(event.get("deadline")),
        participants=participants,
        current={name: _at_rest(site) for name, site in known.items()},
    )


def _site_told(view: RunView, event: Event) -> RunView:
    name, state = _text(event.get("site")), _text(event.get("state"))
    if not name:
        return view
    before, stage = view.current.get(name, SiteView(name)), _text(event.get("stage"))
    loss = _number(event.get("loss"))
    now = replace(
        before,
        stage=stage,
        state=state,
        reason=_text(event.get("reason")),
        # An answer that is no progress leaves the bar where it was, until the next stage.
        step=_count(event.get("step")) or (before.step if stage == before.stage else 0),
        steps=_count(event.get("steps")) or (before.steps if stage == before.stage else 0),
        loss=before.loss if loss is None else loss,
    )
    found = replace(view, current={**view.current, name: now})
    if state not in _TROUBLES:
        return found
    number = _count(event.get("round")) or view.round or 0
    trouble = Trouble(_moment(event.get("at")), number, name, state, now.reason)
    return replace(found, troubles=(*view.troubles, trouble))


def _round_finished(view: RunView, event: Event) -> RunView:
    number = _count(event.get("round"))
    if not number:
        return view
    finished = _read_round(number, event)
    rounds = {each.number: each for each in view.history} | {number: finished}
    history = tuple(rounds[each] for each in sorted(rounds))
    names = dict.fromkeys((*view.current, *finished.sites))
    current = {name: _summed_up(view.current.get(name, SiteView(name)), history) for name in names}
    return replace(view, model=finished.model, round=None, participants=(), history=history, current=current)


def _round_failed(view: RunView, event: Event) -> RunView:
    number, reason = _count(event.get("round")), _text(event.get("reason"))
    trouble = Trouble(_moment(event.get("at")), number, None, "failed", reason)
    return replace(view, round=None, participants=(), troubles=(*view.troubles, trouble))


def _run_finished(view: RunView, event: Event) -> RunView:
    reason = _text(event.get("reason"))
    plain = {"done": RunState.DONE, "stopped": RunState.STOPPED}
    return replace(
        view,
        run=view.run or _text(event.get("run")),
        state=plain.get(reason, RunState.FAILED),
        reason="" if reason in plain else reason or "no reason",
        round=None,
        participants=(),
    )


_TAKERS: Final = {
    "run-started": _run_started,
    "round-started": _round_started,
    "site": _site_told,
    "round-finished": _round_finished,
    "round-failed": _round_failed,
    "run-finished": _run_finished,
}


def _at_rest(site: SiteView) -> SiteView:
    return replace(site, stage="", state="", reason="", step=0, steps=0)


def _summed_up(site: SiteView, history: Sequence[RoundView]) -> SiteView:
    told = [each.sites[site.name] for each in history if site.name in each.sites]

    def last(name: str) -> Any:
        return next((found for figures in reversed(told) if (found := getattr(figures, name)) is not None), None)

    loss = last("loss")
    return replace(
        site,
        state=told[-1].state if told else site.state,
        loss=site.loss if loss is None else loss,
        dice=last("dice"),
        epsilon=last("epsilon_spent"),
        seconds=added(figures.seconds for figures in told),
        joules=added(figures.joules for figures in told),
        bytes_sent=added(figures.bytes_sent for figures in told),
    )


def _read_round(number: int, event: Event) -> RoundView:
    told = _mapping(event.get("sites"))
    sites = {name: _read_figures(figures) for each, figures in told.items() if (name := _text(each))}
    return RoundView(
        number=number,
        at=_moment(event.get("at")),
        model=_text(event.get("model")),
        seconds=_number(event.get("seconds")),
        overhead_s=_number(event.get("engine_overhead_s")),
        bytes_sent=_number(event.get("bytes_sent")),
        bytes_received=_number(event.get("bytes_received")),
        loss=_number(event.get("loss")),
        dice=_number(event.get("dice")),
        worst_site=_text(event.get("worst_site")) or None,
        joules=added(figures.joules for figures in sites.values()),
        sites=sites,
        dropped=_names(event.get("dropped")),
    )


def _read_figures(told: Any) -> SiteFigures:
    figures = _mapping(told)
    return SiteFigures(
        examples=_count(figures.get("examples")) or None,
        loss=_number(figures.get("loss")),
        dice=_number(_mapping(figures.get("dice")).get(WHOLE_TUMOUR)),
        # Without noise it is told as 0, which is no guarantee at all.
        epsilon_round=_number(figures.get("epsilon_round")) or None,
        epsilon_spent=_number(figures.get("epsilon_spent")) or None,
        seconds=_number(figures.get("seconds")),
        joules=_number(figures.get("joules")),
        energy_source=_text(figures.get("energy_source")) or None,
        bytes_sent=_number(figures.get("bytes_sent")),
        state=_text(figures.get("state")),
    )


def _text(value: Any) -> str:
    # A lone surrogate is possible in JSON and nowhere else.
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number and math.isfinite(value) else None
    except OverflowError:  # an integer beyond every float
        return None


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for each in value if (name := _text(each))) if isinstance(value, list) else ()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
