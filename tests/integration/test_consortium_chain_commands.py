"""`qfl governance chain` against a real node: hospitals deploy, anchor, approve, halt, and find a ledger put back."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from plugin.cli import main
from tests.servers.anvil import KEYS, running_anvil
from tests.servers.eth_tester import Account

MODEL, AUDIT = "ab" * 32, "cd" * 32
PASSPHRASE = "an orchard in may"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_anvil(tmp_path_factory.mktemp("anvil")) as url:
        yield url


@pytest.fixture
def hospitals(node: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Hospitals":
    return Hospitals(node, tmp_path, monkeypatch)


class Hospitals:
    """Institutions that share a machine and a chain; each with its own data folder and key."""

    def __init__(self, node: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._node, self._folder, self._monkeypatch = node, folder, monkeypatch
        self.contract = ""

    def address(self, place: int) -> str:
        return str(Account.from_key(KEYS[place]).address)

    def data(self, place: int) -> Path:
        return self._folder / f"hospital-{place}"

    def qfl(self, place: int, *words: str) -> Result:
        data = self.data(place)
        data.mkdir(exist_ok=True)
        keystore, passphrase = data / "keystore.json", data / "passphrase"
        if not keystore.exists():
            keystore.write_text(json.dumps(Account.encrypt(KEYS[place], PASSPHRASE, kdf="pbkdf2", iterations=2)))
            passphrase.write_text(PASSPHRASE + "\n")
        environment = {
            "QFL_DATA_DIR": str(data),
            "QFL_FHIR_URL": "http://127.0.0.1:9/fhir",
            "QFL_ARCHIVE_URL": "http://127.0.0.1:9/dicom",
            "QFL_PUBLIC_URL": f"https://hospital-{place}.example",
            "QFL_CHAIN_URL": self._node,
            "QFL_CHAIN_KEYSTORE": str(keystore),
            "QFL_CHAIN_PASSPHRASE_FILE": str(passphrase),
            "QFL_CHAIN_CONTRACT": self.contract,
        }
        for name, value in environment.items():
            self._monkeypatch.setenv(name, value)
        return CliRunner().invoke(main, words, catch_exceptions=False)

    def chain(self, place: int, *words: str) -> Result:
        return self.qfl(place, "governance", "chain", *words)

    def found(self, place: int, *words: str) -> dict[str, object]:
        result = self.chain(place, *words, "--json")
        assert result.exit_code == 0, result.stderr
        document: dict[str, object] = json.loads(result.stdout)
        return document

    def deploy(self) -> None:
        self.contract = str(self.found(0, "deploy", self.address(0), self.address(1), "--threshold", "2")["contract"])


def copy_database(source: Path, target: Path) -> None:
    """As a backup does, with what is in the write-ahead log."""
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.mark.server
def test_anchors_and_finds_a_ledger_that_was_put_back(hospitals: Hospitals, tmp_path: Path) -> None:
    hospitals.deploy()
    assert hospitals.qfl(0, "migrate").exit_code == 0
    database = hospitals.data(0) / "qfl.db"
    assert hospitals.found(0, "anchor")["transaction"]
    assert hospitals.found(0, "anchor")["transaction"] == ""
    copy_database(database, tmp_path / "backup.db")
    assert hospitals.qfl(0, "governance", "checkpoint", "--rotate-key").exit_code == 0
    assert hospitals.found(0, "anchor")["transaction"]
    assert hospitals.found(0, "verify") == {"heads": 2, "findings": []}
    for file in hospitals.data(0).glob("qfl.db*"):
        file.unlink()
    (tmp_path / "backup.db").rename(database)
    result = hospitals.chain(0, "verify")
    assert result.exit_code == 1
    assert "larger than this ledger" in result.stdout


@pytest.mark.server
def test_two_institutions_release_and_one_halts(hospitals: Hospitals) -> None:
    hospitals.deploy()
    assert hospitals.found(0, "status", MODEL) == {"state": "not released", "audit": None}
    assert hospitals.found(0, "approve", MODEL, AUDIT)["released"] is False
    refused = hospitals.chain(0, "approve", MODEL, AUDIT)
    assert refused.exit_code != 0
    assert "approved already" in refused.stderr
    assert hospitals.found(1, "approve", MODEL, AUDIT)["released"] is True
    assert hospitals.found(0, "status", MODEL) == {"state": "released", "audit": AUDIT}
    hospitals.found(1, "halt", MODEL, "--reason", "rims are drawn where there are none")
    assert hospitals.chain(0, "status", MODEL).stdout.startswith("halted")


@pytest.mark.server
def test_says_what_is_not_set(hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch) -> None:
    result = hospitals.chain(0, "anchor")
    assert result.exit_code == 78
    assert "QFL_CHAIN_CONTRACT is not set" in result.stderr
    hospitals.contract = "0x12"
    assert "QFL_CHAIN_CONTRACT must be an address" in hospitals.chain(0, "anchor").stderr
