import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from federated.errors import SecureAggregationError
from federated.secure_aggregation.pairwise_masks import PairKey, add_mask, check_public
from federated.secure_aggregation.parties import KeyBook, Parties, PublicKeys


def _book(keys, context=b"round 1"):
    return KeyBook(
        Parties(context, tuple(sorted(keys)), len(keys)),
        {name: PublicKeys(key.public, key.public) for name, key in keys.items()},
    )


@pytest.fixture
def keys():
    return {"a": PairKey.generate(), "b": PairKey.generate()}


def test_both_sites_of_a_pair_get_the_same_seed(keys):
    book = _book(keys)
    seed, ciphertext = keys["a"].offer(book, "a", "b")
    assert keys["b"].accept(book, "b", "a", ciphertext) == seed
    assert PairKey(keys["b"].raw).accept(book, "b", "a", ciphertext) == seed


def test_seed_is_another_in_another_round(keys):
    _, ciphertext = keys["a"].offer(_book(keys), "a", "b")
    seeds = {keys["b"].accept(_book(keys, context), "b", "a", ciphertext) for context in (b"round 1", b"round 2")}
    assert len(seeds) == 2


@pytest.mark.parametrize("half", ["mlkem", "x25519"])
def test_seed_needs_both_halves_of_the_key(keys, half):
    book = _book(keys)
    seed, ciphertext = keys["a"].offer(book, "a", "b")
    own, strange = keys["b"].raw, PairKey.generate().raw
    known_half = own[:64] + strange[64:] if half == "mlkem" else strange[:64] + own[64:]
    assert PairKey(known_half).accept(book, "b", "a", ciphertext) != seed


def test_changed_ciphertext_gives_another_seed(keys):
    book = _book(keys)
    seed, ciphertext = keys["a"].offer(book, "a", "b")
    assert keys["b"].accept(book, "b", "a", bytes([ciphertext[0] ^ 1]) + ciphertext[1:]) != seed


def test_refuses_a_ciphertext_of_another_length(keys):
    with pytest.raises(SecureAggregationError, match="a: expected a ciphertext of 1088 bytes, got 5"):
        keys["b"].accept(_book(keys), "b", "a", b"short")


@pytest.mark.parametrize(
    "public",
    [
        pytest.param(b"short", id="another length"),
        pytest.param(b"\xff" * 1216, id="no ML-KEM key: coefficients above the modulus"),
        pytest.param(bytes(1216), id="X25519 point of low order"),
    ],
)
def test_refuses_public_keys_that_are_none(public):
    with pytest.raises(SecureAggregationError):
        check_public(public)


def test_refuses_a_private_key_of_another_length():
    with pytest.raises(SecureAggregationError, match="96 bytes"):
        PairKey(b"short")


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_001])
def test_mask_is_the_keystream_of_aes_256_ctr(size):
    seed, vector = bytes(range(32)), np.full(size, 7, np.uint32)
    add_mask(vector, seed)
    stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor().update(bytes(4 * size))
    assert np.array_equal(vector, np.frombuffer(stream, "<u4") + np.uint32(7))


def test_mask_is_taken_away_again():
    vector = np.arange(100_000, dtype=np.uint32)
    add_mask(vector, bytes(32))
    assert not np.array_equal(vector, np.arange(100_000))
    add_mask(vector, bytes(32), subtract=True)
    assert np.array_equal(vector, np.arange(100_000))
