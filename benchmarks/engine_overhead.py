"""Time what a round costs without training: our agents and transport, and plain Flower, in the same run.

    python -m benchmarks.engine_overhead --json engine-overhead.json --plot engine-overhead.png

Ours is a masked round's five exchanges (join, share, train, unmask, evaluate) through the gateway; train and evaluate
carry the weights. Plain Flower is its FedAvg with flower-supernode as it ships: two exchanges a round, with the same
weights, sent back as they came. Both use TLS and node keys, with real processes on loopback. They take turns, so that
both meet the machine in the same state; figures are medians over the rounds. The load is what the machine did besides,
and belongs to the figures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flwr.cli.build import build_fab_from_files

from benchmarks.engine_overhead_parts import STAGES
from benchmarks.provenance import describe_origin
from federated.engine.app_bundle import app_digest, build_bundle
from federated.engine.control import Control
from federated.engine.gateway import Gateway
from federated.engine.loopback_certificate import write_loopback_certificate, write_secret
from federated.engine.superlink import Superlink
from federated.errors import EngineError

ROOT: Final = Path(__file__).parents[1]
OUR_APP: Final = "benchmarks.engine_overhead_parts:our_server"
GOALS_S: Final = {2: 3.0, 10: 10.0}
"""Seconds a round by sites."""
PLAIN_EXCHANGES: Final = 2
_PLAIN_PROJECT: Final = b"""\
[project]
name = "plain-flower"
version = "1.0.0"
description = "FedAvg without training"
license = "Apache-2.0"
[tool.flwr.app]
publisher = "qfl"
[tool.flwr.app.components]
serverapp = "plain:server"
clientapp = "plain:client"
[tool.flwr.app.config]
plan = ""
"""
_PLAIN_MODULE: Final = b"from benchmarks.engine_overhead_parts import plain_client as client, plain_server as server\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit code 1 when a goal is not reached."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parse(words)
    results = {}
    for sites in options.sites:
        results[str(sites)] = compare(sites, rounds=options.rounds, turns=options.turns, model_bytes=options.bytes)
    document = {
        **describe_origin("benchmarks.engine_overhead", words, threads=1, commit=options.commit),
        "flower": version("flwr"),
        "model_bytes": options.bytes,
        "exchanges": {"ours": len(STAGES), "plain": PLAIN_EXCHANGES},
        "sites": results,
    }
    text = json.dumps(document, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    if options.plot:
        draw(document, options.plot)
    return int(not all(result["reached"] is not False for result in results.values()))


def compare(sites: int, *, rounds: int, turns: int, model_bytes: int) -> dict[str, Any]:
    """Both engines with so many sites, in turns.

    Returns:
        {"ours": figures, "plain": figures, "goal_s": seconds or None, "reached": bool or None}.
    """
    lines: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
    loads: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(turns):
        for name, run in (("ours", run_ours), ("plain", run_plain)):
            with tempfile.TemporaryDirectory(prefix="qfl-engine-") as folder:
                # The first round of a run pays for connections and imports that later ones have.
                lines[name] += run(Path(folder), sites, rounds + 1, model_bytes)[1:]
            loads[name].append(round(os.getloadavg()[0], 1))
    figures = {name: {**_figures(found), "load": loads[name]} for name, found in lines.items()}
    goal = GOALS_S.get(sites)
    reached = None if goal is None else figures["ours"]["median_s"] < goal
    return {**figures, "goal_s": goal, "reached": reached}


def _figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seconds = [line["seconds"] for line in lines]
    found = {"median_s": round(median(seconds), 3), "rounds_s": [round(each, 3) for each in seconds]}
    if "stages" in lines[0]:
        found["stages_s"] = {stage: round(median(line["stages"][stage] for line in lines), 3) for stage in STAGES}
    return found


def run_ours(folder: Path, sites: int, rounds: int, model_bytes: int) -> list[dict[str, Any]]:
    """Rounds over our engine: a line for each."""
    keys = make_keys(folder, sites)
    files = write_loopback_certificate(folder)
    with ExitStack() as parts:
        superlink = parts.enter_context(Superlink(folder / "superlink", environment=_environment()))
        superlink.control.register(keys)
        gateway = Gateway(
            (superlink.address, superlink.ca),
            certificate=files.certificate,
            key=files.key,
            is_known=frozenset(keys.values()).__contains__,
            bells=superlink.bells,
        )
        parts.enter_context(gateway)
        address = f"127.0.0.1:{gateway.port}"
        for site in keys:
            words = [address, files.ca, folder / site, app_digest(OUR_APP), folder / f"{site}.number"]
            program = [sys.executable, "-m", "benchmarks.engine_overhead_parts", *map(str, words)]
            parts.enter_context(running(program, folder / f"{site}.log"))
        return work_off(superlink.control, build_bundle(OUR_APP), folder, keys, rounds, model_bytes)


def run_plain(folder: Path, sites: int, rounds: int, model_bytes: int) -> list[dict[str, Any]]:
    """Rounds over Flower as it ships: a line for each."""
    keys = make_keys(folder, sites)
    files = write_loopback_certificate(folder)
    superlink_port, *site_ports = _free_ports(sites + 1)
    programs = Path(sys.executable).parent
    home = {"FLWR_HOME": str(folder / "home")}
    with ExitStack() as parts:
        superlink = [
            *(programs / "flower-superlink", "--host", "127.0.0.1", "--port", superlink_port),
            *("--ssl-ca-certfile", files.ca, "--ssl-certfile", files.certificate, "--ssl-keyfile", files.key),
            *("--enable-supernode-auth", "--disable-runtime-dependency-installation"),
            *("--database", folder / "state.db"),
        ]
        parts.enter_context(running([str(word) for word in superlink], folder / "superlink.log", home))
        control = Control(f"127.0.0.1:{superlink_port}", files.ca)
        parts.callback(control.close)
        _register(control, keys)
        for site, port in zip(keys, site_ports, strict=True):
            supernode = [
                *(programs / "flower-supernode", "--root-certificates", files.ca),
                *("--superlink", f"127.0.0.1:{superlink_port}", "--host", "127.0.0.1", "--port", port),
                *("--auth-supernode-private-key", folder / site),
            ]
            parts.enter_context(running([str(word) for word in supernode], folder / f"{site}.log", home))
        bundle, _ = build_fab_from_files({"pyproject.toml": _PLAIN_PROJECT, "plain.py": _PLAIN_MODULE})
        return work_off(control, bundle, folder, keys, rounds, model_bytes)


def work_off(
    control: Control, bundle: bytes, folder: Path, keys: Mapping[str, bytes], rounds: int, model_bytes: int
) -> list[dict[str, Any]]:
    """Submit an app and wait for its end."""
    out, plan = folder / "lines.jsonl", folder / "plan.json"
    out.touch()
    named = {site: key.decode() for site, key in keys.items()}
    plan.write_text(json.dumps({"node_keys": named, "rounds": rounds, "bytes": model_bytes, "out": str(out)}))
    run = control.submit(bundle, {"plan": str(plan)})
    while not (status := control.status(run)).is_over:
        time.sleep(1)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    if len(lines) != rounds:
        raise EngineError(f"Expected {rounds} rounds, got {len(lines)}: {status.state} {status.details}")
    return lines


def _register(control: Control, keys: Mapping[str, bytes]) -> None:
    for _ in range(600):
        try:
            control.register(keys)
        except EngineError:
            time.sleep(0.2)
        else:
            return
    raise EngineError("Expected plain Flower to start within 2 minutes.")


@contextmanager
def running(program: Sequence[str], log: Path, more: Mapping[str, str] | None = None) -> Iterator[None]:
    """A process, and all that it starts, as long as the block lasts."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            program, stdout=output, stderr=output, env=_environment() | dict(more or {}), start_new_session=True
        )
    try:
        yield
    finally:
        family = [*psutil.Process(child.pid).children(recursive=True)] if child.poll() is None else []
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _, left = psutil.wait_procs(family, timeout=5)
        for process in left:
            process.kill()


