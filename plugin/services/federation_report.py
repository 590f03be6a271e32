"""A run's report: one HTML file that stands alone, and its plots, in the run's folder."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from federated.rounds.plan import RunPlan, parse_plan
from federated.rounds.progress import fold
from federated.rounds.run_view import RunView
from plugin.errors import FederationRunError
from plugin.services.amounts import amount, dice, number
from plugin.services.event_tail import parse_event
from plugin.services.federation import PLAN, RECORDS
from plugin.services.federation_summary import describe_departures, read_events
from plugin.services.round_records import Departure

REPORT: Final = "report.html"
_TITLES: Final = {
    "dice": "Dice of the whole tumour on each site's held-out cases",
    "loss-and-epsilon": "Training loss, and what the rounds cost each patient",
    "costs": "Bytes, seconds and energy",
}
_MOST_DEPARTURES: Final = 2000
"""Of a site, in the report; its own records hold all."""


@dataclass(frozen=True)
class SiteSide:
    """What a site says itself of a run, where the report is written beside it.

    Attributes:
        epsilon: What the run cost each patient, by the site's own accountant; None for nothing.
        departures: What left it, the newest first.
    """

    epsilon: float | None
    departures: Sequence[Departure]


def write_report(run_folder: Path, sites: Mapping[str, SiteSide] | None = None) -> Path:
    """Write the report of a run that is over, or as far as it has come.

    Args:
        run_folder: With its events; plots and report are written there.
        sites: By name, what their own records say; without, only what the coordinator knows is told.

    Returns:
        The HTML file.

    Raises:
        FederationRunError: No round is finished, so there is nothing to report.
        TermsError: The run's plan is damaged.
    """
    view = fold(read_events(run_folder))
    if not view.history:
        raise FederationRunError(f"{run_folder}: expected at least one finished round to report on, there is none.")
    from plugin.services.federation_plots import draw_plots

    plots = draw_plots(view)
    for name, png in plots.items():
        (run_folder / f"report-{name}.png").write_bytes(png)
    plan = parse_plan((run_folder / PLAN).read_bytes())
    page = build_report(view, plan, plots, sites or {}, _aggregates(run_folder))
    path = run_folder / REPORT
    path.write_text(page, encoding="utf-8")
    return path


def build_report(
    view: RunView,
    plan: RunPlan,
    plots: Mapping[str, bytes],
    sites: Mapping[str, SiteSide],
    aggregates: Sequence[Mapping[str, Any]],
) -> str:
    """The HTML: no script, nothing from outside, every name escaped.

    Args:
        view: Of the run.
        plan: Of the run: what was agreed.
        plots: PNG by name.
        sites: See write_report.
        aggregates: The coordinator's "aggregate" records, with digests.
    """
    return _template().render(
        view=view,
        agreed=_agreed(plan),
        privacy=_privacy(view, plan, sites),
        plots=[(_TITLES[name], b64encode(png).decode("ascii")) for name, png in plots.items()],
        left={name: describe_departures(side.departures) for name, side in sorted(sites.items())},
        departures={name: list(reversed(side.departures[:_MOST_DEPARTURES])) for name, side in sorted(sites.items())},
        cut={name: max(0, len(side.departures) - _MOST_DEPARTURES) for name, side in sites.items()},
        own_epsilon={name: side.epsilon for name, side in sites.items()},
        aggregates=aggregates,
    )


def _agreed(plan: RunPlan) -> list[tuple[str, str]]:
    learning, rule, start = plan.learning, plan.aggregation, plan.model or "fresh weights by the run's seed"
    masked = " (the coordinator sees sums over sites only)" if rule.rule in {"masked", "grouped-masked"} else ""
    sampled = f", {plan.sites_per_round} drawn each round" if plan.sites_per_round else ""
    return [
        ("Federation, run", f"{plan.federation}, {plan.run}"),
        ("Sites", f"{len(plan.sites)}: {', '.join(plan.sites)}{sampled}"),
        ("Rounds", f"{plan.rounds}, with at least {plan.quorum} sites and {plan.minimum_cases} cases at each"),
        ("Model", f"preset {learning.preset}, starts from {start}; {_trains(learning.trainable)} is trained"),
        (
            "Learning",
            f"{learning.strategy}: {learning.steps} steps a round, batches of {learning.batch}, rate "
            f"{learning.learning_rate:g}, seed {learning.seed}",
        ),
        ("Aggregation", f"{rule.rule}{masked}, weighted {_weighted(rule.weighting)}, threshold {rule.threshold}"),
        ("Compression", _compressed(rule.compression, rule.bits, rule.kept)),
        ("Late updates", {"refuse": "refused", "merge": "merged into the next round"}[rule.late]),
        ("App", plan.app),
    ]


def _trains(trainable: str) -> str:
    return "everything" if trainable == "all" else "the head alone"


def _weighted(weighting: str) -> str:
    return "by cases" if weighting == "examples" else "equally"


def _compressed(kind: str, bits: int, kept: float) -> str:
    return {"none": "none", "quantised": f"{bits} bits a number", "sparse": f"{kept:.0%} of the numbers are sent"}[kind]


def _privacy(view: RunView, plan: RunPlan, sites: Mapping[str, SiteSide]) -> list[tuple[str, str]]:
    """Each unit by itself: what protects a patient and what protects a hospital are never added up."""
    return [
        ("Record level (a patient)", _record_level(view, plan, sites)),
        ("Site level (a hospital)", _site_level(view, plan)),
    ]


def _record_level(view: RunView, plan: RunPlan, sites: Mapping[str, SiteSide]) -> str:
    wanted = plan.privacy
    if not wanted.record_noise:
        return "No noise, so no guarantee."
    text = (
        f"DP-SGD, noise multiplier {wanted.record_noise:g}, gradients clipped to {wanted.record_clip:g}. At delta "
        f"{wanted.delta:g} the rounds added up cost a patient of any site at most epsilon "
        f"{number(view.epsilon)}; the terms allow {number(view.epsilon_limit)} for all rounds."
    )
    known = [side.epsilon for side in sites.values() if side.epsilon is not None]
    if known:
        text += f" By the sites' own accountants, which compose the rounds: at most epsilon {max(known):.4g}."
    return text


def _site_level(view: RunView, plan: RunPlan) -> str:
    from federated.privacy.site_level import site_epsilon

    wanted = plan.privacy
    if not wanted.site_noise:
        clipped = f" Updates are clipped to {wanted.site_clip:g}." if wanted.site_clip else ""
        return f"No noise, so no guarantee.{clipped}"
    epsilon = site_epsilon(wanted.site_noise, len(view.history), wanted.delta)
    return (
        f"Updates clipped to {wanted.site_clip:g}, noise multiplier {wanted.site_noise:g} on their sum. At delta "
        f"{wanted.delta:g}, what {len(view.history)} rounds tell of a site that took part in all of them is bounded by "
        f"epsilon {epsilon:.4g}."
    )


def _aggregates(run_folder: Path) -> list[dict[str, Any]]:
    """What the coordinator recorded of each new model; a round that was done again counts as it was done last."""
    try:
        lines = (run_folder / RECORDS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = [record for line in lines if (record := parse_event(line)) is not None and record["event"] == "aggregate"]
    return [by_round for _, by_round in sorted({record.get("round", 0): record for record in found}.items())]


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, dice=dice, amount=amount)
    return environment.get_template("federation-report.html.j2")
