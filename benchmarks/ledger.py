"""Durable appends, full verification and proofs of the ledger, beside pymerkle and a plain SQL hash chain in one run.

    python -m benchmarks.ledger

One entry at a time: each is synced to disk before its call returns; ours is called by several threads at once and
shares commits among them, the others have one writer. In batches: 1,000 entries a commit. Verification is of all
entries, from their bytes on; ours also reads what each says and checks signatures. Figures are of wall-clock time; the
CPU time of this process stands beside them, since other work on the machine lengthens the former only.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.ledger_contenders import Contender, HashChain, Ours, Pymerkle, same_root
from benchmarks.provenance import describe_origin

APPENDS_A_SECOND: Final = 2_000
VERIFY_S: Final = 60.0
PROOF_CHECK_MS: Final = 1.0
"""What is asked for; the verification at a million entries."""
_BATCH: Final = 1_000
_ROOT_LEAVES: Final = 20_000
_COLOURS: Final = {"ours": "#3b6fb6", "pymerkle": "#8a8a8a", "SQL hash chain": "#c9c9c9"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 when what is asked for is not reached."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    if options.quick:
        options.entries, options.appends, options.slow_appends, options.proofs = 3_000, 300, 20, 20
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="ledger-benchmark-") as folder:
        runs, skipped = measure(Path(folder), options)
    passed = judge(runs["ours"])
    results = {
        "what": "Ledgers in SQLite (WAL, synchronous FULL): durable appends, verification of all entries, proofs",
        "entries": options.entries,
        "writers": options.writers,
        "goals": {"appends_a_second": APPENDS_A_SECOND, "verify_s": VERIFY_S, "proof_check_ms": PROOF_CHECK_MS},
        "passed": passed,
        "skipped": skipped,
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "runs": runs,
        **describe_origin("benchmarks.ledger", words, threads=1, commit=options.commit),
    }
    results["software"] |= {name: _version(name) for name in ("cryptography", "sqlalchemy", "pymerkle")}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    draw(results, options.out.with_suffix(".png"))
    print(json.dumps({"passed": passed, "skipped": skipped, "runs": runs}, indent=2))
    return 0 if options.quick or all(passed.values()) else 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description="Speed of the ledger.")
    parser.add_argument("--entries", type=int, default=1_000_000, help="that are verified")
    parser.add_argument("--appends", type=int, default=20_000, help="one at a time, ours")
    parser.add_argument("--slow-appends", type=int, default=1_000, help="one at a time, the others")
    parser.add_argument("--writers", type=int, default=128, help="threads that append to ours at once")
    parser.add_argument("--proofs", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk that is to be measured")
    parser.add_argument("--quick", action="store_true", help="a small ledger, to see that it works")
    parser.add_argument("--out", type=Path, default=Path("docs/results/ledger.json"))
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    return parser.parse_args(arguments)


def measure(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures by contender, and why a contender was left out."""
    makers: dict[str, Callable[[Path, int], Contender]] = {"ours": Ours, "SQL hash chain": HashChain}
    skipped = {}
    if _version("pymerkle"):
        makers["pymerkle"] = Pymerkle
    else:
        skipped["pymerkle"] = "not installed; `pip install .[bench]` brings it"
    contenders = {name: maker(folder, options.writers) for name, maker in makers.items()}
    runs = {name: _measure_one(each, options) for name, each in contenders.items()}
    if "pymerkle" in contenders:
        few = Ours(_subfolder(folder), options.writers)
        few.append_many(range(min(_ROOT_LEAVES, options.entries)))
        runs["pymerkle"]["computes_our_root"] = same_root(few, contenders["pymerkle"])  # type: ignore[arg-type]
        few.close()
    for each in contenders.values():
        each.close()
    return runs, skipped


def _measure_one(contender: Contender, options: argparse.Namespace) -> dict[str, Any]:
    singles = options.appends if contender.name == "ours" else options.slow_appends
    each = _timed(lambda: contender.append_each(range(singles)))
    many = _timed(lambda: _fill(contender, range(singles, max(options.entries, singles + _BATCH))))
    total = max(options.entries, singles + _BATCH)
    signed = _timed(contender.sign)
    checked = 0

    def verify() -> None:
        nonlocal checked
        checked = contender.verify()

    verified = _timed(verify)
    found: dict[str, Any] = {
        "appends_a_second": round(singles / each["wall_s"], 1),
        "batch_appends_a_second": round((total - singles) / many["wall_s"], 1),
        "sign_s": round(signed["wall_s"], 4),
        "verify_s": round(verified["wall_s"], 2),
        "verify_cpu_s": round(verified["cpu_s"], 2),
        "verified": checked,
        "verify_s_a_million": round(verified["wall_s"] / checked * 1e6, 2),
    }
    return {**found, **_proofs(contender, checked, options.proofs)}


def _fill(contender: Contender, numbers: range) -> None:
    for start in range(numbers.start, numbers.stop, _BATCH):
        contender.append_many(range(start, min(start + _BATCH, numbers.stop)))


def _proofs(contender: Contender, size: int, count: int) -> dict[str, Any]:
    draw_place = random.Random(0)  # the same places for all
    timed = [contender.prove(draw_place.randrange(size)) for _ in range(count)]
    proofs = [each for each in timed if each is not None]
    if not proofs:
        return {"proof_check_ms": None}
    return {
        "proof_make_ms": round(1e3 * median(made for made, _, _ in proofs), 4),
        "proof_check_ms": round(1e3 * median(checked for _, checked, _ in proofs), 4),
        "proof_hashes": max(length for _, _, length in proofs),
    }


def _timed(work: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def judge(ours: Mapping[str, Any]) -> dict[str, bool]:
    """Which goals are reached; the verification's is scaled where it was of another number of entries."""
    return {
        "appends_a_second": ours["appends_a_second"] >= APPENDS_A_SECOND,
        "verify_s": ours["verify_s_a_million"] < VERIFY_S,
        "proof_check_ms": ours["proof_check_ms"] < PROOF_CHECK_MS,
    }


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Bars by contender: appends, verification, the check of a proof, each beside its goal."""
    from matplotlib.figure import Figure

    runs = results["runs"]
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    panels = (
        ("appends_a_second", "durable appends a second, one at a time", APPENDS_A_SECOND),
        ("verify_s_a_million", "full verification of a million entries, s", VERIFY_S),
        ("proof_check_ms", "check of an inclusion proof, ms", PROOF_CHECK_MS),
    )
    for axes, (figure_name, title, goal) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        values = [runs[name][figure_name] for name in runs]
        bars = axes.barh(range(len(runs)), [value or 0 for value in values], color=[_COLOURS[name] for name in runs])
        axes.bar_label(bars, ["no proofs" if value is None else f"{value:,.3g}" for value in values], padding=3)
        axes.axvline(goal, color="#b03a2e", linestyle="--", linewidth=1)
        axes.set_yticks(range(len(runs)), list(runs) if figure_name == "appends_a_second" else [""] * len(runs))
        axes.invert_yaxis()
        axes.margins(x=0.2)
        axes.set_title(f"{title}\n(goal for ours: {goal:,g})", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Ledgers in SQLite, {results['entries']:,} entries", fontsize=11)
    figure.savefig(path, dpi=120)


def _subfolder(folder: Path) -> Path:
    found = folder / "root"
    found.mkdir()
    return found


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
