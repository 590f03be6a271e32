"""RoundWorkStore without a disk."""

from contextlib import contextmanager
from pathlib import Path

from federated.rounds.messages import Progress
from federated.rounds.ports import LocalResult, Work


class InMemoryRoundWorkStore:
    """Assignments by key; held keys are what a test says."""

    def __init__(self, folder=Path("/nowhere")):
        self.folder = folder
        self.assigned = {}
        self.works = {}
        self.held = set()
        self.starts = {}
        self.progress = []

    def assign(self, assignment):
        key = f"{assignment.terms.run}.{assignment.terms.round}.{assignment.stage}"
        self.assigned.setdefault(key, assignment)
        self.works.setdefault(key, Work())
        return key

    def look(self, key):
        return self.works[key]

    def is_held(self, key):
        return key in self.held

    @contextmanager
    def hold(self, key):
        yield key in self.assigned and key not in self.held

    def read(self, key):
        work = self.works.get(key)
        return None if work is None or work.result or work.figures or work.failure else self.assigned[key]

    def begin(self, key):
        self.starts[key] = self.starts.get(key, 0) + 1
        return self.starts[key]

    def report(self, key, progress):
        self.progress.append(progress)
        self.works[key] = Work(progress)

    def finish(self, key, result):
        is_result = isinstance(result, LocalResult)
        self.works[key] = Work(Progress(), result if is_result else None, None if is_result else result)

    def fail(self, key, reason):
        self.works[key] = Work(failure=reason)

    def is_wanted(self, key):
        return key in self.assigned

    def checkpoints(self, key):
        return self.folder / key

    def site_state(self, run):
        return self.folder / run

    def forget(self, terms):
        for key in [key for key, known in self.assigned.items() if known.terms.run == terms.run]:
            del self.assigned[key]

    def sweep(self, now):
        pass
