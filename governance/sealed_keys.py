"""A private key under a passphrase: scrypt (RFC 7914) makes a key of the passphrase, AES-256-GCM seals with it.

Not PKCS #8's own encryption: as written by the library it stretches a passphrase by 2,048 rounds of PBKDF2, which
somebody who has the database tries millions of times a second.
"""

import json
import secrets
from base64 import b64decode, b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from governance.canonical import canonical_bytes
from governance.errors import KeyFileError, OfficerKeyError
from governance.signatures import SigningKey

MIN_PASSPHRASE: Final = 12
"""Characters."""
WORK_FACTOR: Final = 1 << 15
"""Of scrypt: 32 MB and three passes, about a quarter of a second."""
_MOST_WORK: Final = 1 << 18
_BLOCK, _PASSES, _KEY_BYTES, _SALT_BYTES, _NONCE_BYTES = 8, 3, 32, 16, 12
_PURPOSE: Final = b"qfl/officer-key"


def seal_key(key: SigningKey, passphrase: str) -> bytes:
    """Encrypt a private key; two calls give different bytes.

    Raises:
        OfficerKeyError: The passphrase is too short.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise OfficerKeyError(f"A passphrase has at least {MIN_PASSPHRASE} characters, got {len(passphrase)}.")
    salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(_stretch(passphrase, salt, WORK_FACTOR)).encrypt(nonce, key.to_pem(), _PURPOSE)
    texts = {"salt": salt, "nonce": nonce, "sealed": sealed}
    return canonical_bytes(
        {"v": 1, "work": WORK_FACTOR, **{name: b64encode(it).decode() for name, it in texts.items()}}
    )


def open_key(sealed: bytes, passphrase: str) -> SigningKey:
    """Decrypt what seal_key wrote.

    Raises:
        OfficerKeyError: The passphrase is another one, or the bytes were changed; they cannot be told apart.
    """
    try:
        document = json.loads(sealed)
        work = document["work"]
        salt, nonce, data = (b64decode(document[name], validate=True) for name in ("salt", "nonce", "sealed"))
        if not isinstance(work, int) or not 1 < work <= _MOST_WORK:
            raise OfficerKeyError("The officer's key is damaged: enrol the officer again.")
        return SigningKey.from_pem(AESGCM(_stretch(passphrase, salt, work)).decrypt(nonce, data, _PURPOSE))
    except InvalidTag as fault:
        raise OfficerKeyError("The passphrase does not open the officer's key.") from fault
    except (ValueError, KeyError, TypeError, KeyFileError) as fault:
        raise OfficerKeyError("The officer's key is damaged: enrol the officer again.") from fault


def _stretch(passphrase: str, salt: bytes, work: int) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, n=work, r=_BLOCK, p=_PASSES).derive(passphrase.encode())
