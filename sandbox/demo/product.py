"""The product, from outside: its commands, its processes and its API."""

import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sandbox.demo.errors import CommandError, ProcessDiedError
from sandbox.demo.hospital import Hospital
from sandbox.demo.processes import Processes
from sandbox.demo.state import secret_file
from sandbox.serving import LOOPBACK

USERNAME = "radiologist"
DISPLAY_NAME = "Demo Radiologist"
ADMINISTRATOR = "administrator"
ETHICS_OFFICERS = ("ethics.one", "ethics.two")
OFFICERS = {ADMINISTRATOR: "administrator", **dict.fromkeys(ETHICS_OFFICERS, "ethics-officer")}
"""Role by username."""

SETTINGS_FILE = "settings.sh"
"""In the demo's folder."""

_DROP_SETTINGS = "for qfl_set in $(env | sed -n 's/^\\(QFL_[A-Z0-9_]*\\)=.*/\\1/p'); do unset \"$qfl_set\"; done"
_QFL = str(Path(sys.executable).parent / "qfl")
_WHY = "A demonstration on public images: nobody is treated by it."
_READY_TIMEOUT_S = 90
_POLL_S = 0.2


@dataclass(frozen=True)
class Progress:
    """How far the analysis of a study is, as the product's API tells.

    Attributes:
        fraction: Of the step, 0 to 1.
        seconds: By finished step.
    """

    state: str
    step: str | None
    fraction: float
    reason: str | None
    seconds: dict[str, float]


def build_environment(folder: Path, hospital: Hospital, secrets: Mapping[str, Path], port: int) -> dict[str, str]:
    """The environment of the product's processes; settings of another installation do not leak in.

    Args:
        folder: For its data.
        hospital: What it is connected to.
        secrets: Files with the EHR's token and the PACS's password, as "ehr" and "pacs".
        port: Of its web process.
    """
    data = (folder / "product").absolute()
    data.mkdir(parents=True, exist_ok=True)
    url = f"http://{LOOPBACK}:{port}"
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("QFL_") or name == "QFL_MODEL_DIR"
    }
    return inherited | {
        "QFL_DATABASE_URL": f"sqlite:///{data / 'qfl.db'}",
        "QFL_DATA_DIR": str(data),
        "QFL_BROKER_URL": "filesystem://",
        "QFL_FHIR_URL": hospital.fhir_url,
        "QFL_FHIR_TOKEN_FILE": str(secrets["ehr"].absolute()),
        "QFL_ARCHIVE_URL": hospital.dicomweb_url,
        "QFL_ARCHIVE_USER": hospital.pacs.username,
        "QFL_ARCHIVE_PASSWORD_FILE": str(secrets["pacs"].absolute()),
        "QFL_SECRET_KEY_FILE": str(secret_file(data, "secret-key")),
        "QFL_PUBLIC_URL": url,
        "QFL_NOTIFICATION_URL": url,
        "QFL_ORGANISATION": "Sandbox Hospital",
        "QFL_HTTP_PORT": str(port),
    }


