"""A hospital's part in federated rounds, and a coordinator's engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

from plugin.adapters import sql_engine
from plugin.adapters.child_processes import ChildProcesses, alone
from plugin.adapters.round_secrets import RoundSecrets
from plugin.adapters.sql_rounds import SqlRounds
from plugin.bootstrap.ledger import build_round_journal
from plugin.services.federation import Engine
from plugin.services.federation_desk import FederationDesk, SiteDesk
from plugin.services.federation_folders import POLICY, Coordinator, installed_kit
from plugin.services.federation_runs import RunViews
from plugin.services.local_run import Children
from plugin.services.ports import Services
from plugin.services.research_cohort import (
    CohortSource,
    FolderCohort,
    PhantomCohort,
    cohort_key,
    parse_cohort_setting,
)
from plugin.services.site_policy import read_policy
from plugin.services.site_rules import HospitalRules
from plugin.settings import Settings


def build_site_records(settings: Settings) -> SqlRounds:
    """The hospital's records of its federated rounds; the budget's limits are those of its policy."""
    secrets = RoundSecrets(settings.data_dir / "round-secrets")
    engine = sql_engine.connect(settings.database_url)
    return SqlRounds(engine, secrets, lambda: read_policy(policy_file(settings)).privacy, build_round_journal(settings))


def build_cohort_source(settings: Settings, services: Callable[[], Services]) -> CohortSource:
    """Where the hospital's training cases come from.

    Args:
        settings: Of the site.
        services: Gives them, where the cases are the site's own reviewed studies.
    """
    wanted = parse_cohort_setting(settings.federation.cohort)
    key = cohort_key(settings.data_dir / "cohort")
    if wanted.phantom is not None:
        return PhantomCohort(key, wanted.phantom, wanted.cases)
    if wanted.folder is not None:
        return FolderCohort(key, wanted.folder)
    # Imported by whoever trains on them: it reads DICOM, which takes much memory.
    from plugin.services.reviewed_studies import ReviewedCohort

    return ReviewedCohort(services(), lambda: read_policy(policy_file(settings)).cohort.use, key)


def build_site_rules(settings: Settings, records: SqlRounds, cohort: CohortSource) -> HospitalRules:
    """What the hospital allows."""
    return HospitalRules(policy_file(settings), records, cohort, device=settings.federation.device)


def policy_file(settings: Settings) -> Path:
    """Where the site's policy is."""
    return settings.federation.folder / POLICY


def build_federation_desk(settings: Settings) -> FederationDesk:
    """What the pages tell of federated rounds: a coordinator's runs, and the site's own part. Nothing is read yet."""
    records, coordinator = cache(lambda: build_site_records(settings)), settings.federation.coordinator

    def site() -> SiteDesk | None:
        kit = installed_kit(settings.federation.folder)
        if kit is None:
            return None
        return SiteDesk(kit.site, kit.roster.federation, records(), lambda: read_policy(policy_file(settings)).privacy)

    return FederationDesk(RunViews(coordinator) if coordinator else None, site)


def build_engine(folder: Path, coordinator: Coordinator, listen: str) -> AbstractContextManager[Engine]:
    """A coordinator's engine, as long as the block lasts.

    Args:
        folder: The coordinator's.
        coordinator: Its keys.
        listen: Address of the door for sites.
    """
    from plugin.adapters.flower_engine import FlowerEngine

    return FlowerEngine(folder / "engine", coordinator, listen)


def build_children(folder: Path) -> Children:
    """Processes of this one; those that an earlier, killed one left in this folder are ended."""
    children = ChildProcesses(folder)
    children.end_leftovers()
    return children


def hold_folder(folder: Path) -> AbstractContextManager[None]:
    """Be the only process of its kind over a folder, as long as the block lasts."""
    return alone(folder)


def app_digest() -> str:
    """Of the app that a run's sites must have installed."""
    from federated.engine import app_bundle

    return app_bundle.app_digest()