def make_keys(folder: Path, sites: int) -> dict[str, bytes]:
    """A node key for each site, in a file of its name; public halves in PEM."""
    keys = {}
    for number in range(1, sites + 1):
        key = ec.generate_private_key(ec.SECP384R1())
        write_secret(folder / f"site-{number}", key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        keys[f"site-{number}"] = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return keys


def draw(document: Mapping[str, Any], file: Path) -> None:
    """Seconds a round, ours beside plain Flower's."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.8), layout="constrained")
    names, exchanges = list(document["sites"]), document["exchanges"]
    for shift, (name, title) in enumerate((("ours", "our agent and transport"), ("plain", "plain Flower"))):
        heights = [document["sites"][sites][name]["median_s"] for sites in names]
        places = [place + (shift - 0.5) * 0.38 for place in range(len(names))]
        bars = axes.bar(places, heights, 0.36, label=f"{title}, {exchanges[name]} exchanges a round")
        axes.bar_label(bars, fmt="%.1f s")
    goals = [(place, document["sites"][sites]["goal_s"]) for place, sites in enumerate(names)]
    for place, goal in goals:
        if goal is not None:
            axes.hlines(goal, place - 0.4, place, colors="black", linestyles="dashed")
            axes.annotate(f"goal {goal:g} s", (place - 0.4, goal), (0, 2), textcoords="offset points", fontsize="small")
    axes.set_xticks(range(len(names)), [f"{sites} sites" for sites in names])
    axes.set_ylabel("seconds a round, no training")
    figure.legend(loc="outside upper left", fontsize="small")
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _environment() -> dict[str, str]:
    programs = str(Path(sys.executable).parent)
    return os.environ | {
        "PATH": os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }


def _free_ports(count: int) -> list[int]:
    import socket

    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--rounds", type=int, default=5, help="measured in each turn")
    parser.add_argument("--turns", type=int, default=2, help="of either engine")
    parser.add_argument("--bytes", type=int, default=1 << 20, help="of the weights")
    parser.add_argument("--quick", action="store_true", help="2 sites, one turn of 3 rounds")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--commit", help="of the code, where there is no git")
    options = parser.parse_args(words)
    if options.quick:
        options.sites, options.rounds, options.turns = [2], 3, 1
    return options


if __name__ == "__main__":
    raise SystemExit(main())
