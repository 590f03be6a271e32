"""Keys under passphrases: only the right one opens, and nothing of the key or passphrase is in the bytes."""

import json
from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from governance import sealed_keys
from governance.errors import OfficerKeyError
from governance.sealed_keys import open_key, seal_key
from governance.signatures import SigningKey

PASSPHRASE = "a long enough passphrase"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_keys, "WORK_FACTOR", 2)


def test_the_passphrase_opens_the_key() -> None:
    key = SigningKey.generate()
    sealed = seal_key(key, PASSPHRASE)
    signature = open_key(sealed, PASSPHRASE).sign(b"message", purpose="test")
    key.verifying_key.verify(signature, b"message", purpose="test")
    assert seal_key(key, PASSPHRASE) != sealed


def test_another_reader_opens_it_as_documented() -> None:
    key = SigningKey.generate()
    document = json.loads(seal_key(key, PASSPHRASE))
    salt, nonce, data = (b64decode(document[name]) for name in ("salt", "nonce", "sealed"))
    stretched = Scrypt(salt=salt, length=32, n=document["work"], r=8, p=3).derive(PASSPHRASE.encode())
    assert AESGCM(stretched).decrypt(nonce, data, b"qfl/officer-key") == key.to_pem()


def test_another_passphrase_does_not_open_it() -> None:
    sealed = seal_key(SigningKey.generate(), PASSPHRASE)
    with pytest.raises(OfficerKeyError, match="does not open"):
        open_key(sealed, PASSPHRASE + " ")


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(OfficerKeyError, match="12 characters"):
        seal_key(SigningKey.generate(), "elevenchars")


@pytest.mark.parametrize(
    "sealed",
    [b"", b"{}", b"[]", b"not json", b'{"v":1,"work":1073741824,"salt":"","nonce":"","sealed":""}', b"\xff", b"null"],
)
def test_damaged_bytes_are_told_as_such(sealed: bytes) -> None:
    with pytest.raises(OfficerKeyError, match="damaged"):
        open_key(sealed, PASSPHRASE)


def test_a_changed_byte_does_not_open() -> None:
    document = json.loads(seal_key(SigningKey.generate(), PASSPHRASE))
    data = document["sealed"]
    document["sealed"] = ("B" if data[0] == "A" else "A") + data[1:]
    with pytest.raises(OfficerKeyError):
        open_key(json.dumps(document).encode(), PASSPHRASE)


def test_the_work_is_what_is_recommended() -> None:
    """OWASP's password storage cheat sheet: scrypt with N = 2^15, r = 8, p = 3."""
    assert (sealed_keys._BLOCK, sealed_keys._PASSES) == (8, 3)
    import importlib

    assert importlib.reload(sealed_keys).WORK_FACTOR >= 2**15
