"""Write the released model's evaluation file and its model card from the scores of trained networks.

    python -m benchmarks.evaluation --runs build/model-evaluation --arm hybrid --evaluates "python -m ..."

A run file (see benchmarks.scores) holds what one trained network reached on cases that it never saw; groups are "seen"
(phantom, test cases of the training sites), "unseen" (phantom, two other sites) and "real" (leave-one-out). Nothing in
the two files is typed by hand: figures and wording follow from the scores.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.evaluation_card import build_card
from benchmarks.provenance import describe_origin
from benchmarks.scores import VERDICT_RULE, Run, arms_of, compare, groups_of, read_runs, summarise_arm
from federated.errors import EvaluationError
from federated.metrics import FAR_MM, REGIONS
from federated.model_file import load_model
from federated.models import ARMS, describe_network

SCHEMA: Final = 1
TITLES: Final = {
    "seen": "Phantom, test cases of the sites that it trains on",
    "unseen": "Phantom, cases of sites that it does not train on",
    "real": "Real subjects, each left out once",
}
GOALS: Final = (
    ("seen", "whole-tumour", 0.80),
    ("real", "whole-tumour", 0.86),
    ("real", "tumour-core", 0.72),
    ("real", "enhancing", 0.50),
)
"""Mean Dice that is asked of the released arm."""
FIGURES: Final = ("dice", "hausdorff_95_mm")


@dataclass(frozen=True)
class Released:
    """The model that is shipped.

    Attributes:
        arm: Whose scores stand for it.
        network: See federated.models.describe_network.
        training: What its file says about its training.
    """

    arm: str
    version: str
    network: Mapping[str, Any]
    training: Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    model, identity = load_model(options.model)
    released = Released(options.arm, identity.version, describe_network(model.network), model.training)
    runs = read_runs(sorted(options.runs.glob("*.json")))
    origin = describe_origin("benchmarks.evaluation", words, threads=options.threads, commit=options.commit)
    evaluation = build_evaluation(
        runs, released, {**origin, "scores_from": options.evaluates, "remarks": options.remark}
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(to_json(evaluation), encoding="utf-8")
    options.card.parent.mkdir(parents=True, exist_ok=True)
    options.card.write_text(build_card(evaluation), encoding="utf-8")
    for goal in evaluation["goals"]:
        print(f"{goal['group']}, {goal['region']}: {goal['found']:.3f}, asked {goal['asked']:.2f}", flush=True)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description="Write the evaluation file.")
    parser.add_argument("--runs", type=Path, required=True, help="folder of run files")
    parser.add_argument("--arm", default="hybrid", help="the released arm")
    parser.add_argument("--model", type=Path, default=Path("federated/weights"))
    parser.add_argument("--evaluates", required=True, metavar="COMMAND", help="the command that made the run files")
    parser.add_argument("--threads", type=int, default=2, help="that the runs computed with")
    parser.add_argument("--remark", nargs="*", default=[], metavar="TEXT", help="what a reader must know of the runs")
    parser.add_argument("--out", type=Path, default=Path("docs/results/model-evaluation.json"))
    parser.add_argument("--card", type=Path, default=Path("docs/model-card.md"))
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    return parser.parse_args(arguments)


def build_evaluation(runs: Sequence[Run], released: Released, origin: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation file.

    Args:
        runs: Of the released arm and its controls; every seed of an arm has every case of a group.
        released: The shipped model.
        origin: What provenance.describe_origin gives, and where the scores come from.

    Raises:
        EvaluationError: The released arm has no run, or scores are missing.
    """
    arms = arms_of(runs)
    if released.arm not in arms:
        raise EvaluationError(f"Expected runs of {released.arm}, got those of {', '.join(arms) or 'nothing'}.")
    arms.sort(key=lambda arm: (arm != released.arm, list(ARMS).index(arm) if arm in ARMS else len(ARMS)))
    summaries = {arm: summarise_arm(runs, arm) for arm in arms}
    groups = [group for group in groups_of(runs) if group in summaries[released.arm]]
    groups.sort(key=lambda group: list(TITLES).index(group) if group in TITLES else len(TITLES))
    shared = {group: [arm for arm in arms[1:] if group in summaries[arm]] for group in groups}
    return {
        "schema": SCHEMA,
        "what": "Scores of networks on cases that they never saw; the released model is one of the first arm's",
        "released": vars(released),
        "conventions": {
            "both empty": "Dice 1, distance 0",
            "one empty": f"Dice 0, distance {FAR_MM:.2f} mm",
            "interval": "95 %, over cases and seeds (pigeonhole bootstrap)",
            "verdict": VERDICT_RULE,
        },
        "groups": {group: _group(runs, group) for group in groups},
        "arms": {arm: _arm(runs, arm, summaries[arm]) for arm in arms},
        "comparisons": {
            group: compare(runs, [(released.arm, arm) for arm in shared[group]], [group], REGIONS) for group in groups
        },
        "goals": [
            _goal(summaries[released.arm], group, region, asked) for group, region, asked in GOALS if group in groups
        ],
        **origin,
    }


def _group(runs: Sequence[Run], group: str) -> dict[str, Any]:
    cases = {score["case"] for run in runs for score in run["scores"] if score["group"] == group}
    return {"title": TITLES.get(group, group), "cases": sorted(cases)}


def _arm(runs: Sequence[Run], arm: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    mine = [run for run in runs if run["arm"] == arm]
    return {
        "parameters": mine[0]["parameters"],
        "seeds": sorted({int(run["seed"]) for run in mine}),
        "summary": summary,
        "cases": {group: _cases(mine, group) for group in summary},
    }


def _cases(runs: Sequence[Run], group: str) -> dict[str, Any]:
    """By case, region and figure: the values of the seeds, in their order."""
    found: dict[str, Any] = {}
    for run in sorted(runs, key=lambda each: int(each["seed"])):
        for score in sorted(run["scores"], key=lambda each: str(each["case"])):
            if score["group"] == group:
                case = found.setdefault(score["case"], {region: {name: [] for name in FIGURES} for region in REGIONS})
                for region in REGIONS:
                    for name in FIGURES:
                        case[region][name].append(score["regions"][region][name])
    return dict(sorted(found.items()))


def _goal(summary: Mapping[str, Any], group: str, region: str, asked: float) -> dict[str, Any]:
    found = summary[group][region]["dice"]["mean"]
    return {"group": group, "region": region, "asked": asked, "found": found, "reached": found >= asked}


def to_json(document: Mapping[str, Any]) -> str:
    """Indented JSON, with lists of numbers on one line."""
    text = json.dumps(document, indent=1)
    return re.sub(r"\[\s+([-+\d.eE,\s]+?)\s+\]", lambda each: f"[{' '.join(each[1].split())}]", text) + "\n"


if __name__ == "__main__":
    sys.exit(main())
