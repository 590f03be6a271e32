"""How soon a model that serves one scanner's patients badly halts, and how often one that serves all alike does.

    python -m benchmarks.auto_halt

Simulated reviews by the policy that is shipped; judged after each one. Beside it what statistics allow: the number of
cases of a single look, planned by somebody who knows both rates and which scanner it is, and the fewest that any
sequential test takes on average.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.auto_halt_runs import Scenario, draw, halts, power_calculation, wald_bound
from benchmarks.provenance import describe_origin
from governance.monitoring.budget import comparison_shares
from governance.policy import GovernancePolicy
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text

MOST_FALSE_HALTS: Final = 0.05
POWER: Final = 0.8
_PLANTED: Final = ((0.3, 0.05, 0.35), (0.3, 0.05, 0.5), (0.5, 0.05, 0.35), (0.1, 0.05, 0.5), (0.3, 0.15, 0.5))
_UNBIASED: Final = ((0.3, 0.05, 0.05), (0.3, 0.15, 0.15), (0.1, 0.05, 0.05), (0.5, 0.25, 0.25))
_TOLERATED: Final = (0.3, 0.05, 0.15)
"""A gap of exactly the threshold."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 when what is asked for is not reached."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    policy, begun = parse_policy_text(default_policy_text()), time.perf_counter()
    planted = [
        halting(Scenario(*each, cases=options.cases, runs=options.runs, seed=options.seed + place), policy)
        for place, each in enumerate(_PLANTED)
    ]
    alike = [
        false_halts(
            Scenario(*each, cases=options.cases * 2 // 3, runs=options.unbiased, seed=options.seed + 100 + place),
            policy,
        )
        for place, each in enumerate(_UNBIASED)
    ]
    tolerated = false_halts(
        Scenario(*_TOLERATED, cases=options.cases * 2 // 3, runs=options.unbiased, seed=options.seed + 200), policy
    )
    results = {
        "what": "Automatic halts of a model, simulated reviews, judged after each by the policy that is shipped",
        "goal": {"false_halts_below": MOST_FALSE_HALTS},
        "passed": all(each["halted_share_high"] < MOST_FALSE_HALTS for each in alike),
        "planted_bias": planted,
        "unbiased": alike,
        "gap_of_exactly_the_threshold": tolerated,
        "seconds": round(time.perf_counter() - begun, 1),
        **describe_origin("benchmarks.auto_halt", words, threads=1, commit=options.commit),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    plot(results, options.out.with_suffix(".png"))
    print(json.dumps({name: results[name] for name in ("passed", "planted_bias", "unbiased", "seconds")}, indent=2))
    return 0 if results["passed"] else 1


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=400, help="hospitals of each planted bias")
    parser.add_argument("--unbiased", type=int, default=1000, help="hospitals of each unbiased model")
    parser.add_argument(
        "--cases", type=int, default=1200, help="reviewed cases of each; of an unbiased model two thirds"
    )
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results/auto-halt.json"))
    parser.add_argument("--commit", help="of the code, where there is no git")
    return parser.parse_args(words)


def halting(scenario: Scenario, policy: GovernancePolicy) -> dict[str, Any]:
    """After how many reviewed cases models with a planted bias halt, beside what statistics allow."""
    when = _all(scenario, policy)
    halted = when["any"] > 0
    # A model that never halted counts as later than all others.
    waited = np.sort(np.where(halted, when["any"], scenario.cases + 1))
    threshold, alpha = policy.fairness.bias_threshold, 1 - policy.fairness.confidence
    level = alpha * comparison_shares("site", 2)[0]
    return {
        "scenario": scenario.name,
        "share": scenario.share,
        "rejected": scenario.rejected,
        "degraded": scenario.degraded,
        "runs": scenario.runs,
        "halted_share": round(float(halted.mean()), 4),
        "cases": {f"{part}%": int(waited[int(np.ceil(part / 100 * len(waited))) - 1]) for part in (10, 50, 80, 90)},
        "mean_cases": round(float(waited.mean()), 1),
        "by_bias": int(((when["bias"] > 0) & (when["bias"] == when["any"])).sum()),
        "least_cases": {
            "fixed, one look, alpha 0.05, power 0.8": power_calculation(scenario, threshold, 0.05, POWER),
            "fixed, one look, alpha of this comparison, power 0.8": power_calculation(
                scenario, threshold, level, POWER
            ),
            "sequential, on average, alpha 0.05": round(wald_bound(scenario, threshold, 0.05), 1),
            "sequential, on average, alpha of this comparison": round(wald_bound(scenario, threshold, level), 1),
        },
        "waited": waited.tolist(),
    }


def false_halts(scenario: Scenario, policy: GovernancePolicy) -> dict[str, Any]:
    """How many models are halted within the scenario's cases, with Clopper and Pearson's interval."""
    from scipy.stats import beta

    when = _all(scenario, policy)
    number, runs = int((when["any"] > 0).sum()), scenario.runs
    low = float(beta.ppf(0.025, number, runs - number + 1)) if number else 0.0
    high = float(beta.ppf(0.975, number + 1, runs - number)) if number < runs else 1.0
    return {
        "scenario": scenario.name,
        "runs": runs,
        "cases": scenario.cases,
        "halted": number,
        "halted_share": round(number / runs, 4),
        "halted_share_low": round(low, 4),
        "halted_share_high": round(high, 4),
        "by_rule": {name: int((each > 0).sum()) for name, each in when.items() if name != "any"},
    }


def _all(scenario: Scenario, policy: GovernancePolicy) -> Mapping[str, Any]:
    parts = [halts(hospitals, policy) for hospitals in draw(scenario)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def plot(results: Mapping[str, Any], path: Path) -> None:
    """How many models have halted after so many reviews; and how many unbiased ones ever do."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    colours = ("#0072b2", "#d98c00", "#009e73", "#c04a00", "#9aa8b3")
    for colour, each in zip(colours, results["planted_bias"], strict=True):
        waited = np.array(each["waited"])
        left.step(
            waited, np.arange(1, len(waited) + 1) / len(waited), where="post", color=colour, label=each["scenario"]
        )
        least = each["least_cases"]["fixed, one look, alpha 0.05, power 0.8"]
        left.plot([least], [POWER], marker="o", color=colour, linestyle="none")
    left.set(xlim=(0, 1000), ylim=(0, 1.02), xlabel="reviewed cases", ylabel="share of models that have halted")
    left.set_title(
        "One scanner degraded: rejections there rise\n(dots: one look, planned by who knows the rates)", fontsize=10
    )
    left.legend(fontsize=8, frameon=False, loc="lower right")
    rows = [*results["unbiased"], results["gap_of_exactly_the_threshold"]]
    for place, each in enumerate(rows):
        right.plot([each["halted_share_low"], each["halted_share_high"]], [place] * 2, color="#0072b2")
        right.plot([each["halted_share"]], [place], "o", color="#0072b2")
    right.axvline(MOST_FALSE_HALTS, color="#c04a00", linestyle="--")
    right.set_yticks(range(len(rows)), [each["scenario"] for each in rows], fontsize=8)
    right.invert_yaxis()
    right.set(xlim=(0, 0.06), xlabel="share ever halted, with its 95 % interval")
    right.set_title(
        f"All alike (the last: a gap of exactly the threshold)\n{rows[0]['cases']} reviewed cases", fontsize=10
    )
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
