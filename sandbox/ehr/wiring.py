"""The parts of one EHR, put together."""

from dataclasses import dataclass

from sandbox.ehr.channels import IMAGING_STUDY_TOPIC
from sandbox.ehr.interactions import Interactions, Watcher
from sandbox.ehr.search import Search
from sandbox.ehr.store import Store, now_instant
from sandbox.ehr.subscriptions import Subscriptions

FHIR_PATH = "/fhir"


@dataclass(frozen=True)
class Ehr:
    """The server's parts, kept in app.extensions."""

    store: Store
    search: Search
    subscriptions: Subscriptions
    interactions: Interactions
    base_url: str
    started: str


def build_ehr(store: Store, server_url: str, topics: frozenset[str]) -> Ehr:
    """Wire one server's parts; topics come beside the one it always knows."""
    base_url = server_url + FHIR_PATH
    search = Search(store, base_url)
    subscriptions = Subscriptions(store, search, topics | {IMAGING_STUDY_TOPIC})
    watcher = Watcher(subscriptions.check, subscriptions.changed)
    interactions = Interactions(store, search, base_url, watcher)
    return Ehr(store, search, subscriptions, interactions, base_url, now_instant())
