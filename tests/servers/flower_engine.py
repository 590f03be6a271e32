"""A coordinator's engine with its gateway, and agents of pretend sites, all as real processes on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from federated.engine.app_bundle import app_digest, build_bundle
from federated.engine.gateway import Gateway
from federated.engine.superlink import Superlink
from tests.servers.processes import stop, wait_until

ROOT = Path(__file__).parents[2]
ECHO = "tests.servers.engine_echo_app:server_app"


@dataclass
class Engine:
    """A coordinator with sites that are admitted, none of them running yet."""

    folder: Path
    superlink: Superlink
    gateway: Gateway
    node_keys: dict[str, bytes]
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Of the gateway."""
        return f"127.0.0.1:{self.gateway.port}"

    @property
    def ca(self) -> Path:
        """The federation's authority."""
        return self.folder / "ca.pem"

    def key_file(self, site: str) -> Path:
        """A site's private node key."""
        return self.folder / f"{site}.key"

    def restart(self) -> None:
        """What a coordinator does that was killed: a fresh engine behind a gateway at the same address."""
        port = self.gateway.port
        self.gateway.stop()
        self.superlink.start()
        self.superlink.control.register(self.node_keys)
        self.gateway = open_gateway(self.folder, self.superlink, self.node_keys, port=port)

    def start_agent(self, site: str, *, digest: str | None = None) -> subprocess.Popen[bytes]:
        """Start a site's agent, or start it again."""
        words = [self.address, self.ca, self.key_file(site), digest or app_digest(ECHO), self.folder / f"{site}.number"]
        with self.log_file(site).open("ab") as log:
            self.agents[site] = subprocess.Popen(
                [sys.executable, "-m", "tests.servers.engine_agent", *map(str, words)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        return self.agents[site]

    def log_file(self, site: str) -> Path:
        """What a site's agent said."""
        return self.folder / f"{site}.log"

    def log(self, site: str) -> str:
        """What a site's agent said."""
        return self.log_file(site).read_text(errors="replace")

    def echo(self, questions: int, size: int, sites: list[str] | None = None, **more: Any) -> tuple[int, Path]:
        """Submit the echo app; the run's number, and the file that its lines go to."""
        out = self.folder / f"lines-{len(list(self.folder.glob('lines-*')))}.jsonl"
        out.touch()
        plan = out.with_suffix(".plan")
        keys = {site: self.node_keys[site].decode() for site in sites or self.node_keys}
        plan.write_text(json.dumps({"node_keys": keys, "questions": questions, "bytes": size, "out": str(out), **more}))
        return self.superlink.control.submit(build_bundle(ECHO), {"plan": str(plan)}), out

    def wait_for_lines(self, out: Path, count: int, timeout_s: float = 60) -> list[dict[str, Any]]:
        """The echo app's lines, once there are so many."""
        wait_until(lambda: len(out.read_text().splitlines()) >= count, timeout_s, self.explain)
        return [json.loads(line) for line in out.read_text().splitlines()]

    def explain(self) -> str:
        """The ends of all logs."""
        files = [*self.folder.glob("*.log"), *self.folder.glob("superlink/*.log")]
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)


@contextmanager
def engine(folder: Path, sites: int) -> Iterator[Engine]:
    """A coordinator that admits so many sites, named site-1, site-2 and so on."""
    write_authority(folder)
    node_keys = {f"site-{number}": make_node_key(folder / f"site-{number}.key") for number in range(1, sites + 1)}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with Superlink(folder / "superlink", environment=environment, app_poll_s=0.2) as superlink:
        superlink.control.register(node_keys)
        made = Engine(folder, superlink, open_gateway(folder, superlink, node_keys), node_keys)
        try:
            yield made
        finally:
            for agent in made.agents.values():
                stop(agent)
            made.gateway.stop()


def open_gateway(folder: Path, superlink: Superlink, node_keys: dict[str, bytes], *, port: int = 0) -> Gateway:
    """The door for these sites, open."""
    gateway = Gateway(
        (superlink.address, superlink.ca),
        certificate=folder / "gateway.pem",
        key=folder / "gateway.key",
        is_known=frozenset(node_keys.values()).__contains__,
        bells=superlink.bells,
        port=port,
    )
    gateway.start()
    return gateway


def make_node_key(file: Path) -> bytes:
    """A node key in a file; its public half in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def write_authority(folder: Path) -> None:
    """The federation's CA (ca.pem) and the gateway's certificate of it (gateway.pem, gateway.key)."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test federation")])
    now = datetime.now(UTC)

    def begin(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=2))
        )

    ca = begin(issuer, authority.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    ca = ca.add_extension(identifier, critical=False)
    (folder / "ca.pem").write_bytes(ca.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coordinator")])
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")])
    leaf = begin(subject, key.public_key()).add_extension(names, critical=False)
    leaf = leaf.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
    )
    (folder / "gateway.pem").write_bytes(leaf.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "gateway.key").write_bytes(private)
