"""The engine's server as a child that does not outlive its parent.

    python -m federated.engine.superlink_process PARENT_PID ARGUMENT...

Flower's own `flower-superlink` would go on, holding its port and database, when the coordinator is killed.
"""

import sys

from flwr.supercore.app_utils import start_parent_process_monitor
from flwr.superlink.cli.flower_superlink import flower_superlink


def main() -> None:
    """Run the server until it is told to stop, or its parent is gone."""
    start_parent_process_monitor(int(sys.argv[1]))
    sys.argv = ["flower-superlink", *sys.argv[2:]]
    flower_superlink()


if __name__ == "__main__":
    main()