def write_settings(environment: Mapping[str, str], path: Path) -> None:
    """Write the product's settings for a shell to read: `qfl` means this product there, and works on this hospital.

    Secrets are not in it, only the names of the files that hold them. What the shell had set of another installation is
    dropped, as build_environment does.
    """
    settings = {name: value for name, value in sorted(environment.items()) if name.startswith("QFL_")}
    lines = [_DROP_SETTINGS, *(f"export {name}={shlex.quote(value)}" for name, value in settings.items())]
    lines.append(f'export PATH={shlex.quote(str(Path(_QFL).parent))}:"$PATH"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Product:
    """The product's processes and API.

    Args:
        processes: Start and stop them.
        environment: From build_environment.
    """

    def __init__(self, processes: Processes, environment: Mapping[str, str]) -> None:
        self._processes = processes
        self._environment = environment
        self._folder = Path(environment["QFL_DATA_DIR"])
        self.url = environment["QFL_PUBLIC_URL"]
        self._api = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def migrate(self) -> None:
        """Bring the database to the schema."""
        self._run("migrate")

    def start(self) -> None:
        """Start web, worker and timer; wait_until_ready waits for them."""
        for name in ("web", "worker", "timer"):
            self._processes.start(name, [_QFL, name], self._environment)

    def wait_until_ready(self) -> None:
        """Wait until the web process can serve."""
        end = time.monotonic() + _READY_TIMEOUT_S
        while time.monotonic() < end:
            self._processes.check()
            try:
                if self._api.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            time.sleep(_POLL_S)
        raise ProcessDiedError(f"web did not get ready within {_READY_TIMEOUT_S} s", log=self._processes.log("web"))

    def is_model_decided(self) -> bool:
        """Whether the model was put in use, or halted, at an earlier start: then it stays so."""
        return self._has_officers() and bool(
            json.loads(self._run("governance", "status", "--json"))["state"] != "unreleased"
        )

    def add_officers(self) -> None:
        """Add an administrator and two ethics officers, and give each a key under a passphrase of its own.

        The passphrases are in files of the demo's folder, so that the officers can go on.
        """
        # An earlier start may have been interrupted at any point.
        listed = self._run("governance", "officer", "list", "--json") if self._has_officers() else ""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._add_user, OFFICERS))
        if ADMINISTRATOR not in {json.loads(line)["username"] for line in listed.splitlines()}:
            self._enrol(ADMINISTRATOR)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._enrol, ETHICS_OFFICERS))

    def release_model(self) -> str:
        """Take the audit that ships with the model, and have an officer release it.

        Where the audit did not pass, two officers override it for the demo.

        Returns:
            What the product said last.
        """
        try:
            return self._govern("release", ETHICS_OFFICERS[0], "--shipped")
        except CommandError:
            told = [self._govern("override", name, "--reason", _WHY) for name in ETHICS_OFFICERS]
            return told[-1]

    def passphrase_file(self, username: str) -> Path:
        """Where an officer's passphrase is."""
        return secret_file(self._folder, f"passphrase-{username}")

    def _has_officers(self) -> bool:
        return (self._folder / f"passphrase-{ADMINISTRATOR}").exists()

    def _add_user(self, username: str) -> None:
        password = self.passphrase_file(username).read_text().strip()
        self._run("users", "add", username, "--role", OFFICERS[username], "--password-stdin", given=f"{password}\n")

    def _enrol(self, username: str) -> None:
        people = [username] if username == ADMINISTRATOR else [username, ADMINISTRATOR]
        given = "".join(f"{self.passphrase_file(name).read_text().strip()}\n" for name in people)
        by = [] if username == ADMINISTRATOR else ["--by", ADMINISTRATOR]
        self._run("governance", "officer", "enrol", username, *by, "--passphrase-stdin", given=given)

    def _govern(self, act: str, username: str, *options: str) -> str:
        passphrase = ("--passphrase-file", str(self.passphrase_file(username)))
        return self._run("governance", act, "--current", "--by", username, *passphrase, *options)

    def add_radiologist(self, password: str, practitioner: str) -> None:
        """Add the user, or give an earlier one the new password, and sign in to the API."""
        options = ["--name", DISPLAY_NAME, "--role", "radiologist", "--practitioner", practitioner, "--password-stdin"]
        self._run("users", "add", USERNAME, *options, given=password + "\n")
        token = self._run("users", "token", USERNAME).strip()
        self._api.headers["Authorization"] = f"Bearer {token}"

    def subscribe(self, topic: str) -> None:
        """Have the EHR announce studies by an id-only topic subscription."""
        self._run("subscriptions", "register", "imaging-studies", "--topic", topic, "--payload", "id-only")

    def progress(self, study_instance_uid: str, imaging_study: str) -> Progress | None:
        """How far the analysis is; None while there is none, or while the API does not answer.

        Args:
            study_instance_uid: Which the product knows once it has read the study.
            imaging_study: The reference that it knows from the beginning.
        """
        for parameters in ({"study_instance_uid": study_instance_uid}, {}):
            try:
                answer = self._api.get("/api/analyses", params=parameters)
            except httpx.TransportError:
                return None
            if answer.status_code != 200:
                return None
            for analysis in answer.json()["analyses"]:
                known_as = (analysis.get("study_instance_uid"), analysis.get("imaging_study_reference"))
                if analysis["state"] != "duplicate" and (study_instance_uid in known_as or imaging_study in known_as):
                    return _parse_progress(analysis)
        return None

    def _run(self, *arguments: str, given: str = "") -> str:
        return self._processes.run("commands", [_QFL, *arguments], self._environment, given)


def _parse_progress(analysis: dict[str, Any]) -> Progress:
    seconds: dict[str, float] = {}
    for step in analysis.get("steps", []):
        if step["seconds"] is not None:
            seconds[step["step"]] = seconds.get(step["step"], 0.0) + float(step["seconds"])
    return Progress(
        state=analysis["state"],
        step=analysis.get("step"),
        fraction=float(analysis.get("progress") or 0.0),
        reason=analysis.get("reason"),
        seconds=seconds,
    )
