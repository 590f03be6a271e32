"""What benchmarks.engine_overhead starts: the coordinator's apps and a site's agent, all without training.

python -m benchmarks.engine_overhead_parts ADDRESS CA KEY DIGEST NUMBER_FILE
"""

import json
import signal
import struct
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from federated.engine.bells import Bells
from federated.engine.grid_transport import GridTransport
from federated.engine.site_connection import serve_site

STAGES: Final = ("join", "share", "train", "unmask", "evaluate")
CARRIES_MODEL: Final = {"train": (True, True), "evaluate": (True, False)}
"""Whether a stage's question and answer hold the weights; all else has SMALL_BYTES."""
SMALL_BYTES: Final = 10_000
_SIZE: Final = struct.Struct(">I")

our_server = ServerApp()
plain_server = ServerApp()
plain_client = ClientApp()


def read_plan(context: Context) -> dict[str, Any]:
    """What to do: {"node_keys": .., "rounds": .., "bytes": .., "out": file}."""
    plan: dict[str, Any] = json.loads(Path(str(context.run_config["plan"])).read_text(encoding="utf-8"))
    return plan


@our_server.main()
def our_main(grid: Grid, context: Context) -> None:
    """Rounds of five stages over our transport; a line of JSON for each."""
    plan = read_plan(context)
    keys = {site: key.encode() for site, key in plan["node_keys"].items()}
    transport = GridTransport(grid, keys, Bells(Path(str(context.run_config["bells"]))))
    while not transport.online() >= keys.keys():
        time.sleep(0.1)
    for _ in range(plan["rounds"]):
        began = time.monotonic()
        stages = {stage: _stage(transport, keys, stage, plan["bytes"]) for stage in STAGES}
        _note(plan["out"], {"seconds": time.monotonic() - began, "stages": stages})


def _stage(transport: GridTransport, sites: Mapping[str, bytes], stage: str, model_bytes: int) -> float:
    asks, answers = CARRIES_MODEL.get(stage, (False, False))
    question = _SIZE.pack(model_bytes if answers else SMALL_BYTES) + bytes(model_bytes if asks else SMALL_BYTES)
    began = time.monotonic()
    waiting = dict.fromkeys(sites, question)
    while waiting:
        transport.ask(waiting)
        for site in transport.answers():
            waiting.pop(site, None)
        time.sleep(0.03)
    return time.monotonic() - began


@plain_server.main()
def plain_main(grid: Grid, context: Context) -> None:
    """FedAvg as Flower ships it: a round is one exchange to train and one to evaluate."""
    plan = read_plan(context)
    sites = len(plan["node_keys"])
    last = time.monotonic()

    def note(server_round: int, _arrays: ArrayRecord) -> MetricRecord:
        nonlocal last
        before, last = last, time.monotonic()
        if server_round:
            _note(plan["out"], {"seconds": last - before})
        return MetricRecord({"loss": 0.0})

    while len(list(grid.get_node_ids())) < sites:
        time.sleep(0.1)
    # The strategy calls note after a round's training and before its evaluation: from one call to the next is a round.
    strategy = FedAvg(min_train_nodes=sites, min_evaluate_nodes=sites, min_available_nodes=sites)
    weights = ArrayRecord([np.zeros(plan["bytes"] // 4, np.float32)])
    strategy.start(grid=grid, initial_arrays=weights, num_rounds=plan["rounds"], evaluate_fn=note)


@plain_client.train()
def plain_train(message: Message, _context: Context) -> Message:
    """Send the weights back as they came."""
    content = RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, reply_to=message)


@plain_client.evaluate()
def plain_evaluate(message: Message, _context: Context) -> Message:
    """Figures of nothing."""
    return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1, "loss": 0.0})}), reply_to=message)


def _note(out: str, line: Mapping[str, Any]) -> None:
    with Path(out).open("a", encoding="utf-8") as lines:
        print(json.dumps(line), file=lines)


def main() -> None:
    """A site's agent that answers with as many bytes as it is asked for."""
    address, ca, key, digest, number_file = sys.argv[1:6]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def handle(question: bytes) -> bytes:
        return bytes(_SIZE.unpack_from(question)[0])

    serve_site(address, Path(ca), Path(key), digest, handle, stop.is_set, number_file=Path(number_file))


if __name__ == "__main__":
    main()
