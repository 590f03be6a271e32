"""A site cosigns another's log only while that has one history, and goes forward."""

from copy import deepcopy
from datetime import timedelta

import pytest

from governance.errors import InconsistentLogError, NoteError, SignatureError, UnknownLogError, WitnessBehindError
from governance.ledger import log
from governance.ledger.checkpoint import Checkpoint, parse_checkpoint, sign
from governance.ledger.cosignature import CosignerSigner
from governance.ledger.merkle import EMPTY_ROOT
from governance.ledger.note import parse_signatures
from governance.ledger.witness import Witness, write_request
from tests.fakes.ledger_store import NOW, ORIGIN, InMemoryLedger, review, signed_ledger

LATER = NOW + timedelta(minutes=5)


class Memory:
    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    def last(self, origin: str) -> str | None:
        return self.notes.get(origin)

    def advance(self, origin: str, before: str | None, now: str) -> bool:
        if self.last(origin) != before:
            return False
        self.notes[origin] = now
        return True


class Site:
    """A witness of one log."""

    def __init__(self, store: InMemoryLedger, signer: CosignerSigner) -> None:
        self.signer, self.memory = CosignerSigner.generate("site-b.example"), Memory()
        self.witness = Witness(self.signer, {ORIGIN: [signer.public]}, self.memory)

    def ask(self, store: InMemoryLedger, old: int) -> str:
        signed = parse_checkpoint(store.notes[max(store.notes)])
        proof = log.prove_consistency(store, old, signed.head.size)
        return self.witness.add_checkpoint(write_request(old, proof, signed), now=LATER)


@pytest.fixture
def ledger() -> tuple[InMemoryLedger, CosignerSigner, Site]:
    store, signer = signed_ledger(9)
    return store, signer, Site(store, signer)


def test_a_log_that_grows_is_cosigned(ledger) -> None:
    store, signer, site = ledger
    site.ask(store, 0)
    log.append(store, [review(10)])
    log.sign_checkpoint(store, signer, now=NOW)
    lines = parse_signatures(site.ask(store, 10))
    whole = log.add_cosignatures(store, lines, [site.signer.public])
    assert whole.witnesses([site.signer.public]) == {"site-b.example": LATER}
    assert parse_checkpoint(store.notes[11]).signed_by(signer.public) == NOW
    assert site.ask(store, 11)  # again, the same tree


def test_a_forked_log_finds_no_witness(ledger) -> None:
    store, signer, site = ledger
    fork = deepcopy(store)
    log.append(store, [review(10)])
    log.sign_checkpoint(store, signer, now=NOW)
    site.ask(store, 0)
    log.append(fork, [review(11), review(12)])
    log.sign_checkpoint(fork, signer, now=NOW)
    with pytest.raises(InconsistentLogError, match="forked or rolled back"):
        site.ask(fork, 11)


def test_a_log_that_was_put_back_finds_no_witness(ledger) -> None:
    store, signer, site = ledger
    before = deepcopy(store)
    log.append(store, [review(10)])
    log.sign_checkpoint(store, signer, now=NOW)
    site.ask(store, 0)
    with pytest.raises(WitnessBehindError) as raised:
        site.ask(before, 10)
    assert raised.value.size == 11


def test_two_trees_of_one_size_are_not_both_cosigned(ledger) -> None:
    store, signer, site = ledger
    site.ask(store, 0)
    other = sign(Checkpoint(ORIGIN, 10, bytes(32)), signer, now=NOW)
    with pytest.raises(InconsistentLogError):
        site.witness.add_checkpoint(write_request(10, [], other), now=NOW)


def test_a_proof_from_the_empty_tree_is_refused(ledger) -> None:
    store, _, site = ledger
    request = write_request(0, [EMPTY_ROOT], parse_checkpoint(store.notes[10]))
    with pytest.raises(InconsistentLogError):
        site.witness.add_checkpoint(request, now=NOW)


def test_an_unknown_log_and_a_foreign_signature_are_refused(ledger) -> None:
    store, _, site = ledger
    stranger = CosignerSigner.generate("stranger.example")
    head = parse_checkpoint(store.notes[10]).head
    unknown = sign(Checkpoint("stranger.example", 10, head.root), stranger, now=NOW)
    with pytest.raises(UnknownLogError):
        site.witness.add_checkpoint(write_request(0, [], unknown), now=NOW)
    with pytest.raises(SignatureError):
        site.witness.add_checkpoint(write_request(0, [], sign(head, stranger, now=NOW)), now=NOW)


def test_a_race_of_two_processes_leaves_one_winner(ledger) -> None:
    store, _, site = ledger
    site.memory.advance = lambda *_: False  # another process was faster
    with pytest.raises(WitnessBehindError, match="meanwhile"):
        site.ask(store, 0)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("old 0", "old -1"), id="no-size"),
        pytest.param(lambda text: text.replace("old 0", "old 11"), id="older-than-new"),
        pytest.param(lambda text: text.replace("old 0\n", "old 0\nnot base64\n"), id="no-proof"),
        pytest.param(lambda text: text.replace("old 0\n", "old 0\n" + "AAAA\n" * 64), id="too-long-a-proof"),
        pytest.param(lambda _: "old 0\n", id="no-checkpoint"),
        pytest.param(lambda text: text + "x" * (1 << 18), id="too-long"),
    ],
)
def test_refuses_what_is_no_request(ledger, change) -> None:
    store, _, site = ledger
    request = write_request(0, [], parse_checkpoint(store.notes[10]))
    with pytest.raises(NoteError):
        site.witness.add_checkpoint(change(request), now=NOW)
    assert site.memory.notes == {}
