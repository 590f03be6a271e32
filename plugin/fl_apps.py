"""What the federation's engine loads at the coordinator: the run's rounds, as an app of the engine.

The app is told nothing but the path of a plan; keys, roster and checkpoints are the coordinator's own files.
"""

import logging
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federated.engine.bells import Bells
from federated.engine.grid_transport import GridTransport
from federated.errors import FederatedError
from federated.rounds.coordinator import Start, run_rounds
from federated.rounds.correspondence import CoordinatorKeys
from federated.rounds.events import EVENTS_FILE
from federated.rounds.plan import RunPlan, parse_plan
from governance.errors import GovernanceError
from plugin.adapters.ledger_recorder import LedgerRecorder, Recorders
from plugin.adapters.line_file import LineFile, LineRecorder
from plugin.bootstrap.ledger import build_coordinator_ledger
from plugin.errors import PluginError
from plugin.services.federation import CHECKPOINTS, RECORDS
from plugin.services.federation_folders import load_coordinator

server_app = ServerApp()
_log = logging.getLogger(__name__)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Bring a run to its end, from its newest checkpoint."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    plan_file, bells = Path(str(context.run_config["plan"])), Bells(Path(str(context.run_config["bells"])))
    try:
        _run(grid, plan_file, bells)
    except (FederatedError, PluginError, GovernanceError) as fault:
        _log.error("The run ended: %s", fault)
        sys.exit(1)


def _run(grid: Grid, plan_file: Path, bells: Bells) -> None:
    # <coordinator>/runs/<run>/plan.json
    run, folder = plan_file.parent, plan_file.parents[2]
    plan, found = parse_plan(plan_file.read_bytes()), load_coordinator(folder)
    node_keys = {name: entry.node_key_pem for name, entry in found.roster.sites.items() if name in plan.sites}
    events = LineFile(run / EVENTS_FILE, durable=False)
    run_rounds(
        plan,
        CoordinatorKeys(found.signing, found.sealing, found.roster),
        GridTransport(grid, node_keys, bells),
        run / CHECKPOINTS,
        start=_start,
        clock=_now,
        sleep=time.sleep,
        watch=events.write,
        recorder=Recorders(LedgerRecorder(build_coordinator_ledger(folder).record, _now), LineRecorder(run / RECORDS)),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _start(plan: RunPlan) -> Start:
    # Only a new run makes a first model, and only that needs torch.
    from federated.rounds.starting import start_run

    return start_run(plan)
