"""A whole federation on one machine: a coordinator, sites and their workers as processes of their own, to try it out.

FOLDER/coordinator/        its keys, its runs
FOLDER/sites/NAME/         a hospital: keys, kit, policy
FOLDER/sites/NAME/data/    its database, its queue, its work
FOLDER/logs/               a log of each process
"""

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from federated.rounds.plan import RunPlan
from plugin.errors import FederationRunError, SettingsError
from plugin.services.federation import open_runs
from plugin.services.federation_folders import POLICY
from plugin.services.federation_kits import Provisioned, make_all
from plugin.services.federation_plan import FEWEST_CASES
from plugin.services.secret_files import private_folder, write_public
from plugin.services.site_policy import default_policy_text, parse_policy

NAME: Final = "local"
RUN: Final = "run-1"
MOST_SITES: Final = 10
"""As many phantom hospitals there are."""
_FEWEST_MASKED: Final = 3
_NOWHERE: Final = "http://127.0.0.1:9"
"""Nobody listens on the discard port: these sites have no EHR and no PACS, and ask none."""
_WORKER_NICENESS: Final = 5
"""Training gives way to the messages of the rounds, as it does where a site has its own machine."""
_TRIAL, _OPTIONS, _WRITTEN = "trial-", "options.json", ".policy-as-written"
_PROGRAM: Final = Path(sys.executable).parent / "qfl"
COORDINATOR, AGENT, WORKER = "coordinator", "agent", "worker"


@dataclass(frozen=True)
class Process:
    """One process of the federation.

    Attributes:
        name: "coordinator", or "agent" or "worker" and the site.
        niceness: Of its scheduling, above this process's.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    niceness: int = 0


@dataclass(frozen=True)
class LocalFederation:
    """Where everything is.

    Attributes:
        cases: Most cases that a site trains on; None for all it has.
        broker: URL of a Redis; empty for folders.
    """

    folder: Path
    provisioned: Provisioned
    cases: int | None
    broker: str

    @property
    def coordinator(self) -> Path:
        """The coordinator's folder."""
        return self.provisioned.coordinator

    @property
    def sites(self) -> Sequence[str]:
        """Their names, sorted."""
        return sorted(self.provisioned.sites)

    def site_environment(self, site: str) -> dict[str, str]:
        """Of a site's processes; settings of another installation do not leak in."""
        data = self.provisioned.sites[site] / "data"
        cohort = f"phantom:{site}" if self.cases is None else f"phantom:{site}:{self.cases}"
        return _inherited() | {
            "OMP_NUM_THREADS": "1",
            "QFL_ORGANISATION": f"Phantom hospital {site}",
            "QFL_DATA_DIR": str(data),
            "QFL_DATABASE_URL": database_url(data),
            "QFL_BROKER_URL": self._broker_of(site),
            "QFL_FHIR_URL": f"{_NOWHERE}/fhir",
            "QFL_ARCHIVE_URL": f"{_NOWHERE}/dicom-web",
            "QFL_FEDERATION_DIR": str(self.provisioned.sites[site]),
            "QFL_FEDERATION_COHORT": cohort,
            "QFL_FEDERATION_DEVICE": "cpu",
            "QFL_FEDERATION_HINT": "5",
        }

    def site_processes(self, site: str) -> tuple[Process, Process]:
        """A site's agent and worker."""
        environment = self.site_environment(site)
        agent = [str(_PROGRAM), "federation", "agent", "--folder", str(self.provisioned.sites[site])]
        # One process a worker: it trains in the process that takes the messages.
        worker = [sys.executable, "-m", "celery", "-A", "plugin.celery_app", "worker", "-Q", "training", "-P", "solo"]
        worker += ["-n", f"{site}@local", "-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        return (
            Process(f"{AGENT}-{site}", agent, environment),
            Process(f"{WORKER}-{site}", worker, environment, _WORKER_NICENESS),
        )

    def coordinator_process(self, plan: Path) -> Process:
        """The coordinator, for one run."""
        command = [str(_PROGRAM), "federation", "coordinator", "--folder", str(self.coordinator), "--run", str(plan)]
        return Process(COORDINATOR, command, _inherited() | {"OMP_NUM_THREADS": "1"})

    def _broker_of(self, site: str) -> str:
        if not self.broker:
            return "filesystem://"
        return f"{self.broker.rstrip('/')}/{self.sites.index(site)}"


