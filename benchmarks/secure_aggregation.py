"""Cost of a masked sum: CPU of a site and of the coordinator, bytes of a site, beside Flower's SecAgg+.

    python -m benchmarks.secure_aggregation

Both protocols sum the same updates in the same process, in turns, and medians are compared. Ours: fresh post-quantum
keys, shares, masks, statements, and the sealing of the update; the site's identity exists beforehand. Flower's: its
four stages (see benchmarks.flower_secagg), which neither sign nor seal. Plain bytes are four a number, each way.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.masking_run import make_updates, site_names
from benchmarks.our_masking import run_ours
from benchmarks.provenance import describe_origin
from federated.secure_aggregation.parties import default_threshold

SITE_CPU_S: Final = 2.0
BYTES_RATIO: Final = 1.2
"""What is asked for, at 1,000,000 parameters and ten sites."""
LABELS: Final = {"ours": "ours", "ours-8-bit": "ours, 8-bit numbers", "flower": "Flower SecAgg+"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 when what is asked for is not reached."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    parameters, sites = (2000, 4) if options.quick else (options.parameters, options.sites)
    threshold = default_threshold(sites)
    dropouts = (0, min(3, sites - threshold))
    found = measure(parameters, sites, threshold, dropouts, options.repeats)
    passed = judge(found["runs"], dropouts)
    results = {
        "what": "A masked sum; medians over repeats of the largest value over the sites that stayed",
        "parameters": parameters,
        "sites": sites,
        "threshold": threshold,
        "plain_bytes": 4 * parameters,
        "goals": {"site_cpu_s": SITE_CPU_S, "bytes_ratio": BYTES_RATIO},
        "passed": passed,
        **found,
        **describe_origin("benchmarks.secure_aggregation", words, threads=1, commit=options.commit),
    }
    results["software"] |= {name: version(name) for name in ("cryptography", "flwr")}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    draw(results, options.out.with_suffix(".png"))
    print(json.dumps({"passed": passed, "runs": found["runs"]}, indent=2))
    return 0 if options.quick or all(passed.values()) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.secure_aggregation", description="Cost of a masked sum."
    )
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--sites", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small sum, to see that it works")
    parser.add_argument("--out", type=Path, default=Path("docs/results/secure-aggregation.json"))
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    return parser.parse_args(arguments)


def measure(parameters: int, sites: int, threshold: int, dropouts: Sequence[int], repeats: int) -> dict[str, Any]:
    """Medians of each protocol's costs, by protocol and number of dropouts; and each turn's."""
    from benchmarks.flower_secagg import run_flower

    updates = make_updates(sites, parameters)
    turns = []
    for turn in range(repeats):
        for number in dropouts:
            dropped = site_names(sites)[:number]
            costs = {
                "ours": run_ours(updates, threshold, dropped),
                "ours-8-bit": run_ours(updates, threshold, dropped, bits=8),
                "flower": run_flower(updates, threshold, dropped),
            }
            for name, run in costs.items():
                turns.append({"protocol": name, "dropouts": number, "turn": turn, **run.costs(dropped)})
                print(turns[-1], file=sys.stderr, flush=True)
    runs = {
        name: {str(number): _summarise(turns, name, number, 4 * parameters) for number in dropouts} for name in LABELS
    }
    return {"runs": runs, "turns": turns}


def _summarise(turns: Sequence[Mapping[str, Any]], name: str, dropouts: int, plain: int) -> dict[str, float]:
    mine = [turn for turn in turns if turn["protocol"] == name and turn["dropouts"] == dropouts]
    costs = ("site_cpu_s", "coordinator_cpu_s", "bytes_up", "bytes_down", "error")
    summary: dict[str, float] = {cost: median(turn[cost] for turn in mine) for cost in costs}
    up, down = summary["bytes_up"], summary["bytes_down"]
    return {
        **summary,
        "up_ratio": round(up / plain, 4),
        "both_ways_ratio": round((up + plain + down) / (2 * plain), 4),  # the model itself comes down as well
    }


def judge(runs: Mapping[str, Any], dropouts: Sequence[int]) -> dict[str, bool]:
    """Which goals our protocol reaches, with the full 32 bits and at any number of dropouts."""
    ours = [runs["ours"][str(number)] for number in dropouts]
    return {
        "site_cpu_s": all(run["site_cpu_s"] <= SITE_CPU_S for run in ours),
        "bytes_up": all(run["up_ratio"] <= BYTES_RATIO for run in ours),
        "bytes_both_ways": all(run["both_ways_ratio"] <= BYTES_RATIO for run in ours),
    }


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Bars by protocol: CPU of a site and of the coordinator, bytes over plain bytes."""
    from matplotlib.figure import Figure

    runs, sites = results["runs"], results["sites"]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = (
        ("site_cpu_s", 1000, f"CPU of one site, ms (goal: at most {1000 * SITE_CPU_S:,.0f})"),
        ("coordinator_cpu_s", 1000, "CPU of the coordinator, ms"),
        ("up_ratio", 1, "bytes a site sends, over plain float32"),
    )
    for axes, (cost, scale, title) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for place, (number, colour) in enumerate(zip(runs["ours"], ("#3b6fb6", "#a9c3e6"), strict=True)):
            values = [scale * runs[name][number][cost] for name in LABELS]
            rows = [row + 0.4 * place - 0.2 for row in range(len(LABELS))]
            label = f"{number} of {sites} sites drop out" if cost == "site_cpu_s" else None
            bars = axes.barh(rows, values, height=0.36, color=colour, label=label)
            numbers = axes.bar_label(bars, [f"{value:.3g}" for value in values], padding=3, fontsize=8)
            for number_text in numbers:
                number_text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
        axes.set_yticks(range(len(LABELS)), list(LABELS.values()) if cost == "site_cpu_s" else [""] * len(LABELS))
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[-1].axvline(
        BYTES_RATIO, color="#b03a2e", linestyle="--", linewidth=1, label=f"goal for ours: at most {BYTES_RATIO:g}"
    )
    figure.legend(fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"One masked sum of {results['parameters']:,} numbers from {sites} sites", fontsize=11)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())
