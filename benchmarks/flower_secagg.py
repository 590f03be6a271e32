"""Flower's SecAgg+ (flwr 1.41: SecAggPlusWorkflow, secaggplus_mod) in one process, without its network.

Its four stages run as they are: the workflow as the coordinator, the mod around a client app at each site. Only the
transport is replaced: a message is handed to the site's app, and bytes are those of Flower's own protobuf message. The
full graph is used, which is plain SecAgg: every site shares with every other, as in our protocol.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Context, Error, Message, RecordDict
from flwr.client import NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import ConfigRecord, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.common.serde import recorddict_to_proto
from flwr.compat.common.recorddict_compat import arrayrecord_to_parameters, parameters_to_arrayrecord
from flwr.server import LegacyContext, ServerConfig
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from benchmarks.masking_run import CLIP, COORDINATOR, HARNESS, Run, Update, exact_mean

RUN_ID = 1


class _Site(NumPyClient):
    """Training that takes no time."""

    def __init__(self, update: Update) -> None:
        self._update = update

    def fit(self, parameters: Any, config: Any) -> Any:  # noqa: ARG002
        return [self._update], 1, {}


class _LocalGrid(Grid):
    """Hands each message to the site's app in this process, and measures both sides."""

    def __init__(self, sites: dict[int, tuple[str, ClientApp, Context]], dropped: Sequence[str], run: Run) -> None:
        self._sites, self._dropped, self._run, self._answers = sites, dropped, run, {}  # type: ignore[var-annotated]

    def set_run(self, run: Any) -> None:
        """There is one run only."""

    @property
    def run(self) -> Any:
        return type("OneRun", (), {"run_id": RUN_ID})()

    def create_message(self, *_: Any, **__: Any) -> Message:
        raise NotImplementedError("SecAgg+ makes its messages itself.")

    def get_node_ids(self) -> Iterable[int]:
        return list(self._sites)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._answers.pop(each) for each in list(message_ids)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:  # noqa: ARG002
        return self.pull_messages(self.push_messages(messages))

    def _push(self, message: Message) -> str:
        with self._run.charge(HARNESS):
            return self._deliver(message)

    def _deliver(self, message: Message) -> str:
        name, app, context = self._sites[message.metadata.dst_node_id]
        stage = message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
        sent = recorddict_to_proto(message.content)
        model = sum(array.numpy().nbytes for each in message.content.array_records.values() for array in each.values())
        self._run.got(name, sent.ByteSize() - model)
        received = Message(_copy(message.content), message.metadata.dst_node_id, message.metadata.message_type)
        received.metadata.__dict__.update({"_run_id": RUN_ID, "_message_id": received.object_id})
        if name in self._dropped and stage == Stage.COLLECT_MASKED_VECTORS:
            answer = Message(Error(code=0, reason="dropped out"), reply_to=received)
        else:
            with self._run.charge(name):
                answer = app(message=received, context=context)
            self._run.sent(name, recorddict_to_proto(answer.content).ByteSize())
        self._answers[received.metadata.message_id] = answer
        return received.metadata.message_id


def _copy(content: RecordDict) -> RecordDict:
    """Sites take stages out of the records that they get; the workflow sends one object to all."""
    configs = {name: ConfigRecord(dict(record)) for name, record in content.config_records.items()}
    return RecordDict({**configs, **content.array_records, **content.metric_records})


def run_flower(updates: Mapping[str, Update], threshold: int, dropped: Sequence[str]) -> Run:
    """One round of SecAgg+ over these updates; the dropped sites leave before they send their vector.

    Raises:
        RuntimeError: The workflow gave up.
    """
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, RUN_ID, 1
    run = Run()
    sites = {number: _site(number, name, update) for number, (name, update) in enumerate(updates.items(), 1)}
    grid = _LocalGrid(sites, dropped, run)
    workflow = SecAggPlusWorkflow(1.0, threshold / len(sites), max_weight=float(len(sites)), clipping_range=CLIP)
    context = _context(grid, next(iter(updates.values())))
    with run.charge(COORDINATOR):
        workflow(grid, context)
    found = parameters_to_ndarrays(arrayrecord_to_parameters(context.state.array_records[MAIN_PARAMS_RECORD], True))[0]
    run.error = float(np.abs(found - exact_mean(updates, dropped)).max() / CLIP)
    return run


def _site(number: int, name: str, update: Update) -> tuple[str, ClientApp, Context]:
    app = ClientApp(client_fn=lambda _: _Site(update).to_client(), mods=[secaggplus_mod])
    return name, app, _empty_context(number)


def _empty_context(node: int) -> Context:
    return Context(run_id=RUN_ID, node_id=node, node_config={}, state=RecordDict(), run_config={}, series_id=1)


def _context(grid: _LocalGrid, update: Update) -> LegacyContext:
    manager = SimpleClientManager()
    for node in grid.get_node_ids():
        manager.register(GridClientProxy(node, grid, RUN_ID))
    number = manager.num_available()
    strategy = FedAvg(min_fit_clients=number, min_available_clients=number)
    context = LegacyContext(_empty_context(0), ServerConfig(num_rounds=1), strategy, manager)
    start = ndarrays_to_parameters([np.zeros_like(update)])
    context.state.array_records[MAIN_PARAMS_RECORD] = parameters_to_arrayrecord(start, True)
    context.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    return context
