"""The events of a made-up run, as a coordinator would write them: ten sites, some of which drop out."""

import json
import random
from datetime import UTC, datetime, timedelta

from federated.rounds.plan import RunPlan, describe_plan
from federated.rounds.terms import Aggregation, Privacy

START = datetime(2026, 11, 23, 9, tzinfo=UTC)
LOST = "nothing was heard of it for 30 s"
REFUSED = "hours: expected rounds from 20:00 to 06:00, got 12:04"


def site_names(count):
    return [f"site-{number:02d}" for number in range(1, count + 1)]


def run_events(rounds=4, sites=5, finished=None, *, run="run-1", private=True, seed=1):
    """Events until `finished` rounds are done and, where there are more, in the middle of the next one's training.

    In round 2 the last site is lost; in round 3 the first one refuses.
    """
    finished = rounds if finished is None else finished
    story = _Story(random.Random(seed), run, site_names(sites), private)
    story.tell(
        "run-started",
        federation="brain-tumours",
        sites=story.names,
        rounds=rounds,
        rule="masked",
        strategy="fedavg",
        preset="tiny",
        model="ab" * 32,
        secure_aggregation=True,
        resumed_at_round=0,
        epsilon_limit=0.9 * rounds if private else None,
        delta=1e-5,
    )
    for number in range(1, finished + 1):
        story.round(number)
    if finished < rounds:
        story.begin(finished + 1)
        story.site(finished + 1, story.names[0], "train", "working", step=3, steps=8)
    else:
        story.tell("run-finished", model="ef" * 32, rounds_finished=rounds, reason="done")
    return story.events


class _Story:
    def __init__(self, rng, run, names, private):
        self.rng, self.run, self.names, self.private = rng, run, names, private
        self.now, self.events = START, []
        self.base = {name: rng.uniform(0.1, 0.4) for name in names}
        self.spent = dict.fromkeys(names, 0.0)

    def tell(self, event, **facts):
        self.now += timedelta(seconds=self.rng.random())
        self.events.append({"event": event, "at": self.now.isoformat(), "run": self.run, **facts})

    def site(self, number, name, stage, state, reason="", step=None, steps=None):
        loss = None if self.private else 1.5
        self.tell(
            "site", round=number, site=name, stage=stage, state=state, reason=reason, step=step, steps=steps, loss=loss
        )

    def begin(self, number):
        deadline = (self.now + timedelta(minutes=30)).isoformat()
        self.tell("round-started", round=number, model="cd" * 32, deadline=deadline, participants=self.names)

    def round(self, number):
        self.begin(number)
        gone = {}
        if number == 2:
            gone[self.names[-1]] = ("train", "lost", LOST)
        if number == 3:
            gone[self.names[0]] = ("join", "refused", REFUSED)
        for stage in ("join", "share", "train", "unmask", "evaluate"):
            for name in self.names:
                if name not in gone:
                    self.site(number, name, stage, "asked")
                    self.site(number, name, stage, "done", step=0, steps=0)
                elif gone[name][0] == stage:
                    self.site(number, name, stage, gone[name][1], gone[name][2])
        figures = {name: self._figures(name, number, gone.get(name, ("", "done", ""))[1]) for name in self.names}
        dice = {name: told["dice"]["whole-tumour"] for name, told in figures.items() if told["dice"]}
        self.tell(
            "round-finished",
            round=number,
            model=f"{number:02d}" * 32,
            seconds=10.0 + number,
            engine_overhead_s=2.0,
            bytes_sent=12_000_000,
            bytes_received=6_000_000,
            loss=None if self.private else 1.7 - 0.1 * number,
            sites=figures,
            dropped=sorted(gone),
            dice=sum(dice.values()) / len(dice),
            worst_site=min(dice, key=dice.get),
        )

    def _figures(self, name, number, state):
        if state != "done":
            return {"dice": {}, "epsilon_round": 0.0, "epsilon_spent": self.spent[name], "state": state}
        epsilon = self.rng.uniform(0.5, 0.9) if self.private else 0.0
        self.spent[name] += epsilon
        return {
            "examples": 7,
            "loss": None if self.private else 1.7 - 0.1 * number,
            "dice": {"whole-tumour": round(min(0.95, self.base[name] + 0.1 * number), 4), "enhancing": 0.01},
            "groups": {},
            "epsilon_round": epsilon,
            "epsilon_spent": self.spent[name],
            "seconds": 8.0,
            "joules": 40.0,
            "energy_source": "estimate",
            "bytes_sent": 640_000,
            "state": state,
        }


def write_run(coordinator, events, run="run-1"):
    """A run's folder as the coordinator keeps it; the plan fits the events."""
    folder = coordinator / "runs" / run
    folder.mkdir(parents=True)
    started = events[0]
    half = len(started["sites"]) // 2 + 1
    noise = {"record_noise": 1.25, "record_epsilon": 0.9} if started["epsilon_limit"] else {}
    plan = RunPlan(
        started["federation"],
        run,
        tuple(started["sites"]),
        started["rounds"],
        "a" * 64,
        quorum=half,
        privacy=Privacy(**noise),
        aggregation=Aggregation(threshold=half),
    )
    (folder / "plan.json").write_text(describe_plan(plan))
    append(folder, events)
    return folder


def append(folder, events):
    with (folder / "events.jsonl").open("a") as file:
        file.write("".join(json.dumps(event) + "\n" for event in events))
