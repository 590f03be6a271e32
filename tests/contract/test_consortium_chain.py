"""One suite over the consortium's contract in process (eth-tester) and on a real node (anvil)."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from governance.adapters.ethereum import ConsortiumChain, deploy, http_provider, open_account
from governance.adapters.ledger_folder import LedgerFolder
from governance.errors import AnchorError
from governance.ports import AnchoredHead
from plugin.services.governance.anchoring import anchor_ledger, ledger_id, model_id, verify_anchors
from plugin.services.ledger import Ledger
from tests.fakes.ledger_store import NOW, ORIGIN, InMemoryLedger, review
from tests.servers.anvil import KEYS, running_anvil
from tests.servers.eth_tester import Account, Web3, in_process_chain

MODEL, OTHER_MODEL = bytes([7]) * 32, bytes([8]) * 32
AUDIT, OTHER_AUDIT = bytes([9]) * 32, bytes([10]) * 32
REASON = bytes([3]) * 32
LEDGER = bytes([1]) * 32


@dataclass
class Consortium:
    """A contract of three institutions, two of which must agree, and somebody outside."""

    provider: Any
    address: str
    accounts: list[Any]

    def __getitem__(self, place: int) -> ConsortiumChain:
        return ConsortiumChain(self.provider, self.address, lambda: self.accounts[place])

    @property
    def outsider(self) -> ConsortiumChain:
        return self[3]


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_anvil(tmp_path_factory.mktemp("anvil")) as url:
        yield url


@pytest.fixture(scope="module")
def tester() -> Any:
    return in_process_chain()


@pytest.fixture(params=["eth-tester", pytest.param("anvil", marks=pytest.mark.server)])
def consortium(request: pytest.FixtureRequest) -> Consortium:
    accounts = [Account.from_key(key) for key in KEYS]
    if request.param == "anvil":
        provider = http_provider(request.getfixturevalue("anvil"))
    else:
        provider = request.getfixturevalue("tester")
        web3 = Web3(provider)
        for account in accounts:
            if not web3.eth.get_balance(account.address):
                rich = web3.eth.accounts[0]
                web3.eth.send_transaction({"from": rich, "to": account.address, "value": 10**19})
    address = deploy(provider, accounts[0], [each.address for each in accounts[:3]], 2)
    return Consortium(provider, address, accounts)


def head(size: int) -> AnchoredHead:
    return AnchoredHead(size, size.to_bytes(32, "big"))


def test_keeps_anchored_heads_in_their_order(consortium: Consortium) -> None:
    for size in (3, 4, 70):
        consortium[0].anchor(LEDGER, head(size))
    assert consortium[1].heads(LEDGER) == [head(3), head(4), head(70)]
    assert consortium[1].heads(bytes(32)) == []


@pytest.mark.parametrize("size", [pytest.param(5, id="same"), pytest.param(4, id="smaller")])
def test_refuses_a_head_that_does_not_grow(consortium: Consortium, size: int) -> None:
    consortium[0].anchor(LEDGER, head(5))
    with pytest.raises(AnchorError, match="not append-only"):
        consortium[0].anchor(LEDGER, head(size))
    assert consortium[0].heads(LEDGER) == [head(5)]


def test_refuses_who_is_no_member_and_who_does_not_own_the_ledger(consortium: Consortium) -> None:
    with pytest.raises(AnchorError, match="not a member"):
        consortium.outsider.anchor(LEDGER, head(1))
    consortium[0].anchor(LEDGER, head(1))
    with pytest.raises(AnchorError, match="not your ledger"):
        consortium[1].anchor(LEDGER, head(2))


def test_releases_a_model_when_enough_institutions_approve_the_same_audit(consortium: Consortium) -> None:
    consortium[0].approve_release(MODEL, AUDIT)
    consortium[1].approve_release(MODEL, OTHER_AUDIT)
    assert consortium[2].approvals(MODEL, AUDIT) == (1, 2)
    assert not consortium[2].model(MODEL).released
    consortium[1].approve_release(MODEL, AUDIT)
    assert consortium[2].model(MODEL) == (True, False, AUDIT)
    assert not consortium[2].model(OTHER_MODEL).released


def test_nobody_approves_twice_and_no_outsider_at_all(consortium: Consortium) -> None:
    consortium[0].approve_release(MODEL, AUDIT)
    with pytest.raises(AnchorError, match="approved already"):
        consortium[0].approve_release(MODEL, AUDIT)
    with pytest.raises(AnchorError, match="not a member"):
        consortium.outsider.approve_release(MODEL, AUDIT)


def test_one_institution_halts_and_it_takes_new_approvals_to_resume(consortium: Consortium) -> None:
    for place in (0, 1):
        consortium[place].approve_release(MODEL, AUDIT)
    with pytest.raises(AnchorError, match="not a member"):
        consortium.outsider.halt(MODEL, REASON)
    consortium[2].halt(MODEL, REASON)
    assert consortium[0].model(MODEL) == (False, True, AUDIT)
    consortium[2].approve_release(MODEL, AUDIT)
    assert not consortium[0].model(MODEL).released  # approvals from before the halt do not count
    consortium[0].approve_release(MODEL, AUDIT)
    assert consortium[0].model(MODEL) == (True, False, AUDIT)


@pytest.mark.parametrize(
    ("members", "threshold", "reason"),
    [
        pytest.param((), 1, "no members", id="nobody"),
        pytest.param((0, 0), 1, "member twice", id="twice"),
        pytest.param((0, 1), 3, "threshold out of range", id="more than all"),
        pytest.param((0, 1), 0, "threshold out of range", id="none"),
    ],
)
def test_refuses_members_that_cannot_be(
    consortium: Consortium, members: tuple[int, ...], threshold: int, reason: str
) -> None:
    addresses = [consortium.accounts[place].address for place in members]
    with pytest.raises(AnchorError, match=reason):
        deploy(consortium.provider, consortium.accounts[0], addresses, threshold)


def test_an_institution_leaves_when_enough_agree_and_its_votes_leave_with_it(consortium: Consortium) -> None:
    consortium[2].approve_release(MODEL, AUDIT)
    leaving = consortium.accounts[2].address
    for place in (0, 1):
        consortium[place]._transact("approve_member", leaving, False, 2)
    assert consortium[0].approvals(MODEL, AUDIT) == (0, 2)
    with pytest.raises(AnchorError, match="not a member"):
        consortium[2].halt(MODEL, REASON)


def make_ledger(folder: Path, entries: int) -> Ledger:
    """A ledger with an opening entry and `entries` others, all with one key where the folder is the same."""
    ledger = Ledger(InMemoryLedger(), LedgerFolder(folder), ORIGIN, lambda: NOW)
    ledger.append([review(number) for number in range(entries)])
    return ledger


def test_anchors_a_ledger_once_and_records_where(consortium: Consortium, tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path, 6)
    done = anchor_ledger(ledger, consortium[0])
    assert done.transaction
    assert done.head.size == 7
    assert anchor_ledger(ledger, consortium[0]).transaction == ""  # only its own record is new
    ((_, entry),) = ledger.last(1)
    assert entry.kind == "checkpoint-anchored"
    assert entry.facts["transaction"] == done.transaction
    assert entry.facts["chain"].startswith("eip155:")
    assert verify_anchors(ledger, consortium[1]) == (1, [])
    assert ledger.verify().is_intact


def test_a_ledger_that_was_put_back_or_forked_is_shown_by_the_chain(consortium: Consortium, tmp_path: Path) -> None:
    ledger = make_ledger(tmp_path / "own", 6)
    anchor_ledger(ledger, consortium[0])
    shorter = make_ledger(tmp_path / "shorter", 3)
    count, findings = verify_anchors(shorter, consortium[0])
    assert (count, len(findings)) == (1, 1)
    assert "larger than this ledger" in findings[0].what
    with pytest.raises(AnchorError, match="Nothing was anchored"):
        anchor_ledger(shorter, consortium[0])
    forked = make_ledger(tmp_path / "forked", 9)
    _, findings = verify_anchors(forked, consortium[0])
    assert "another root" in findings[0].what


def test_the_process_keeps_its_limit_of_recursion(consortium: Consortium) -> None:
    consortium[0].anchor(LEDGER, head(2))
    assert sys.getrecursionlimit() < 5000


def test_a_ledgers_name_is_not_on_the_chain(consortium: Consortium) -> None:
    assert ORIGIN.encode() not in ledger_id(ORIGIN)
    assert len(ledger_id(ORIGIN)) == 32


@pytest.mark.parametrize("version", [pytest.param("12", id="short"), pytest.param("g" * 64, id="not hexadecimal")])
def test_refuses_a_model_version_that_is_no_digest(version: str) -> None:
    with pytest.raises(AnchorError, match="64 hexadecimal digits"):
        model_id(version)


def test_refuses_an_address_without_a_contract(consortium: Consortium) -> None:
    nowhere = ConsortiumChain(consortium.provider, "0x" + "5" * 40, lambda: consortium.accounts[0])
    with pytest.raises(AnchorError, match="no contract"):
        nowhere.heads(LEDGER)


def test_a_node_that_is_away_is_named() -> None:
    away = ConsortiumChain(http_provider("http://127.0.0.1:9"), "0x" + "5" * 40, lambda: None)
    with pytest.raises(AnchorError, match="does not answer"):
        away.heads(LEDGER)


def test_reads_the_account_from_an_encrypted_keystore(tmp_path: Path) -> None:
    account = Account.from_key(KEYS[0])
    file = tmp_path / "keystore.json"
    # Few iterations: only the format is tested here.
    file.write_text(json.dumps(Account.encrypt(KEYS[0], "open sesame", kdf="pbkdf2", iterations=2)))
    assert open_account(file, "open sesame").address == account.address
    with pytest.raises(AnchorError, match="passphrase is another one"):
        open_account(file, "open barley")
    with pytest.raises(AnchorError, match="cannot be read"):
        open_account(tmp_path / "missing", "open sesame")
    file.write_text("{}")
    with pytest.raises(AnchorError, match="no keystore file"):
        open_account(file, "open sesame")
