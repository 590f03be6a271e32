"""What the sites of a masked sum sign: keys, shares, recoveries and vectors. Each message has one length, no more.

A signature covers the round, the sender, the receiver and, once keys are exchanged, everyone's keys. So the
coordinator, which carries all of it, can neither change a message nor send it elsewhere or again in another round.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from federated.errors import MessageError, SecureAggregationError, SenderError
from federated.rounds import sealing
from federated.rounds.sealing import SealingKey
from federated.rounds.wire import pack, unpack
from federated.secure_aggregation.fixed_point import Ring
from federated.secure_aggregation.pairwise_masks import (
    CIPHERTEXT_BYTES,
    PRIVATE_BYTES,
    PUBLIC_BYTES,
    SEED_BYTES,
    check_public,
)
from federated.secure_aggregation.parties import KeyBook, Parties, PublicKeys, transcript
from federated.secure_aggregation.shamir import SHARE_BYTES
from governance.errors import SignatureError
from governance.signatures import SIGNATURE_BYTES, SigningKey, VerifyingKey

Roster = Mapping[str, VerifyingKey]
DIGEST_BYTES: Final = 32
_KEYS, _SHARES = "qfl/masking-keys", "qfl/masking-shares"
_RECOVERY, _VECTOR = "qfl/masking-recovery", "qfl/masking-vector"
_TAG_BYTES: Final = 16
_NONCE: Final = bytes(12)  # each key encrypts one message


@dataclass(frozen=True)
class Shares:
    """What one site holds of another's two secrets.

    Attributes:
        recovery: Of the key that opens the other's Recovery: revealed if that site drops out.
        own_mask: Of the seed of the other's own mask: revealed if its vector is in the sum.
    """

    recovery: bytes
    own_mask: bytes

    @property
    def raw(self) -> bytes:
        """132 bytes."""
        return self.recovery + self.own_mask

    @classmethod
    def parse(cls, raw: bytes) -> "Shares":
        """Read what raw gave; whoever calls has checked its length."""
        return cls(raw[:SHARE_BYTES], raw[SHARE_BYTES:])


@dataclass(frozen=True)
class Parcel:
    """From one site to another, through the coordinator.

    Attributes:
        ciphertext: Of the pair's seed, from the lower site to the higher one; else empty.
        recovery_commitment: Hash of the share that is sealed inside: whoever reveals another one later is found out.
        own_mask_commitment: The same for the other share.
        sealed: Both shares, for the receiver only.
    """

    ciphertext: bytes
    recovery_commitment: bytes
    own_mask_commitment: bytes
    sealed: bytes


@dataclass(frozen=True)
class Recovery:
    """What the coordinator keeps of a site, to be opened by the others' shares if the site drops out.

    Attributes:
        locked: The site's private pair key and the seeds that it made, encrypted.
        seed_commitment: Hash of the seed of its own mask.
        own_mask_commitment: Hash of the site's own share of that seed.
    """

    locked: bytes
    seed_commitment: bytes
    own_mask_commitment: bytes


def vector_digest(vector: Ring) -> bytes:
    """SHA-256 of a masked vector."""
    return hashlib.sha256(vector.astype("<u4").tobytes()).digest()


def write_group(messages: Mapping[str, bytes]) -> bytes:
    """Messages by site as one piece of a stored state."""
    return pack({}, messages)


def read_group(data: memoryview) -> dict[str, bytes]:
    """What write_group wrote.

    Raises:
        MessageError: It is something else.
    """
    return {name: bytes(piece) for name, piece in unpack(bytes(data), limit=len(data))[1].items()}


def commit(parties: Parties, kind: str, dealer: str, holder: str, secret: bytes) -> bytes:
    """A hash that fixes a random secret without showing it."""
    return transcript(b"qfl/masking-commitment", parties.id, kind.encode(), dealer.encode(), holder.encode(), secret)


def check_commitment(commitment: bytes, parties: Parties, kind: str, dealer: str, holder: str, secret: bytes) -> bool:
    """Whether a secret is the one that was committed to."""
    return hmac.compare_digest(commitment, commit(parties, kind, dealer, holder, secret))


def write_keys(parties: Parties, site: str, keys: PublicKeys, signing: SigningKey) -> bytes:
    """A site's keys, signed."""
    return _sign(signing, _KEYS, keys.masks + keys.shares, parties.id, site)


