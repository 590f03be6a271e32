"""A ServerApp without federated rounds: it asks every site the same bytes, so often, and notes what came back."""

import hashlib
import json
import os
import time
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federated.engine.bells import Bells
from federated.engine.grid_transport import GridTransport
from federated.errors import EngineError

server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Work a plan off: sites, questions, size; write a line of JSON for each question that all have answered."""
    plan = json.loads(Path(str(context.run_config["plan"])).read_text())
    keys = {site: key.encode() for site, key in plan["node_keys"].items()}
    bells = Bells(Path(str(context.run_config["bells"])))
    transport = GridTransport(grid, keys, bells, ttl_s=plan.get("ttl_s", 60.0), again_s=plan.get("again_s", 3.0))
    with Path(plan["out"]).open("a", encoding="utf-8") as out:
        _wait_for(transport, frozenset(keys))
        for number in range(plan["questions"]):
            question = number.to_bytes(4, "big") + os.urandom(plan["bytes"])
            began = time.monotonic()
            answers = _ask_all(transport, dict.fromkeys(keys, question))
            line = {
                "number": number,
                "seconds": time.monotonic() - began,
                "pid": os.getpid(),
                "question": hashlib.sha256(question).hexdigest(),
                "answers": {site: answer[:8].hex() for site, answer in answers.items()},
                "digests": {site: hashlib.sha256(answer[8:]).hexdigest() for site, answer in answers.items()},
                "nodes": {str(node.node_id): node.public_key.decode() for node in grid.get_nodes()},
            }
            print(json.dumps(line), file=out, flush=True)
            time.sleep(plan.get("pause_s", 0))


def _wait_for(transport: GridTransport, sites: frozenset[str]) -> None:
    while not transport.online() >= sites:
        time.sleep(0.1)


def _ask_all(transport: GridTransport, questions: dict[str, bytes]) -> dict[str, bytes]:
    answers: dict[str, bytes] = {}
    while missing := questions.keys() - answers.keys():
        try:
            transport.ask({site: questions[site] for site in missing})
            until = time.monotonic() + 1
            while time.monotonic() < until and questions.keys() - answers.keys():
                answers |= transport.answers()
                time.sleep(0.05)
        except EngineError:
            time.sleep(0.2)
    return answers
