"""A run's view as the terminal shows it: one table, the worst site first, and lines for what happened."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from federated.rounds.events import Event
from federated.rounds.run_view import RoundView, RunState, RunView, SiteView, Trouble
from plugin.cli.rows import shown
from plugin.services.amounts import amount, dice, energy_words, number

_WIDE, _MIDDLE = 112, 96
"""Columns of a terminal from which seconds and energy of each site have room, and from which bars have."""
_BAR: Final = 10
_STYLES: Final = {"done": "green", "working": "cyan", "refused": "red", "late": "yellow", "lost": "red"}


def draw_run(
    view: RunView,
    *,
    width: int,
    now: datetime,
    more: Mapping[str, Sequence[str]] | None = None,
    heads: Sequence[str] = (),
) -> RenderableType:
    """What a terminal shows of a run.

    Args:
        view: Of the run.
        width: Columns of the terminal.
        now: For how long the round has been going on.
        more: Further cells by site.
        heads: Their heads.
    """
    room = width - sum(len(head) + 3 for head in heads)
    is_wide = room >= _WIDE
    table = Table()
    for head in ("site", "stage", "state", "step", "loss", "Dice", "epsilon", "sent"):
        table.add_column(head, justify="right" if head in {"loss", "Dice", "epsilon", "sent"} else "left", no_wrap=True)
    for head in (*(("own work", "energy") if is_wide else ()), *heads):
        table.add_column(head, justify="right", no_wrap=True)
    for site in view.sites:
        cells = (amount(site.seconds, "s"), amount(site.joules, "J")) if is_wide else ()
        table.add_row(
            *_cells(view, site, has_bar=room >= _MIDDLE), *cells, *((more or {}).get(site.name) or [""] * len(heads))
        )
    return Group(Text(_title(view), style="bold"), table, Text(_foot(view, now)))


def story(view: RunView, event: Event) -> str | None:
    """One line for an event that is worth one.

    Args:
        view: With the event in it.
        event: Of federated.rounds.events.
    """
    match event.get("event"):
        case "run-started":
            begun = len(view.history)
            return f"{shown(view.run)} goes on after round {begun}" if begun else f"{shown(view.run)} begins"
        case "site" if view.troubles and event.get("state") == view.troubles[-1].state:
            return trouble_line(view.troubles[-1])
        case "round-finished":
            number = event.get("round")
            return next((round_line(view, each) for each in view.history if each.number == number), None)
        case "round-failed":
            return trouble_line(view.troubles[-1])
        case "run-finished":
            return f"The run has ended: {shown(view.reason or view.state)}"
    return None


def round_line(view: RunView, each: RoundView) -> str:
    """A finished round in one line."""
    parts = [
        amount(each.seconds, "s"),
        f"Dice {dice(each.dice)}",
        f"worst {shown(each.worst_site or '-')}",
        amount(each.bytes, "B"),
        *([amount(each.joules, "J")] if each.joules is not None else []),
        *([f"loss {number(each.loss)}"] if each.loss is not None else []),
        f"model {shown(each.model[:12])}",
    ]
    dropped = f", without {shown(', '.join(each.dropped))}" if each.dropped else ""
    return f"Round {each.number} of {view.rounds}: {', '.join(parts)}{dropped}"


def trouble_line(trouble: Trouble) -> str:
    """Who refused, was late or was lost, or that a round failed."""
    who = f"{shown(trouble.site)} {shown(trouble.state)} in round" if trouble.site else "Failed: round"
    return f"{who} {trouble.round}: {shown(trouble.reason) or 'no reason'}"


def _title(view: RunView) -> str:
    if view.state is RunState.WAITING:
        return "Nothing was told of the run yet."
    where = (
        f"round {view.round} of {view.rounds}" if view.round else f"{len(view.history)} of {view.rounds} rounds done"
    )
    masking = "the coordinator sees sums only" if view.is_masked else "the coordinator sees each update"
    state = view.state if not view.reason else f"{view.state}: {view.reason}"
    return shown(f"{view.run} of {view.federation}: {where}, {state}. {view.strategy}, {view.rule}: {masking}.")


def _foot(view: RunView, now: datetime) -> str:
    parts = []
    if view.history:
        parts = [f"mean Dice {dice(view.dice)}", amount(view.bytes, "B"), amount(view.seconds, "s")]
    if view.joules is not None:
        parts.append(f"{amount(view.joules, 'J')} ({energy_words(view)})")
    if view.round and view.round_began_at:
        parts.append(f"this round since {amount(max(0.0, (now - view.round_began_at).total_seconds()), 's')}")
    if view.epsilon_limit is not None:
        parts.append(f"epsilon: rounds added up, of at most {number(view.epsilon_limit)}")
    return "; ".join(parts)


def _cells(view: RunView, site: SiteView, *, has_bar: bool) -> list[RenderableType]:
    worst = " (worst)" if site.name == view.worst_site else ""
    is_asked = not view.round or site.name in view.participants
    state = site.state if is_asked or site.state else "not asked"
    limit = f" / {number(view.epsilon_limit)}" if view.epsilon_limit is not None else ""
    return [
        Text(shown(site.name) + worst, style="bold" if worst else ""),
        Text(shown(site.stage)),
        Text(shown(state), style=_STYLES.get(state, "")),
        _steps(site, has_bar=has_bar),
        Text(number(site.loss)),
        Text(dice(site.dice), style="bold" if worst else ""),
        Text(number(site.epsilon) + limit),
        Text(amount(site.bytes_sent, "B")),
    ]


def _steps(site: SiteView, *, has_bar: bool) -> RenderableType:
    if not site.steps:
        return ""
    step = site.steps if site.state == "done" else site.step
    text = Text(f"{step}/{site.steps}")
    if not has_bar:
        return text
    bar = Table.grid(padding=(0, 1))
    bar.add_row(ProgressBar(site.steps, step, width=_BAR), text)
    return bar
