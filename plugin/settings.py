"""The plugin's settings: frozen, checked when built, and read from the environment here alone.

A secret comes as a file (`QFL_..._FILE`), as Kubernetes and systemd mount it, or for a trial as `QFL_...` itself.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit

from federated.errors import QuantumError
from federated.quantum.policy import Price, QuantumPolicy
from governance.compliance.periods import Schedule
from plugin.errors import SettingsError

PACKAGED_MODEL = Path(__file__).parent.parent / "federated" / "weights"
"""The model that is installed with the plugin."""
PACKAGED_STARTS = {"tiny": PACKAGED_MODEL / "tiny"}
"""By preset, the small model that a federation with noise begins with."""


_WORKSPACE_ID = re.compile(
    r"/subscriptions/[0-9a-f-]{36}/resourceGroups/[^\s/]+/providers/Microsoft\.Quantum/Workspaces/[^\s/]+",
    re.IGNORECASE,
)


_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True)
class Fhir:
    """The EHR's FHIR server."""

    base_url: str
    token: str | None = field(repr=False)
    user: str | None
    password: str | None = field(repr=False)
    timeout_s: float


@dataclass(frozen=True)
class Archive:
    """The DICOM archives: the default one, and other base URLs that data may point to.

    Attributes:
        allowed_urls: Beside url; they are asked without credentials.
    """

    url: str
    user: str | None
    password: str | None = field(repr=False)
    allowed_urls: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True)
class Web:
    """The web process.

    Attributes:
        proxies: How many reverse proxies stand in front of it; their forwarding headers are believed.
    """

    public_url: str
    notification_url: str
    host: str
    port: int
    proxies: int
    secret_key: str = field(repr=False)

    @property
    def is_https(self) -> bool:
        """Whether people reach the pages by TLS."""
        return self.public_url.startswith("https://")


@dataclass(frozen=True)
class Work:
    """How workers and the timer work.

    Attributes:
        lease: A worker that is silent for longer is taken for dead.
        max_attempts, max_delivery_attempts: After so many an analysis fails, and a delivery is dead.
        retry_base: First wait; it doubles with each attempt, up to an hour.
        tick: How often the timer looks for work that got lost.
        recovery: How often the EHR is searched for missed events.
    """

    broker_url: str
    lease: timedelta
    max_attempts: int
    max_delivery_attempts: int
    retry_base: timedelta
    tick: timedelta
    recovery: timedelta


@dataclass(frozen=True)
class AzureWorkspace:
    """An Azure Quantum workspace, and the target in it that circuits go to.

    Attributes:
        endpoint: Of its API; None for the usual one.
        key: None for the machine's own identity.
    """

    resource_id: str
    location: str
    target: str
    endpoint: str | None
    key: str | None = field(repr=False)


@dataclass(frozen=True)
class Quantum:
    """Where circuits may run outside this process, and under which rules.

    Attributes:
        folder: Records of jobs and of what left the site.
        workspace: None where the site has none.
        timeout_s: Longest wait for a batch of circuits.
    """

    folder: Path
    workspace: AzureWorkspace | None
    policy: QuantumPolicy
    timeout_s: float


@dataclass(frozen=True)
class Federation:
    """This hospital's part in federated rounds.

    Attributes:
        folder: Of the site: its keys, its kit, its policy.
        coordinator: Folder of the coordinator, where the pages show its runs; None where they show none.
        work: What agent and workers hand each other; private to them.
        cohort: "reviewed" for the site's own reviewed studies of consenting patients; or as
            plugin.services.research_cohort.parse_cohort_setting says.
        device: auto, cpu or cuda.
        poll_s: Between two looks of the agent for a question, in the middle of a round.
        hint_s: After which workers are told again of work that nobody is at.
    """

    folder: Path
    coordinator: Path | None
    work: Path
    cohort: str
    device: str
    poll_s: float
    hint_s: float


