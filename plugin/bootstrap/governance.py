"""What governs a site's models, reports on them, and erases what is held on a patient."""

from functools import cache

from plugin.adapters import sql_engine
from plugin.adapters.sql_evidence import SqlEvidence
from plugin.adapters.sql_governance import SqlGovernance
from plugin.adapters.sql_subjects import SqlSubjects
from plugin.bootstrap import clock
from plugin.bootstrap.ledger import build_chain, build_coverage, build_ledger, digest_key_of
from plugin.services.governance.dates import read_dates
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.reporting_desk import ReportingDesk, read_card
from plugin.services.governance.subjects import SubjectStore
from plugin.services.ports import Services
from plugin.settings import Settings


def build_governance(settings: Settings) -> GovernanceDesk:
    """What governs the site's models. Nothing is connected yet."""
    return GovernanceDesk(
        SqlGovernance(sql_engine.connect(settings.database_url)),
        digest_key_of(settings),
        clock.now,
        build_ledger(settings),
        cache(lambda: build_chain(settings) if settings.consortium and settings.consortium.contract else None),
    )


def build_reporting(settings: Settings, services: Services) -> ReportingDesk:
    """What governance reports and evidence bundles are made with. Nothing is connected yet."""
    return ReportingDesk(
        services=services,
        queries=SqlEvidence(sql_engine.connect(settings.database_url)),
        database=build_coverage(settings),
        dates=lambda: read_dates(settings.reporting.dates),
        card=lambda version: read_card(settings.model_dir, services.governance, version),
        schedule=settings.reporting.schedule,
    )


def build_subjects(settings: Settings) -> SubjectStore:
    """Where what is held on a patient is found and erased. Nothing is connected yet."""
    return SqlSubjects(sql_engine.connect(settings.database_url))
