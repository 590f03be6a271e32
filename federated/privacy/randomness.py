"""Random numbers that nobody else can guess: a ChaCha20 key stream, from a secret of the operating system.

Whoever can guess the noise can take it off again, so a seed will not do. Numbers of one purpose (a step, say) come from
a key of its own, derived from the secret: going on after a kill draws the same noise again, without any state to keep.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from federated.errors import CheckpointError

Floats = npt.NDArray[np.float64]
KEY_BYTES: Final = 32
_SUMMED: Final = 4


class SecretRandom:
    """A stream of random numbers; the same key gives the same stream."""

    def __init__(self, key: bytes) -> None:
        """Start at the beginning of a key's stream; fresh() makes a key."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"Expected a key of {KEY_BYTES} bytes, got {len(key)}.")
        self._key = key
        # Each key serves one stream, so the nonce may be constant.
        self._stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()

    @classmethod
    def fresh(cls) -> "SecretRandom":
        """From a new secret of the operating system."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def unsafe_seeded(cls, seed: int) -> "SecretRandom":
        """From a seed, which anyone can guess: for tests and benchmarks only."""
        return cls(hashlib.sha256(f"qfl/unsafe-seed/{seed}".encode()).digest())

    @classmethod
    def kept(cls, path: Path) -> "SecretRandom":
        """From a secret in a file that only its owner can read, made when it is not there.

        Raises:
            CheckpointError: The file cannot be read or written, or is no such secret.
        """
        try:
            if not path.exists():
                _write_secret(path, secrets.token_bytes(KEY_BYTES))
            key = path.read_bytes()
        except OSError as fault:
            raise CheckpointError(f"{path}: cannot be used ({fault.strerror}).") from fault
        if len(key) != KEY_BYTES:
            raise CheckpointError(f"{path}: expected a secret of {KEY_BYTES} bytes, got {len(key)}; start again.")
        return cls(key)

    def child(self, *purpose: str | int) -> "SecretRandom":
        """The stream of a purpose; it says nothing about this one or about other purposes."""
        label = "\0".join(f"{type(each).__name__}:{each}" for each in purpose)
        return SecretRandom(hmac.digest(self._key, label.encode(), "sha256"))

    def uniform(self, count: int) -> Floats:
        """Numbers above 0 and below 1, (count,), each of 2^53 values."""
        words = np.frombuffer(self._stream.update(bytes(8 * count)), np.dtype("<u8"))
        return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, count: int) -> Floats:
        """Numbers of mean 0 and standard deviation 1, (count,).

        Each is a sum of four, whose low bits tell nothing that an attack on floating point could use: Holohan & Braghin
        (2021), arXiv:2107.10138.
        """
        pairs = (_SUMMED * count + 1) // 2
        radius = np.sqrt(-2 * np.log(self.uniform(pairs)))
        angle = 2 * np.pi * self.uniform(pairs)
        drawn = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[: _SUMMED * count]
        total: Floats = drawn.reshape(_SUMMED, count).sum(0) / np.sqrt(_SUMMED)
        return total

    def seed(self) -> int:
        """A seed for a generator whose numbers need not be secret, 0 to 2^63 - 1."""
        return int.from_bytes(self._stream.update(bytes(8)), "little") >> 1


def _write_secret(path: Path, key: bytes) -> None:
    """The file appears when it is whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_suffix(".part")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