def read_keys(parties: Parties, site: str, message: bytes, roster: Roster) -> PublicKeys:
    """What write_keys wrote.

    Raises:
        SenderError: The site did not sign it for this round.
        SecureAggregationError: The site takes no part, or the message holds no keys.
    """
    parties.check_member(site)
    body = _open(roster, site, _KEYS, message, 2 * PUBLIC_BYTES, parties.id, site)
    keys = PublicKeys(body[:PUBLIC_BYTES], body[PUBLIC_BYTES:])
    try:
        check_public(keys.masks)
        check_public(keys.shares)
    except SecureAggregationError as fault:
        raise SecureAggregationError(f"{site}: {fault}") from fault
    return keys


def seal_shares(book: KeyBook, sender: str, receiver: str, shares: Shares) -> bytes:
    """Encrypt shares for one site."""
    return sealing.seal(book.keys[receiver].shares, shares.raw, context=_sealing_context(book, sender, receiver))


def open_shares(book: KeyBook, sender: str, receiver: str, parcel: Parcel, key: SealingKey) -> Shares:
    """Decrypt and check the shares of a parcel.

    Raises:
        SecureAggregationError: They are not what the sender committed to, or not sealed for this site and round.
    """
    try:
        raw = key.open(parcel.sealed, context=_sealing_context(book, sender, receiver))
    except MessageError as fault:
        raise SecureAggregationError(f"{sender}: expected shares sealed for {receiver}, got others.") from fault
    shares, parties = Shares.parse(raw), book.parties
    if not (
        check_commitment(parcel.recovery_commitment, parties, "recovery", sender, receiver, shares.recovery)
        and check_commitment(parcel.own_mask_commitment, parties, "own-mask", sender, receiver, shares.own_mask)
    ):
        raise SecureAggregationError(f"{sender}: expected the shares that it committed to for {receiver}, got others.")
    return shares


def write_parcel(book: KeyBook, sender: str, receiver: str, parcel: Parcel, signing: SigningKey) -> bytes:
    """A parcel, signed."""
    body = parcel.ciphertext + parcel.recovery_commitment + parcel.own_mask_commitment + parcel.sealed
    return _sign(signing, _SHARES, body, book.id, sender, receiver)


def read_parcel(book: KeyBook, sender: str, receiver: str, message: bytes, roster: Roster) -> Parcel:
    """What write_parcel wrote.

    Raises:
        SenderError: The sender did not sign it for this receiver, this round and these keys.
        SecureAggregationError: It has another length.
    """
    made = CIPHERTEXT_BYTES if sender < receiver else 0
    size = made + 2 * DIGEST_BYTES + 2 * SHARE_BYTES + sealing.OVERHEAD_BYTES
    body = _open(roster, sender, _SHARES, message, size, book.id, sender, receiver)
    first, second, sealed = made, made + DIGEST_BYTES, made + 2 * DIGEST_BYTES
    return Parcel(body[:first], body[first:second], body[second:sealed], body[sealed:])


def lock_recovery(book: KeyBook, site: str, key: bytes, private: bytes, seeds: Mapping[str, bytes]) -> bytes:
    """Encrypt what undoes a site's pairwise masks.

    Args:
        key: 32 bytes, used for nothing else; the others hold shares of it.
        private: PairKey.raw.
        seeds: Of the pairs in which this site made the ciphertext.
    """
    plain = private + b"".join(seeds[peer] for peer in book.above(site))
    return AESGCM(key).encrypt(_NONCE, plain, _recovery_context(book, site))


