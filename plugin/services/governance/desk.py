"""What the use cases of governance work with: the records, the ledger, the policy in force, the key of digests."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from governance.ledger.entries import keyed_digest
from governance.policy import GovernancePolicy
from governance.ports import Chain
from plugin.services.governance.policy_text import default_policy_text, parse_policy_text
from plugin.services.governance.ports import GovernanceStore
from plugin.services.ledger import Ledger
from plugin.services.secret_files import private_folder, read_secret, write_secret_once

_KEY_BYTES: Final = 32
_KEY_FILE: Final = "digest.key"


@dataclass(frozen=True)
class GovernanceDesk:
    """Everything that governance needs.

    Attributes:
        store: Its records.
        key: Gives the hospital's own key of digests; whoever has it can find out whom a digest is of.
        clock: Gives the time.
        ledger: Of the site.
        chain: Gives the consortium's contract; None where the site has none. Only who needs it imports its libraries.
    """

    store: GovernanceStore
    key: Callable[[], bytes] = field(repr=False)
    clock: Callable[[], datetime]
    ledger: Ledger
    chain: Callable[[], Chain | None] = lambda: None

    def policy(self) -> GovernancePolicy:
        """The policy in force, read anew each time.

        Raises:
            PolicyError: It cannot be used: nothing is allowed.
        """
        return parse_policy_text(self.store.policy_text() or default_policy_text())

    def digest(self, what: str, name: str) -> str:
        """The keyed digest by which the ledger speaks of something that tells of a person or a study.

        Args:
            what: What kind of name it is, e.g. "analysis", "study", "user", "patient": digests of different kinds
                cannot be compared.
            name: The id, UID or username itself.
        """
        return keyed_digest(self.key(), f"{what}:{name}")


def digest_key(folder: Path) -> bytes:
    """The hospital's own key of digests, made once and kept for its owner.

    Raises:
        ProvisioningError: The folder or the key is open to others, or cannot be written.
    """
    path = private_folder(folder) / _KEY_FILE
    write_secret_once(path, secrets.token_bytes(_KEY_BYTES))
    return read_secret(path)
