"""The ledgers: of a site, with what makes their entries, of a coordinator, and the consortium's chain."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from governance.adapters.ledger_folder import LedgerFolder
from governance.adapters.sql_ledger import SqlLedger, create_ledger_tables
from governance.ledger.entries import keyed_digest
from governance.ports import Chain
from plugin.adapters import sql_engine
from plugin.adapters.sql_coverage import SqlCoverage
from plugin.bootstrap import clock
from plugin.errors import SettingsError
from plugin.services.federation_folders import installed_kit, read_address
from plugin.services.governance.coverage import Coverable, begin_recording
from plugin.services.governance.desk import digest_key
from plugin.services.governance.journal import Journal
from plugin.services.governance.round_journal import RoundJournal
from plugin.services.ledger import Ledger
from plugin.services.secret_files import private_folder
from plugin.settings import ConsortiumSettings, Settings


def migrate_database(settings: Settings) -> None:
    """Bring the database's schema to this code's version, and open the ledger: nothing is done unrecorded."""
    sql_engine.migrate(sql_engine.connect(settings.database_url))
    ledger = build_ledger(settings)
    ledger.open()
    begin_recording(ledger, build_coverage(settings), now=clock.now())


def build_ledger(settings: Settings) -> Ledger:
    """The site's ledger: its rows in the database, its key and last checkpoint in a folder beside it."""
    store = SqlLedger(sql_engine.connect(settings.database_url))
    origin = f"{urlsplit(settings.web.public_url).netloc}/ledger"
    return Ledger(store, LedgerFolder(settings.data_dir / "ledger"), origin, clock.now)


def build_coordinator_ledger(folder: Path) -> Ledger:
    """The ledger of a federation's coordinator, in its own folder.

    Args:
        folder: That `qfl federation init` made.

    Raises:
        ProvisioningError: It is none.
    """
    hosts, _ = read_address(folder)
    own = private_folder(folder / "ledger")
    engine = sql_engine.connect(f"sqlite:///{own / 'ledger.db'}")
    create_ledger_tables(engine)
    return Ledger(SqlLedger(engine), LedgerFolder(own), f"{hosts[0]}/coordinator", clock.now)


def build_journal(settings: Settings) -> Journal:
    """What makes the ledger's entries of the clinical loop."""
    key = digest_key_of(settings)
    return Journal(lambda what, name: keyed_digest(key(), f"{what}:{name}"))


def build_round_journal(settings: Settings) -> RoundJournal:
    """What makes the ledger's entries of what the site keeps of its federated rounds."""
    key, kit = digest_key_of(settings), installed_kit(settings.federation.folder)
    return RoundJournal(lambda what, name: keyed_digest(key(), f"{what}:{name}"), kit.site if kit else "not joined")


def build_coverage(settings: Settings) -> Coverable:
    """The database, to be compared with the ledger in it. Nothing is connected yet."""
    engine = sql_engine.connect(settings.database_url)
    return SqlCoverage(engine, build_journal(settings), build_round_journal(settings))


def build_chain(settings: Settings) -> Chain:
    """The consortium's contract. Nothing is connected yet.

    Raises:
        SettingsError: No chain or no contract is configured.
    """
    from governance.adapters.ethereum import ConsortiumChain, http_provider

    consortium = _consortium(settings)
    if consortium.contract is None:
        raise SettingsError("QFL_CHAIN_CONTRACT is not set. Deploy one: qfl governance chain deploy.")
    return ConsortiumChain(http_provider(consortium.url), consortium.contract, _chain_account(consortium))


def deploy_contract(settings: Settings, institutions: Sequence[str], threshold: int) -> str:
    """Put the consortium's contract on its chain; returns its address.

    Raises:
        SettingsError: No chain is configured.
        AnchorError: The chain does not answer, or refuses.
    """
    from governance.adapters.ethereum import deploy, http_provider

    consortium = _consortium(settings)
    return deploy(http_provider(consortium.url), _chain_account(consortium)(), institutions, threshold)


def _consortium(settings: Settings) -> ConsortiumSettings:
    if settings.consortium is None:
        raise SettingsError(
            "No chain is configured: set QFL_CHAIN_URL, QFL_CHAIN_KEYSTORE and QFL_CHAIN_PASSPHRASE_FILE. The ledger "
            "stands alone without one."
        )
    return settings.consortium


def _chain_account(consortium: ConsortiumSettings) -> Callable[[], Any]:
    from governance.adapters.ethereum import open_account

    return cache(lambda: open_account(consortium.keystore, consortium.passphrase))


def digest_key_of(settings: Settings) -> Callable[[], bytes]:
    """Gives the site's key of the digests that stand for names in the ledger; it is made when first asked for."""
    folder = settings.data_dir / "governance"
    return cache(lambda: digest_key(folder))
