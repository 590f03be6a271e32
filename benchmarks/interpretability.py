"""How well the released model can be explained, and what a reading by seven rules is worth beside black boxes.

    python -m benchmarks.interpretability

Two measurements:

- Local explanations: for each real subject and some phantoms of seen and unseen sites, LIME over supervoxels with its
  R2 on samples that it was not fitted to; the share of cases at or above the policy's bar is the interpretability
  score. On real subjects the attribution is also checked against random weights.
- Reading by rules: for the phantom's test cases and unseen sites, the model's own outlines are read by the rules, and
  by gradient boosting and logistic regression on the same four quantities (fitted, five folds in turn). The truth is
  the phantom's: "low grade" there means a tumour without an enhancing rim, and nothing else, so this says how well the
  outlines are read, and nothing of histology. Two of the real subjects are of low grade (TCGA-LGG).

What is finished in --work is not done again; the result file says how many cases it rests on.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.provenance import describe_origin
from benchmarks.work_folder import WorkFolder
from federated.cases import CaseSource, read_cohort, to_example
from federated.decision import decide
from federated.explanation.attribution import attribute, check_sanity
from federated.explanation.fidelity import LOCAL_FIDELITY, wilson_interval
from federated.explanation.fuzzy_reading import RULES, TumourFeatures, measure_features, read_features
from federated.explanation.lime_supervoxels import SAMPLES, explain_window
from federated.explanation.supervoxels import COUNT, cut_supervoxels
from federated.explanation.window import open_window, trained_network
from federated.inference import run_network
from federated.model_file import Model, load_model
from federated.phantom_sites import PhantomCase, phantom_cohort

Floats = npt.NDArray[np.float64]

COHORT_SEED: Final = 2026
LOW_GRADE_SUBJECTS: Final = ("Brats18_TCIA10_637_1", "Brats18_TCIA13_623_1")
"""Of TCGA-LGG; the others are of TCGA-GBM."""
FOLDS, REPEATS, RESAMPLES = 5, 5, 2000
NAMES: Final = ("volume_ml", "enhancing_ratio", "necrosis_share", "oedema_ratio")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interpretability", description="Measure explanations.")
    parser.add_argument("--model", type=Path, default=Path("federated/weights"))
    parser.add_argument("--data", type=Path, default=Path("sandbox/data/brats_tcga_2mm"))
    parser.add_argument("--work", type=Path, default=Path("build/interpretability"))
    parser.add_argument("--phantoms", type=int, default=10, help="explained, half of them of unseen sites")
    parser.add_argument("--readings", type=int, default=40, help="phantoms whose outlines are read")
    parser.add_argument("--summary", action="store_true", help="only sum up what is finished")
    parser.add_argument("--out", type=Path, default=Path("docs/results/interpretability.json"))
    parser.add_argument("--commit", default=None, help="commit of the code, where there is no git to ask")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    model, identity = load_model(options.model)
    folder = WorkFolder(options.work)
    settings = {"model": identity.version, "samples": SAMPLES, "supervoxels": COUNT, "seed": 0}
    phantoms = _interleaved(phantom_cohort(COHORT_SEED, split="test"), phantom_cohort(COHORT_SEED, split="unseen"))
    real = [] if not options.data.is_dir() else list(read_cohort(options.data))
    explained: list[tuple[str, CaseSource]] = [("real", source) for source in real]
    explained += [(case.split.value, case) for case in phantoms[: options.phantoms]]
    readings: list[CaseSource] = [*real, *_spread(phantoms, options.readings)]
    if not options.summary:
        _work(folder, settings, model, explained, readings)
    found = summarise(folder, settings, explained, readings)
    asked = [word for word in words if word != "--summary"]
    found |= describe_origin("benchmarks.interpretability", asked, threads=1, commit=options.commit)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(found, options.out.with_suffix(".png"))
    print(json.dumps({name: found[name] for name in ("local_explanations", "reading")}, indent=1)[:4000])
    return 0


def _work(
    folder: WorkFolder,
    settings: Mapping[str, Any],
    model: Model,
    explained: Sequence[tuple[str, CaseSource]],
    readings: Sequence[CaseSource],
) -> None:
    network = trained_network(model)
    for source in readings:
        _piece(folder, f"reading-{source.name}", settings, lambda: _read(model, network, source))  # noqa: B023
    for group, source in explained:
        _piece(folder, f"local-{source.name}", settings, lambda: _explain(model, network, group, source))  # noqa: B023


def _piece(folder: WorkFolder, name: str, settings: Mapping[str, Any], do: Any) -> None:
    with folder.claim(name) as is_mine:
        if is_mine and folder.result(name, settings) is None:
            folder.save(name, settings, do())
            print(f"{name} done", flush=True)


def _explain(model: Model, network: torch.nn.Module, group: str, source: CaseSource) -> dict[str, Any]:
    example = to_example(source.read(), model.preprocessing)
    began, clock = time.process_time(), time.monotonic()
    window = open_window(model, network, example.model_input)
    pieces = cut_supervoxels(window)
    local = explain_window(window, pieces, samples=SAMPLES, seed=0)
    found: dict[str, Any] = {
        "case": source.name,
        "group": group,
        "r2_held_out": local.r2_held_out,
        "r2_fitted": local.r2,
        "supervoxels": pieces.count,
        "outlined": window.outlined,
        "answer": local.answer,
        "answer_whole_head": window.answer_whole_head,
        "cpu_seconds": time.process_time() - began,
        "seconds": time.monotonic() - clock,
    }
    if group == "real":
        attribution, check = attribute(window), check_sanity(model, window, example.model_input, shares=(1.0,))
        last = check.stages[-1]
        found["attribution_gap"] = attribution.gap
        found["sanity"] = {**vars(last), "passed": check.passed}
    return found


def _read(model: Model, network: torch.nn.Module, source: CaseSource) -> dict[str, Any]:
    case = source.read()
    example = to_example(case, model.preprocessing)
    voxel_ml = float(np.prod(example.model_input.grid.spacing_mm)) / 1000
    with torch.inference_mode():
        logits = run_network(network, torch.from_numpy(example.model_input.channels), model.network.stride)
    temperatures = torch.tensor(model.decision.temperatures)[:, None, None, None]
    labels = decide((logits / temperatures).sigmoid().numpy() * example.model_input.head, voxel_ml, model.decision)
    phantom = source if isinstance(source, PhantomCase) else None
    low = phantom.low_grade if phantom else source.name in LOW_GRADE_SUBJECTS
    return {
        "case": source.name,
        "group": phantom.split.value if phantom else "real",
        "low_grade": low,
        "outlined": _features(measure_features(labels, voxel_ml)),
        "drawn": _features(measure_features(example.labels, voxel_ml)),
    }


def _features(found: TumourFeatures | None) -> dict[str, float] | None:
    return None if found is None else dict(vars(found))


def summarise(
    folder: WorkFolder,
    settings: Mapping[str, Any],
    explained: Sequence[tuple[str, CaseSource]],
    readings: Sequence[CaseSource],
) -> dict[str, Any]:
    """What is finished, in figures."""
    local = _finished(folder, settings, [f"local-{source.name}" for _, source in explained])
    read = _finished(folder, settings, [f"reading-{source.name}" for source in readings])
    return {
        "schema": 1,
        "model": settings["model"],
        "local_explanations": _local_summary(local) if local else None,
        "reading": _reading_summary(read) if read else None,
        "cases": local,
        "readings": read,
    }


def _finished(folder: WorkFolder, settings: Mapping[str, Any], names: Iterable[str]) -> list[dict[str, Any]]:
    found = [folder.result(name, settings) for name in names]
    return [{key: each[key] for key in each if key != "settings"} for each in found if each is not None]


def _local_summary(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def share(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        r2 = [row["r2_held_out"] for row in rows]
        faithful = sum(value >= LOCAL_FIDELITY for value in r2)
        return {
            "cases": len(rows),
            "share_explained": faithful / len(rows),
            "interval": list(wilson_interval(faithful, len(rows))),
            "median_r2": float(np.median(r2)),
            "lowest_r2": float(np.min(r2)),
        }

    checks = [row["sanity"] for row in cases if "sanity" in row]
    return {
        "bar": LOCAL_FIDELITY,
        "samples": SAMPLES,
        "all": share(cases),
        **{
            group: share([row for row in cases if row["group"] == group])
            for group in dict.fromkeys(row["group"] for row in cases)
        },
        "cpu_seconds_median": float(np.median([row["cpu_seconds"] for row in cases])),
        "cpu_seconds_most": float(np.max([row["cpu_seconds"] for row in cases])),
        "largest_difference_of_window_and_head": float(
            np.max([abs(row["answer"] - row["answer_whole_head"]) for row in cases])
        ),
        "sanity_passed": [sum(check["passed"] for check in checks), len(checks)],
    }


def _reading_summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    phantoms = [row for row in rows if row["group"] != "real"]
    outlined = [row for row in phantoms if row["outlined"] is not None]
    real = [row for row in rows if row["group"] == "real" and row["outlined"] is not None]
    truth = np.array([not row["low_grade"] for row in outlined])
    scores = {"rules": _rule_scores(outlined, "outlined")}
    table, high = np.array([[row["outlined"][name] for name in NAMES] for row in outlined]), int(truth.sum())
    black_boxes: dict[str, Any] = {}
    if min(high, len(truth) - high) >= FOLDS:
        boosting, logistic = _boosting(table, truth), _logistic(table, truth)
        scores |= {"gradient boosting": boosting["scores"], "logistic regression": logistic}
        black_boxes = boosting["interpretability"]
    drawn = [row for row in phantoms if row["drawn"] is not None]
    return {
        "what": "high grade (an enhancing rim) against low grade, on the phantom, from the model's outlines",
        "cases": len(phantoms),
        "nothing_outlined": len(phantoms) - len(outlined),
        "high_grade": high,
        "accuracy": {name: _accuracy(found, truth) for name, found in scores.items()},
        "rules_on_drawn_outlines": _accuracy(
            _rule_scores(drawn, "drawn"), np.array([not row["low_grade"] for row in drawn])
        ),
        "interpretability": {
            "rules": {
                "rules": RULES,
                "inputs": len(NAMES),
                "fitted": False,
                "fidelity": 1.0,
                "why": "what is shown is what decides",
            },
            **black_boxes,
        },
        "real": [
            {
                "case": row["case"],
                "low_grade": row["low_grade"],
                "score": read_features(TumourFeatures(**row["outlined"])).score,
            }
            for row in real
        ],
    }


def _rule_scores(rows: Sequence[Mapping[str, Any]], which: str) -> Floats:
    return np.array([read_features(TumourFeatures(**row[which])).score for row in rows])


def _boosting(table: Floats, truth: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Out-of-fold probabilities, and how well a tree of as many leaves as there are rules mimics the black box."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.metrics import r2_score
    from sklearn.tree import DecisionTreeRegressor

    scores, mimicked, leaves = np.zeros(len(truth)), np.zeros(len(truth)), []
    for inside, outside in _folds(truth):
        box = GradientBoostingClassifier(random_state=0).fit(table[inside], truth[inside])
        scores[outside] += box.predict_proba(table[outside])[:, 1] / REPEATS
        tree = DecisionTreeRegressor(max_leaf_nodes=RULES, random_state=0)
        tree.fit(table[inside], box.predict_proba(table[inside])[:, 1])
        mimicked[outside] += tree.predict(table[outside]) / REPEATS
        leaves.append(sum(each[0].get_n_leaves() for each in box.estimators_))
    facts = {
        "rules": int(np.median(leaves)),
        "inputs": len(NAMES),
        "fitted": True,
        "fidelity": float(r2_score(scores, mimicked)),
        "why": f"R2 of a tree of {RULES} leaves that mimics it, on cases that neither was fitted to",
    }
    return {"scores": scores, "interpretability": {"gradient boosting": facts}}


def _logistic(table: Floats, truth: npt.NDArray[np.bool_]) -> Floats:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.zeros(len(truth))
    for inside, outside in _folds(truth):
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.log1p(table[inside]), truth[inside])
        scores[outside] += model.predict_proba(np.log1p(table[outside]))[:, 1] / REPEATS
    return scores


def _folds(truth: npt.NDArray[np.bool_]) -> Any:
    from sklearn.model_selection import RepeatedStratifiedKFold

    return RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=0).split(truth, truth)


def _accuracy(scores: Floats, truth: npt.NDArray[np.bool_]) -> dict[str, Any]:
    right = (scores >= 0.5) == truth
    rng, balanced = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(truth), len(truth))
        if 0 < truth[drawn].sum() < len(drawn):
            balanced.append(_balanced(right[drawn], truth[drawn]))
    low, high = wilson_interval(int(right.sum()), len(right))
    return {
        "accuracy": float(right.mean()),
        "interval": [low, high],
        "balanced_accuracy": _balanced(right, truth),
        "balanced_interval": [float(np.percentile(balanced, each)) for each in (2.5, 97.5)],
        "brier": float(np.mean((scores - truth) ** 2)),
        "cases": len(truth),
    }


def _balanced(right: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    return float((right[truth].mean() + right[~truth].mean()) / 2)


def _interleaved(first: Sequence[PhantomCase], second: Sequence[PhantomCase]) -> list[PhantomCase]:
    """Of both kinds in turn; of the first, a case of each site before a second one of any."""
    by_site = sorted(first, key=lambda case: (case.index, case.site.name))
    others = sorted(second, key=lambda case: (case.index, case.site.name))
    pairs = [each for pair in zip(by_site, others, strict=False) for each in pair]
    return [*pairs, *by_site[len(others) :]]


def _spread(cases: Sequence[PhantomCase], count: int) -> list[PhantomCase]:
    return list(cases[:count])


def draw(found: Mapping[str, Any], path: Path) -> None:
    """The plot: R2 of each case, and the accuracies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    groups = {"real": "real subjects", "test": "phantom, seen sites", "unseen": "phantom, unseen sites"}
    rng = np.random.default_rng(0)
    for place, (group, title) in enumerate(groups.items()):
        values = [row["r2_held_out"] for row in found["cases"] if row["group"] == group]
        left.scatter(
            place + rng.uniform(-0.12, 0.12, len(values)), values, s=28, alpha=0.8, label=f"{title}: {len(values)}"
        )
    left.axhline(LOCAL_FIDELITY, color="0.4", linestyle="--", linewidth=1)
    left.set_xticks(range(len(groups)), groups.values())
    left.set_xlim(-0.5, len(groups) - 0.5)
    left.set_ylabel("R2 on samples it was not fitted to")
    left.set_ylim(min(0.0, *(row["r2_held_out"] for row in found["cases"])) - 0.02, 1.02)
    everything = found["local_explanations"]["all"]
    low, high = everything["interval"]
    left.set_title(
        f"Local explanations: {everything['share_explained']:.0%} of {everything['cases']} cases at {LOCAL_FIDELITY} "
        f"or more\n(95 % interval {low:.0%} to {high:.0%})",
        fontsize=10,
    )
    rows = (found["reading"] or {}).get("accuracy", {})
    for place, each in enumerate(rows.values()):
        low, high = each["balanced_interval"]
        middle = each["balanced_accuracy"]
        right.errorbar(place, middle, [[middle - low], [high - middle]], fmt="o", capsize=4)
    right.set_xticks(range(len(rows)), [_described(name, found["reading"]) for name in rows])
    right.set_xlim(-0.5, len(rows) - 0.5)
    right.axhline(0.5, color="0.4", linestyle=":", linewidth=1)
    right.set_ylim(0.4, 1.02)
    right.set_ylabel("balanced accuracy")
    right.set_title(
        "Enhancing rim or none, from the model's outlines (phantom)\nwith 95 % bootstrap intervals", fontsize=10
    )
    figure.savefig(path, dpi=110)


def _described(name: str, reading: Mapping[str, Any]) -> str:
    facts = reading["interpretability"].get(name)
    if facts is None:
        return name
    return f"{name}\n{facts['rules']} {'rules' if name == 'rules' else 'leaves'}, fidelity {facts['fidelity']:.2f}"


if __name__ == "__main__":
    sys.exit(main())