def provision(folder: Path, sites: int, *, cases: int | None, broker: str) -> LocalFederation:
    """Make the folders, or take those of before; the address is free on this machine.

    Args:
        folder: Of the whole.
        sites: How many, from 1 to MOST_SITES.
        cases: See LocalFederation.
        broker: See LocalFederation.

    Raises:
        FederationRunError: There are not so many phantom hospitals.
        SettingsError: The broker cannot serve several sites.
        ProvisioningError: A folder cannot be used.
    """
    if not 1 <= sites <= MOST_SITES:
        raise FederationRunError(f"Expected 1 to {MOST_SITES} sites, got {sites}: there are no more phantom hospitals.")
    parts = urlsplit(broker)
    if broker and (parts.scheme not in {"redis", "rediss"} or parts.path.strip("/")):
        raise SettingsError("--broker must be redis://host:port without a database number: each site gets its own.")
    names = [f"site-{number:02d}" for number in range(1, sites + 1)]
    found = make_all(folder, names, name=NAME, hosts=("127.0.0.1", "localhost"), port=_free_port())
    return LocalFederation(folder, found, cases, broker)


def choose_folder(root: Path) -> Path:
    """Where to go on, or to begin: the newest trial below a folder if its run has no end yet, else a new one.

    A new trial has new sites: those of before have spent of their patients' privacy.
    """
    known = sorted(
        (int(path.name.removeprefix(_TRIAL)), path) for path in root.glob(f"{_TRIAL}[0-9]*") if path.is_dir()
    )
    if known and open_runs(known[-1][1] / "coordinator"):
        return known[-1][1]
    return root / f"{_TRIAL}{known[-1][0] + 1 if known else 1}"


def keep_options(folder: Path, options: Mapping[str, Any]) -> None:
    """Write down what a person asked for, so that the same command without options goes on with it."""
    write_public(private_folder(folder) / _OPTIONS, (json.dumps(dict(options), indent=2) + "\n").encode())


def kept_options(folder: Path) -> dict[str, Any] | None:
    """What was asked for, where a run of this folder has no end yet."""
    if not open_runs(folder / "coordinator"):
        return None
    try:
        found = json.loads((folder / _OPTIONS).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def allow(federation: LocalFederation, plan: RunPlan) -> None:
    """Give each site the policy that allows the plan: on one machine one person speaks for all hospitals.

    A policy that somebody changed by hand stays as it is.
    """
    text = fitting_policy(plan)
    for home in federation.provisioned.sites.values():
        path, written = home / POLICY, home / _WRITTEN
        known = {default_policy_text(), written.read_text(encoding="utf-8") if written.exists() else ""}
        if not path.exists() or path.read_text(encoding="utf-8") in known:
            for each in (written, path):
                each.write_text(text, encoding="utf-8")


def fitting_policy(plan: RunPlan) -> str:
    """The policy to begin with, with no more changed than the plan needs.

    Raises:
        SitePolicyError: The policy to begin with has no such lines any more.
    """
    text = default_policy_text().replace("time_zone: Europe/Berlin", "time_zone: UTC")
    rule = plan.aggregation.rule
    changes = {
        "minimum_cases: 5": f"minimum_cases: {min(FEWEST_CASES, plan.minimum_cases)}",
        "cpu_threads: 4": "cpu_threads: 1",
    }
    if rule not in {"masked", "grouped-masked"}:
        changes["aggregation: [masked, grouped-masked]"] = f"aggregation: [masked, grouped-masked, {rule}]"
    if len(plan.sites) < _FEWEST_MASKED:
        changes["minimum_participants: 3"] = f"minimum_participants: {len(plan.sites)}"
        changes["minimum_in_sum: 2"] = f"minimum_in_sum: {min(2, len(plan.sites))}"
    if not plan.privacy.record_noise:
        changes["record_level: required"] = "record_level: optional"
    for before, after in changes.items():
        if before not in text:
            raise FederationRunError(f"The policy to begin with has no line {before!r} to change.")
        text = text.replace(before, after)
    parse_policy(text.encode())
    return text


def database_url(data: Path) -> str:
    """Of a site's records."""
    return f"sqlite:///{data / 'qfl.db'}"


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("QFL_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