def unlock_recovery(book: KeyBook, site: str, key: bytes, recovery: Recovery) -> tuple[bytes, dict[str, bytes]]:
    """What lock_recovery encrypted: the private pair key, and seeds by site.

    Raises:
        SecureAggregationError: The site locked it with another key than the one it dealt shares of.
    """
    try:
        plain = AESGCM(key).decrypt(_NONCE, recovery.locked, _recovery_context(book, site))
    except InvalidTag as fault:
        raise SecureAggregationError(
            f"{site}: expected shares of the key to its recovery, but it dealt shares of another key."
        ) from fault
    starts = range(PRIVATE_BYTES, len(plain), SEED_BYTES)
    seeds = {peer: plain[start : start + SEED_BYTES] for peer, start in zip(book.above(site), starts, strict=True)}
    return plain[:PRIVATE_BYTES], seeds


def write_recovery(book: KeyBook, site: str, recovery: Recovery, signing: SigningKey) -> bytes:
    """A recovery, signed."""
    body = recovery.seed_commitment + recovery.own_mask_commitment + recovery.locked
    return _sign(signing, _RECOVERY, body, book.id, site)


def read_recovery(book: KeyBook, site: str, message: bytes, roster: Roster) -> Recovery:
    """What write_recovery wrote.

    Raises:
        SenderError: The site did not sign it for this round and these keys.
        SecureAggregationError: It has another length.
    """
    size = 2 * DIGEST_BYTES + PRIVATE_BYTES + SEED_BYTES * len(book.above(site)) + _TAG_BYTES
    body = _open(roster, site, _RECOVERY, message, size, book.id, site)
    return Recovery(body[2 * DIGEST_BYTES :], body[:DIGEST_BYTES], body[DIGEST_BYTES : 2 * DIGEST_BYTES])


def write_statement(book: KeyBook, site: str, view: Iterable[str], vector: bytes, signing: SigningKey) -> bytes:
    """A site's word on its masked vector: with which sites it is masked, and its SHA-256, 32 bytes."""
    return _sign(signing, _VECTOR, vector, book.id, site, *sorted(view))


def read_statement(book: KeyBook, site: str, view: Iterable[str], message: bytes, roster: Roster) -> bytes:
    """The digest of the vector that a site masked with these sites.

    Raises:
        SenderError: It did not sign this, or masked with other sites.
        SecureAggregationError: The message has another length.
    """
    return _open(roster, site, _VECTOR, message, DIGEST_BYTES, book.id, site, *sorted(view))


def _sealing_context(book: KeyBook, sender: str, receiver: str) -> bytes:
    return transcript(b"qfl/masking-sealed", book.id, sender.encode(), receiver.encode())


def _recovery_context(book: KeyBook, site: str) -> bytes:
    return transcript(b"qfl/masking-locked", book.id, site.encode())


def _sign(signing: SigningKey, purpose: str, body: bytes, about: bytes, *names: str) -> bytes:
    signed = transcript(about, body, *(name.encode() for name in names))
    return body + signing.sign(signed, purpose=purpose)


def _open(roster: Roster, site: str, purpose: str, message: bytes, size: int, about: bytes, *names: str) -> bytes:
    """The body of a message, its length and signature checked."""
    if len(message) != size + SIGNATURE_BYTES:
        raise SecureAggregationError(
            f"{site}: expected {purpose} of {size + SIGNATURE_BYTES} bytes, got {len(message)}."
        )
    if site not in roster:
        raise SenderError(f"{site}: expected a site of the federation's roster, got one that is not in it.")
    body, signature = bytes(message[:size]), bytes(message[size:])
    signed = transcript(about, body, *(name.encode() for name in names))
    try:
        roster[site].verify(signature, signed, purpose=purpose)
    except SignatureError as fault:
        raise SenderError(f"{site}: expected its own signature as {purpose}, for this round; got another.") from fault
    return body
