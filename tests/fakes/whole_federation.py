"""A federation in one process, without an engine: sites, their records and workers, and a transport that loses things.

Everything random comes from one seed, and time is a number, so a test that fails fails again.
"""

import functools
import heapq
import itertools
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from federated.errors import PrivacyBudgetError, RoundRecordError
from federated.rounds.coordinator import Start, run_rounds
from federated.rounds.correspondence import CoordinatorKeys
from federated.rounds.messages import Progress, Stage
from federated.rounds.plan import Patience, RunPlan
from federated.rounds.ports import Finding, LocalResult, Work
from federated.rounds.roster import Roster, SiteEntry
from federated.rounds.sealing import SealingKey
from federated.rounds.site import SiteRounds
from federated.rounds.terms import Aggregation
from federated.strategies import start_state, update_size
from governance.signatures import SigningKey

APP = "a" * 64
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
WEIGHTS = {
    "a": np.arange(3, dtype=np.float32),
    "b.c": np.ones((2, 2), np.float32),
    "frozen": np.full(2, 5, np.float32),
}
NAMES = ("a", "b.c")
QUICK = Patience(sites_s=20, settle_s=2, silence_s=8, stage_s=30, train_s=60, evaluate_s=30)


class KilledError(BaseException):
    """What a process that is killed does not see."""


