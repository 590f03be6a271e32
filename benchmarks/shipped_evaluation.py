"""Write what ships beside the model of its evaluation, for the model card: the released arm's figures, and no case.

    python -m benchmarks.shipped_evaluation

Run it after benchmarks.evaluation. The file says which version was evaluated; a card of another version leaves the
figures out.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

FIGURES: Final = (("dice", "Dice", ""), ("hausdorff_95_mm", "Hausdorff 95, median case", "mm"), ("ece", "ECE", ""))
DIGITS: Final = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shipped_evaluation", description="Shorten for the card."
    )
    parser.add_argument("--evaluation", type=Path, default=Path("docs/results/model-evaluation.json"))
    parser.add_argument("--out", type=Path, default=Path("federated/weights/segmenter-evaluation.json"))
    options = parser.parse_args(arguments)
    found = shorten(json.loads(options.evaluation.read_text(encoding="utf-8")))
    options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{options.out}: {len(found['figures'])} figures of version {found['model'][:12]}")
    return 0


def shorten(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The released arm's figures by group of cases, with their intervals."""
    released, groups = evaluation["released"], evaluation["groups"]
    summary = evaluation["arms"][released["arm"]]["summary"]
    return {
        "v": 1,
        "model": released["version"],
        "what": f"{evaluation['what']}. Intervals: {evaluation['conventions']['interval']}.",
        "figures": [
            figure
            for group, regions in summary.items()
            for region, found in regions.items()
            for figure in _figures(groups[group], region, found)
        ],
        "remarks": list(evaluation.get("remarks", ())),
        "commit": evaluation["commit"],
        "command": evaluation["command"],
    }


def _figures(group: Mapping[str, Any], region: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for key, name, unit in FIGURES:
        if key not in found:
            continue
        median = key == "hausdorff_95_mm"
        low, high = (None, None) if median else found[key]["interval"]
        rows.append(
            {
                "group": group["title"],
                "name": f"{name}, {region.replace('-', ' ')}",
                "value": round(found[key]["median_case" if median else "mean"], DIGITS),
                "low": None if low is None else round(low, DIGITS),
                "high": None if high is None else round(high, DIGITS),
                "unit": unit,
                "cases": len(group["cases"]),
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
