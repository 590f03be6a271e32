"""What a site's session keeps over a restart."""

import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from federated.errors import FederationError, RoundRecordError
from federated.rounds.sealing import SealingKey
from federated.rounds.wire import pack, unpack
from federated.secure_aggregation.messages import read_group, write_group
from federated.secure_aggregation.pairwise_masks import PairKey
from federated.secure_aggregation.parties import Parties
from federated.secure_aggregation.shamir import SECRET_BYTES
from governance.canonical import Canonical

_SINGLE: Final = ("pair_key", "share_key", "recovery_key", "own_seed", "public", "work", "statement")
_GROUPS: Final = ("keys", "seeds", "outgoing", "held")


@dataclass
class SessionState:
    """Secrets, and what was answered.

    Attributes:
        site: This site's name.
        pair_key: PairKey.raw: private half of the pairwise masks.
        share_key: SealingKey.raw: opens what the others deal to this site.
        recovery_key: Opens this site's recovery; the others hold shares of it.
        own_seed: Of this site's own mask; the others hold shares of it.
        public: This site's signed keys.
        keys: Everyone's signed keys, as share got them; empty before.
        seeds: Of the pairs in which this site made the ciphertext.
        outgoing: What share answered.
        held: By dealer, the shares that this site holds, its own included.
        work: Digest of what was masked; empty before.
        statement: On the masked vector.
        survivors: For whom shares were revealed; empty before.
    """

    site: str
    parties: Parties
    pair_key: bytes
    share_key: bytes
    recovery_key: bytes
    own_seed: bytes
    public: bytes = b""
    keys: dict[str, bytes] = field(default_factory=dict)
    seeds: dict[str, bytes] = field(default_factory=dict)
    outgoing: dict[str, bytes] = field(default_factory=dict)
    held: dict[str, bytes] = field(default_factory=dict)
    work: bytes = b""
    statement: bytes = b""
    survivors: tuple[str, ...] = ()

    @classmethod
    def fresh(cls, site: str, parties: Parties) -> "SessionState":
        """New secrets."""
        own = secrets.token_bytes(SECRET_BYTES), secrets.token_bytes(SECRET_BYTES)
        return cls(site, parties, PairKey.generate().raw, SealingKey.generate().raw, *own)

    def to_bytes(self) -> bytes:
        """Everything, secrets included."""
        header: dict[str, Canonical] = {
            "site": self.site,
            "context": self.parties.context.hex(),
            "participants": list(self.parties.participants),
            "threshold": self.parties.threshold,
            "bits": self.parties.bits,
            "survivors": list(self.survivors),
        }
        pieces = {name: getattr(self, name) for name in _SINGLE}
        return pack(header, pieces | {name: write_group(getattr(self, name)) for name in _GROUPS})

    @classmethod
    def from_bytes(cls, data: bytes) -> "SessionState":
        """What to_bytes wrote.

        Raises:
            RoundRecordError: It is something else.
        """
        try:
            header, pieces = unpack(data, limit=len(data))
            context, participants = bytes.fromhex(header["context"]), tuple(header["participants"])
            parties = Parties(context, participants, header["threshold"], header["bits"])
            stored: dict[str, Any] = {name: bytes(pieces[name]) for name in _SINGLE}
            stored |= {name: read_group(pieces[name]) for name in _GROUPS}
            return cls(header["site"], parties, **stored, survivors=tuple(header["survivors"]))
        except (FederationError, KeyError, TypeError, ValueError) as fault:
            raise RoundRecordError("Expected a stored masking session, got a damaged one.") from fault
