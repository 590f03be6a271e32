"""Signed notes, checkpoints and cosignatures against the examples that C2SP publishes.

Source: signed-note.md, tlog-checkpoint.md and tlog-cosignature.md of github.com/C2SP/C2SP at 5ba5ee8. These give a key
for the Ed25519 note only; of the other examples the form is checked.
"""

import base64
import struct
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from governance.errors import KeyFileError, NoteError, SignatureError
from governance.ledger.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint, sign
from governance.ledger.cosignature import CosignerKey, CosignerSigner, signed_message
from governance.ledger.merkle import EMPTY_ROOT
from governance.ledger.note import Note, NoteSignature, key_id, parse_note, parse_vkey, write_vkey

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
POEM = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501 - as published
LOG_LINE = (
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
WITNESS_LINE = (
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
BODY = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def test_the_published_note_is_read_and_its_published_key_verifies_it() -> None:
    note, (name, kind, key) = parse_note(NOTE), parse_vkey(VKEY)
    (line,) = note.signatures
    assert (name, kind) == ("example.com/foo", 1)
    assert (line.name, line.key_id) == (name, key_id(name, kind, key))
    Ed25519PublicKey.from_public_bytes(key).verify(line.signature, note.text.encode())
    assert note.write() == NOTE
    assert write_vkey(name, kind, key) == VKEY


def test_the_text_of_a_note_may_have_empty_lines() -> None:
    note = parse_note(POEM)
    assert note.text.endswith("sole:\n\ned è subito sera.\n")
    assert note.write() == POEM


def test_the_published_checkpoint_is_read() -> None:
    found = parse_checkpoint(f"{BODY}\n{LOG_LINE}{WITNESS_LINE}")
    assert found.head.origin == "example.com/behind-the-sofa"
    assert found.head.size == 20852163
    assert base64.b64encode(found.head.root) == b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert found.head.text() == BODY
    log, witness = found.note.signatures
    assert (log.name, len(log.signature)) == ("example.com/behind-the-sofa", 64)
    # A timestamped_signature; the specification shows the message with "time 1679315147".
    assert (witness.name, struct.unpack(">Q", witness.signature[:8])[0]) == ("witness.example.com/w1", 1679315147)


def test_the_signed_message_is_laid_out_as_the_structure_says() -> None:
    # As crates/tlog_cosignature of github.com/cloudflare/azul at 610bd6f pins it, for subtrees as well.
    found = signed_message("a", 0x0102030405060708, "b", 0x1718191A1B1C1D1E, b"\x42" * 32, start=0x0910111213141516)
    wanted = b"subtree/v1\n\x00" + b"\x01a" + bytes.fromhex("0102030405060708") + b"\x01b"
    assert found == wanted + bytes.fromhex("09101112131415161718191a1b1c1d1e") + b"\x42" * 32


def test_a_log_signs_with_a_plain_mldsa_signature_of_the_message() -> None:
    signer = CosignerSigner.generate("hospital.example/log")
    signed = sign(Checkpoint("hospital.example/log", 7, bytes(32)), signer, now=NOW)
    (line,) = parse_checkpoint(signed.text()).note.signatures
    assert line.key_id == key_id("hospital.example/log", 6, signer.public.raw)
    assert line.signature[:8] == struct.pack(">Q", int(NOW.timestamp()))
    message = signed_message(line.name, int(NOW.timestamp()), "hospital.example/log", 7, bytes(32))
    MLDSA44PublicKey.from_public_bytes(signer.public.raw).verify(line.signature[8:], message)
    assert parse_checkpoint(signed.text()).signed_by(CosignerKey.parse(signer.public.vkey)) == NOW


def test_a_signature_is_of_one_tree_one_name_and_one_key() -> None:
    signer = CosignerSigner.generate("w.example/1")
    line = signer.sign_tree("log.example", 7, bytes(32), now=NOW)
    assert signer.public.verify_tree(line, "log.example", 7, bytes(32)) == NOW
    other = CosignerSigner.generate("w.example/1").public
    renamed = CosignerKey("w.example/2", signer.public.raw)
    later = NoteSignature(line.name, line.key_id, struct.pack(">Q", 1) + line.signature[8:])
    for key, each, origin, size in (
        (signer.public, line, "log.example", 8),
        (signer.public, line, "log.example/other", 7),
        (signer.public, later, "log.example", 7),
        (other, NoteSignature(line.name, other.key_id, line.signature), "log.example", 7),
        (renamed, NoteSignature("w.example/2", renamed.key_id, line.signature), "log.example", 7),
        (signer.public, NoteSignature(line.name, line.key_id, line.signature[:-1]), "log.example", 7),
    ):
        with pytest.raises(SignatureError):
            key.verify_tree(each, origin, size, bytes(32))


def test_unknown_signatures_are_left_out_and_a_false_one_of_a_known_key_is_refused() -> None:
    signer, stranger = CosignerSigner.generate("log.example"), CosignerSigner.generate("stranger.example")
    signed = sign(Checkpoint("log.example", 1, bytes(32)), signer, now=NOW)
    foreign = stranger.sign_tree("log.example", 1, bytes(32), now=NOW)
    both = SignedCheckpoint(signed.head, signed.note.with_signatures([foreign]))
    assert both.signed_by(signer.public) == NOW
    assert both.witnesses([signer.public]) == {"log.example": NOW}
    forged = NoteSignature("log.example", signer.public.key_id, bytes(len(foreign.signature)))
    false = SignedCheckpoint(signed.head, Note(signed.head.text(), (forged,)))
    with pytest.raises(SignatureError):
        false.signed_by(signer.public)
    assert false.witnesses([signer.public]) == {}


def test_signing_again_replaces_the_line_of_the_same_key() -> None:
    signer = CosignerSigner.generate("log.example")
    signed = sign(Checkpoint("log.example", 1, bytes(32)), signer, now=NOW)
    again = signed.note.with_signatures([signer.sign_tree("log.example", 1, bytes(32), now=NOW)])
    assert len(again.signatures) == 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("text\n", id="no-signature"),
        pytest.param("text\n\n", id="no-lines"),
        pytest.param(NOTE.replace("—", "-"), id="another-dash"),
        pytest.param(NOTE.rstrip("\n"), id="no-last-newline"),
        pytest.param(NOTE.replace("This", "This\t"), id="control-character"),
        pytest.param(NOTE.replace("foo ", "foo+ "), id="plus-in-name"),
        pytest.param(NOTE.replace("IneyaQM=", "IneyaQN="), id="stray-bits"),
        pytest.param(NOTE + LOG_LINE * 64, id="too-many-signatures"),
        pytest.param(NOTE * 3000, id="too-long"),
    ],
)
def test_refuses_what_is_no_note(text: str) -> None:
    with pytest.raises(NoteError):
        parse_note(text)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY.replace("20852163", "020852163"), id="leading-zero"),
        pytest.param(BODY.replace("20852163", "-1"), id="negative"),
        pytest.param(BODY.replace("CsUYapGG", "CsUYapG"), id="short-root"),
        pytest.param(BODY + "extension\n", id="extension-line-that-nobody-signs"),
        pytest.param("log.example\n1\n", id="two-lines"),
        pytest.param(BODY.replace("20852163", "0"), id="empty-tree-with-a-root"),
    ],
)
def test_refuses_what_is_no_checkpoint(body: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(f"{body}\n{LOG_LINE}")


def test_an_empty_log_has_a_checkpoint() -> None:
    signer = CosignerSigner.generate("log.example")
    assert parse_checkpoint(sign(Checkpoint("log.example", 0, EMPTY_ROOT), signer, now=NOW).text()).head.size == 0


@pytest.mark.parametrize(
    "vkey",
    [
        pytest.param(VKEY.replace("530d903a", "530d903b"), id="another-id"),
        pytest.param(VKEY.replace("+530d903a", ""), id="no-id"),
        pytest.param(VKEY, id="of-another-algorithm"),
    ],
)
def test_refuses_what_is_no_key_of_a_cosigner(vkey: str) -> None:
    with pytest.raises(NoteError):
        CosignerKey.parse(vkey)


def test_a_private_key_outlives_its_file() -> None:
    signer = CosignerSigner.generate("log.example")
    assert CosignerSigner.from_pem("log.example", signer.to_pem()).public == signer.public
    with pytest.raises(KeyFileError):
        CosignerSigner.from_pem("log.example", b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(KeyFileError):
        CosignerKey("log.example", bytes(1311))