class Fuse:
    """Kills whoever burns it for the n-th time; None never."""

    def __init__(self, length=None):
        self.left = length

    def burn(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise KilledError


class Clock:
    """Each look takes a millisecond."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 0.001
        return START + timedelta(seconds=self.seconds)

    def sleep(self, seconds):
        self.seconds += seconds


class InMemoryRecords:
    """SiteRecords that survive the agent; a fuse kills it before something is kept."""

    def __init__(self, budget=100.0):
        self.kept, self.charges, self.departures, self.refusals = {}, {}, [], []
        self.budget, self.charged = budget, 0
        self.fuse = Fuse()

    def charge(self, terms, epsilon, *, now, patients=None, what="training"):
        self.fuse.burn()
        key = (terms.run, terms.round, what)
        others = sum(value for name, value in self.charges.items() if name != key)
        if others + epsilon > self.budget:
            raise PrivacyBudgetError(f"expected at most {self.budget}, got {others + epsilon}")
        self.charged += key not in self.charges
        self.charges[key] = epsilon

    def note_departure(self, terms, stage, *, what, digest, size, now):
        self.fuse.burn()
        found = (terms.run, terms.round, stage, what, digest, size)
        if found not in self.departures:
            self.departures.append(found)

    def note_refusal(self, terms, findings, *, now):
        self.refusals.append((terms.round, [finding.rule for finding in findings if not finding.allowed]))

    def load(self, key):
        return self.kept.get(key)

    def keep(self, key, data):
        self.fuse.burn()
        self.kept[key] = bytes(data)

    def drop(self, prefix):
        self.fuse.burn()
        for key in [key for key in self.kept if key.startswith(prefix)]:
            del self.kept[key]


class Rules:
    """SiteRules that say what a test wants."""

    def __init__(self):
        self.refusals = []
        self.checked = 0

    def check(self, terms, *, now):
        self.checked += 1
        refused = [Finding(name, "", allowed=False, reason="not here") for name in self.refusals]
        return [Finding("everything", "", allowed=True, reason=""), *refused]


class Recorder:
    """RoundRecorder in a list."""

    def __init__(self):
        self.events, self.fuse = [], Fuse()

    def record(self, event, facts):
        self.fuse.burn()
        self.events.append((event, dict(facts)))


@dataclass
class Worker:
    """SiteWorker whose training takes `asks` questions; it outlives the agent, like a process elsewhere."""

    site: str
    examples: int = 10
    asks: int = 2
    epsilon: float = 0.0
    strategy_size: int = 1
    failure: str = ""
    spoil: object = None
    dice: float = 0.5
    times: dict = field(default_factory=dict)
    forgotten: list = field(default_factory=list)
    is_stuck: bool = False

    def work(self, terms, stage, weights, extras):
        key = (terms.digest, stage)
        self.times[key] = self.times.get(key, 0) + 1
        if self.is_stuck or self.times[key] <= self.asks:
            return Work(Progress(self.times[key], self.asks, 0.25))
        if self.failure:
            return Work(failure=self.failure)
        if stage is Stage.EVALUATE:
            groups = {"sex": {"female": 0.4}}
            return Work(figures={"cases": 3, "dice": {"whole-tumour": self.dice}, "groups": groups, "seconds": 0.5})
        update = vector_of(self.site, terms.round, self.strategy_size)
        if self.spoil is not None:
            update = self.spoil(update)
        figures = {"loss": 0.125, "seconds": 1.5, "joules": None, "dice": {"whole-tumour": 0.4}}
        return Work(result=LocalResult(update, self.examples, figures, self.epsilon))

    def forget(self, terms):
        self.forgotten.append(terms.digest)


def vector_of(site, number, times=1):
    """What a site learns in a round: known to the test, different for each."""
    size = times * 7
    rng = np.random.default_rng([number, *site.encode()])
    return rng.uniform(-1, 1, size).astype(np.float32)


@dataclass
class Site:
    """A hospital: what survives its agent, and the agent."""

    name: str
    signing: SigningKey
    roster: Roster
    clock: Clock
    worker: Worker
    app: str = APP
    records: InMemoryRecords = field(default_factory=InMemoryRecords)
    rules: Rules = field(default_factory=Rules)
    recorder: Recorder = field(default_factory=Recorder)
    is_dead: bool = False

    def answer(self, message):
        """What the agent answers; None when it is dead, or dies of it (then it is started again)."""
        if self.is_dead:
            return None
        agent = SiteRounds(
            self.name,
            self.app,
            self.signing,
            self.roster,
            self.worker,
            self.rules,
            self.records,
            self.recorder,
            self.clock,
        )
        try:
            return agent.handle(message)
        except (KilledError, RoundRecordError):
            return None


class LossyTransport:
    """Transport over a heap of deliveries, which are lost, doubled, delayed and so overtake each other.

    Attributes:
        before: Called with (site, message) before a site gets it: a test kills sites there.
        change: Changes (site, answer) on its way.
    """

    def __init__(self, sites, clock, seed=0, *, loss=0.0, double=0.0, delay_s=0.05):
        self.sites, self.clock = sites, clock
        self.random = random.Random(seed)
        self.loss, self.double, self.delay_s = loss, double, delay_s
        self.heap, self.numbers = [], itertools.count()
        self.before = lambda site, message: None
        self.change = lambda site, answer: answer
        self.asked, self.fuse = [], Fuse()

    def online(self):
        return frozenset(name for name, site in self.sites.items() if not site.is_dead)

    def ask(self, requests):
        self.fuse.burn()
        for site, message in requests.items():
            self.asked.append((site, len(message)))
            self._post("to", site, message)

    def answers(self):
        found = {}
        while self.heap and self.heap[0][0] <= self.clock.seconds:
            _, _, way, site, message = heapq.heappop(self.heap)
            if way == "back":
                found[site] = message
                continue
            self.before(site, message)
            answer = self.sites[site].answer(message)
            if answer:
                self._post("back", site, self.change(site, answer))
        return found

    def _post(self, way, site, message):
        for _ in range(1 + (self.random.random() < self.double)):
            if self.random.random() >= self.loss:
                at = self.clock.seconds + self.random.random() * self.delay_s
                heapq.heappush(self.heap, (at, next(self.numbers), way, site, message))


@functools.cache
def _keys(count):
    """Keys take a while to make; every test has the same ones."""
    names = [f"site-{number:02d}" for number in range(1, count + 1)]
    signing = {name: SigningKey.generate() for name in names}
    coordinator, sealing = SigningKey.generate(), SealingKey.generate()
    entries = {}
    for name in names:
        node = ec.generate_private_key(ec.SECP384R1()).public_key()
        pem = node.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        entries[name] = SiteEntry(name, signing[name].verifying_key, pem)
    roster = Roster("test", coordinator.verifying_key, sealing.public, entries)
    return CoordinatorKeys(coordinator, sealing, roster), signing


class Federation:
    """A coordinator's folder, its plan, and sites."""

    def __init__(self, folder, count=3, seed=0, *, loss=0.0, double=0.0, delay_s=0.05, **plan):
        self.folder, self.clock = folder, Clock()
        self.keys, signing = _keys(count)
        names = tuple(signing)
        self.plan = RunPlan(
            **{
                "federation": "test",
                "run": "run-1",
                "sites": names,
                "rounds": 2,
                "app": APP,
                "quorum": 2,
                "aggregation": Aggregation(),
                "patience": QUICK,
                **plan,
            }
        )
        self.sites = {
            name: Site(name, signing[name], self.keys.roster, self.clock, Worker(name, examples=10 * index))
            for index, name in enumerate(names, 1)
        }
        times = 2 if self.plan.learning.strategy == "scaffold" else 1
        for site in self.sites.values():
            site.worker.strategy_size = times
        self.transport = LossyTransport(self.sites, self.clock, seed, loss=loss, double=double, delay_s=delay_s)
        self.events, self.recorder = [], Recorder()
        self.on_event = lambda event: None

    def run(self, fuse=None, should_stop=lambda: False):
        """Be the coordinator, from whatever is in the folder, until a fuse kills it."""
        self._fuse = fuse or Fuse()
        self.transport.fuse = self.recorder.fuse = self._fuse
        return run_rounds(
            self.plan,
            self.keys,
            self.transport,
            self.folder,
            start=lambda plan: Start({}, start_state(WEIGHTS, NAMES, plan.learning)),
            clock=self.clock,
            sleep=self.clock.sleep,
            watch=self._watch,
            recorder=self.recorder,
            should_stop=should_stop,
        )

    def run_until(self, is_over):
        """Be the coordinator until an event that the test waits for kills it."""

        def kill(event):
            if is_over(event):
                raise KilledError

        self.on_event = kill
        try:
            self.run()
        except KilledError:
            self.transport.heap.clear()
        self.on_event = lambda event: None

    def told(self, kind):
        """The events of a kind."""
        return [event for event in self.events if event["event"] == kind]

    def finished(self):
        """The "round-finished" events, one a round: a restarted coordinator tells the last one again."""
        return list({event["round"]: event for event in self.told("round-finished")}.values())

    def _watch(self, event):
        self._fuse.burn()
        self.events.append(event)
        self.on_event(event)


def expected_weights(federation, rounds):
    """FedAvg's weights from what the events say of who took part: weighted by cases, in plain float64.

    Args:
        federation: That ran.
        rounds: The "round-finished" events.
    """
    layout = start_state(WEIGHTS, NAMES, federation.plan.learning).layout
    vector = layout.flatten(WEIGHTS).astype(np.float64)
    assert update_size(layout, federation.plan.learning) == len(vector)
    for event in rounds:
        held = [site for site in event["sites"] if site not in event["dropped"]]
        weights = [federation.sites[site].worker.examples for site in held]
        if federation.plan.aggregation.weighting == "equal":
            weights = [1] * len(held)
        updates = [vector_of(site, event["round"]).astype(np.float64) for site in held]
        vector += np.average(updates, axis=0, weights=weights)
    return {**WEIGHTS, **layout.split(vector.astype(np.float32))}