@dataclass(frozen=True)
class ConsortiumSettings:
    """The consortium's chain, where it has one.

    Attributes:
        url: Of a node's JSON-RPC.
        contract: The contract's address; None before it is deployed.
        keystore: The institution's encrypted key.
    """

    url: str
    contract: str | None
    keystore: Path
    passphrase: str = field(repr=False)


@dataclass(frozen=True)
class Reporting:
    """Governance reports that are issued by themselves.

    Attributes:
        schedule: How often.
        dates: File with the dates from which frameworks apply; None for the one that is shipped.
    """

    schedule: Schedule = Schedule.BIANNUAL
    dates: Path | None = None


@dataclass(frozen=True)
class Settings:
    """All settings of one process."""

    organisation: str
    data_dir: Path
    database_url: str = field(repr=False)
    model_dir: Path
    fhir: Fhir
    archive: Archive
    web: Web
    work: Work
    quantum: Quantum
    federation: Federation
    consortium: ConsortiumSettings | None = None
    reporting: Reporting = field(default_factory=Reporting)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: The process's own environment unless given.

    Raises:
        SettingsError: A variable is missing or not usable; the message names it.
    """
    env = _Environment(os.environ if environ is None else environ)
    data_dir = _data_dir(env)
    public_url = env.url("QFL_PUBLIC_URL", "http://127.0.0.1:8080")
    return Settings(
        organisation=env.text("QFL_ORGANISATION", "Hospital"),
        data_dir=data_dir,
        database_url=env.text("QFL_DATABASE_URL", f"sqlite:///{data_dir}/qfl.db"),
        model_dir=Path(env.text("QFL_MODEL_DIR", str(PACKAGED_MODEL))),
        fhir=Fhir(
            base_url=env.url("QFL_FHIR_URL"),
            token=env.secret("QFL_FHIR_TOKEN"),
            user=env.optional("QFL_FHIR_USER"),
            password=env.secret("QFL_FHIR_PASSWORD"),
            timeout_s=env.seconds("QFL_FHIR_TIMEOUT", 30).total_seconds(),
        ),
        archive=Archive(
            url=env.url("QFL_ARCHIVE_URL"),
            user=env.optional("QFL_ARCHIVE_USER"),
            password=env.secret("QFL_ARCHIVE_PASSWORD"),
            allowed_urls=tuple(env.text("QFL_ARCHIVE_ALLOWED_URLS", "").split()),
            timeout_s=env.seconds("QFL_ARCHIVE_TIMEOUT", 60).total_seconds(),
        ),
        web=Web(
            public_url=public_url,
            notification_url=env.url("QFL_NOTIFICATION_URL", public_url),
            host=env.text("QFL_HTTP_HOST", "127.0.0.1"),
            port=env.integer("QFL_HTTP_PORT", 8080),
            proxies=env.integer("QFL_HTTP_PROXIES", 0, least=0),
            secret_key=env.secret("QFL_SECRET_KEY") or _own_secret_key(data_dir),
        ),
        work=Work(
            broker_url=env.text("QFL_BROKER_URL", "filesystem://"),
            lease=env.seconds("QFL_LEASE", 60),
            max_attempts=env.integer("QFL_MAX_ATTEMPTS", 5),
            max_delivery_attempts=env.integer("QFL_MAX_DELIVERY_ATTEMPTS", 12),
            retry_base=env.seconds("QFL_RETRY_BASE", 5),
            tick=env.seconds("QFL_TICK", 5),
            recovery=env.seconds("QFL_RECOVERY", 300),
        ),
        quantum=_quantum(env),
        federation=_federation(env),
        consortium=_consortium(env),
        reporting=_reporting(env),
    )


def load_quantum_settings(environ: Mapping[str, str] | None = None) -> Quantum:
    """Read the part for quantum computers alone; it needs no EHR and no PACS.

    Raises:
        SettingsError: As load_settings().
    """
    return _quantum(_Environment(os.environ if environ is None else environ))


def _data_dir(env: "_Environment") -> Path:
    return Path(env.text("QFL_DATA_DIR", "var/qfl")).absolute()


def _federation(env: "_Environment") -> Federation:
    data_dir = _data_dir(env)
    device = env.text("QFL_FEDERATION_DEVICE", "auto")
    if device not in {"auto", "cpu", "cuda"}:
        raise SettingsError(f"QFL_FEDERATION_DEVICE must be auto, cpu or cuda, got {device!r}.")
    coordinator = env.optional("QFL_COORDINATOR_DIR")
    return Federation(
        folder=Path(env.text("QFL_FEDERATION_DIR", str(data_dir / "federation"))).absolute(),
        coordinator=Path(coordinator).absolute() if coordinator else None,
        work=data_dir / "rounds",
        cohort=env.text("QFL_FEDERATION_COHORT", "reviewed"),
        device=device,
        poll_s=env.seconds("QFL_FEDERATION_POLL", 0.2).total_seconds(),
        hint_s=env.seconds("QFL_FEDERATION_HINT", 15).total_seconds(),
    )


def _consortium(env: "_Environment") -> ConsortiumSettings | None:
    if env.optional("QFL_CHAIN_URL") is None:
        return None
    contract = env.optional("QFL_CHAIN_CONTRACT")
    if contract is not None and not _ADDRESS.fullmatch(contract):
        raise SettingsError("QFL_CHAIN_CONTRACT must be an address: 0x and 40 hexadecimal digits.")
    passphrase = env.secret("QFL_CHAIN_PASSPHRASE")
    if passphrase is None:
        raise SettingsError("QFL_CHAIN_PASSPHRASE_FILE is not set; it opens the key in QFL_CHAIN_KEYSTORE.")
    return ConsortiumSettings(env.url("QFL_CHAIN_URL"), contract, Path(env.text("QFL_CHAIN_KEYSTORE")), passphrase)


def _reporting(env: "_Environment") -> Reporting:
    schedule, dates = env.text("QFL_GOVERNANCE_REPORTS", Schedule.BIANNUAL), env.optional("QFL_GOVERNANCE_DATES")
    if schedule not in list(Schedule):
        raise SettingsError(f"QFL_GOVERNANCE_REPORTS must be {', '.join(Schedule)}, got {schedule!r}.")
    return Reporting(Schedule(schedule), Path(dates).absolute() if dates else None)


def _quantum(env: "_Environment") -> Quantum:
    try:
        policy = QuantumPolicy(
            prices=env.prices("QFL_QUANTUM_PRICES"),
            egress_allowed=env.yes("QFL_QUANTUM_ALLOW_EGRESS"),
            permission=env.text("QFL_QUANTUM_PERMISSION", ""),
            fallback_allowed=env.yes("QFL_QUANTUM_ALLOW_FALLBACK"),
            max_shots=env.integer("QFL_QUANTUM_MAX_SHOTS", 100_000),
            max_cost=_amount("QFL_QUANTUM_MAX_COST", env.text("QFL_QUANTUM_MAX_COST", "0")),
            currency=env.text("QFL_QUANTUM_CURRENCY", "USD"),
        )
    except QuantumError as error:
        raise SettingsError(str(error)) from error
    return Quantum(
        folder=_data_dir(env) / "quantum",
        workspace=_workspace(env),
        policy=policy,
        timeout_s=env.seconds("QFL_QUANTUM_TIMEOUT", 3600).total_seconds(),
    )


def _workspace(env: "_Environment") -> AzureWorkspace | None:
    resource_id = env.optional("QFL_AZURE_QUANTUM_RESOURCE_ID")
    if resource_id is None:
        return None
    if not _WORKSPACE_ID.fullmatch(resource_id):
        raise SettingsError(
            "QFL_AZURE_QUANTUM_RESOURCE_ID must be the workspace's resource id: /subscriptions/<GUID>/resourceGroups/"
            f"<name>/providers/Microsoft.Quantum/Workspaces/<name>, got {resource_id!r}."
        )
    endpoint = env.url("QFL_AZURE_QUANTUM_ENDPOINT") if env.optional("QFL_AZURE_QUANTUM_ENDPOINT") else None
    if endpoint and not endpoint.startswith("https://") and urlsplit(endpoint).hostname not in {"127.0.0.1", "::1"}:
        raise SettingsError("QFL_AZURE_QUANTUM_ENDPOINT must be an https URL, else the key could be read on the way.")
    return AzureWorkspace(
        resource_id=resource_id,
        location=env.text("QFL_AZURE_QUANTUM_LOCATION"),
        target=env.text("QFL_AZURE_QUANTUM_TARGET"),
        endpoint=endpoint,
        key=env.secret("QFL_AZURE_QUANTUM_KEY"),
    )


def _own_secret_key(data_dir: Path) -> str:
    """The key that signs sessions, made once and kept beside the data, where none is given."""
    path = data_dir / "secret-key"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        candidate = path.with_name(f"secret-key.{secrets.token_hex(4)}")
        candidate.touch(mode=0o600)
        candidate.write_text(secrets.token_urlsafe(48))
        try:
            path.hardlink_to(candidate)  # atomic: of several processes that start at once, one wins
        except FileExistsError:
            pass
        finally:
            candidate.unlink()
    return path.read_text()


def _amount(name: str, value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise SettingsError(f"{name} must hold amounts like 12.50, got {value!r}.") from error
    if not amount.is_finite() or amount < 0:
        raise SettingsError(f"{name} must hold amounts from 0, got {value!r}.")
    return amount


class _Environment:
    """Reads variables as values, with errors that name the variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def optional(self, name: str) -> str | None:
        return self._environ.get(name) or None

    def text(self, name: str, default: str | None = None) -> str:
        value = self.optional(name)
        if value is not None:
            return value
        if default is None:
            raise SettingsError(
                f"{name} is not set. Set it in the environment; docs/configuration.md lists all of them."
            )
        return default

    def url(self, name: str, default: str | None = None) -> str:
        value = self.text(name, default).rstrip("/")
        parts = urlsplit(value)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise SettingsError(f"{name} must be an http or https URL without user, query and fragment.")
        return value

    def secret(self, name: str) -> str | None:
        path = self.optional(f"{name}_FILE")
        if path is None:
            return self.optional(name)
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{name}_FILE names a file that cannot be read: {error.strerror}.") from error

    def integer(self, name: str, default: int, least: int = 1) -> int:
        value = self.text(name, str(default))
        if not value.isdecimal() or int(value) < least:
            raise SettingsError(f"{name} must be a whole number from {least}, got {value!r}.")
        return int(value)

    def yes(self, name: str) -> bool:
        value = self.text(name, "no")
        if value not in {"yes", "no"}:
            raise SettingsError(f"{name} must be yes or no, got {value!r}.")
        return value == "yes"

    def prices(self, name: str) -> Mapping[str, Price]:
        """Targets separated by blanks: NAME=free, or NAME=part:amount,part:amount."""
        known = [part.name for part in fields(Price)]
        prices: dict[str, Price] = {}
        for entry in self.text(name, "").split():
            target, _, parts = entry.partition("=")
            amounts = {} if parts == "free" else dict(part.partition(":")[::2] for part in parts.split(","))
            if not target or target in prices or not set(amounts) <= set(known):
                raise SettingsError(
                    f"{name} must name each target once, as NAME=free or NAME=part:amount,part:amount with the parts "
                    f"{', '.join(known)}; got {entry!r}."
                )
            prices[target] = Price(**{part: _amount(name, amount) for part, amount in amounts.items()})
        return prices

    def seconds(self, name: str, default: float) -> timedelta:
        value = self.text(name, str(default))
        try:
            seconds = float(value)
        except ValueError as error:
            raise SettingsError(f"{name} must be a number of seconds, got {value!r}.") from error
        if not 0 < seconds < 86400 * 30:
            raise SettingsError(f"{name} must be between 0 and 30 days in seconds, got {value!r}.")
        return timedelta(seconds=seconds)
