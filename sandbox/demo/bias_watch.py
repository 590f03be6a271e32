"""One scanner goes bad, a radiologist rejects what is wrong, and the product halts its model by itself.

Everything is real but the patients and the radiologist: studies reach the PACS, the EHR announces them, the model
segments them, and somebody signed in accepts what agrees with the truth and rejects what does not, by HTTP like a
person.
"""

import re
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from rich.markup import escape

from sandbox.demo.display import Display
from sandbox.demo.errors import DemoError, LoopNotClosedError
from sandbox.demo.phantom_studies import BAD, GOOD, PhantomStudy, phantom_studies
from sandbox.demo.processes import Processes
from sandbox.demo.product import USERNAME
from sandbox.demo.values import Plan, Running
from sandbox.patients import dice_against_label

ACCEPTED_FROM: Final = 0.7
"""Dice of the whole tumour."""
MOST_STUDIES: Final = 150
_AHEAD: Final = 3
"""Studies that are on their way at once."""
_POLL_S: Final = 0.5
_OVER: Final = frozenset({"not-analysable", "failed", "undelivered"})


@dataclass(frozen=True)
class Halted:
    """What came of the watch.

    Attributes:
        reviewed: Cases until the model halted.
        rejected: By scanner, of so many.
        waiting: State of the study that came after it.
    """

    reviewed: int
    rejected: dict[str, tuple[int, int]]
    reason: str
    waiting: str
    seconds: float


def watch_halt(plan: Plan, running: Running, processes: Processes, display: Display) -> Halted:
    """Send studies of both scanners, and review them, until the model halts.

    Raises:
        LoopNotClosedError: An analysis ended otherwise, or the model did not halt.
    """
    begun = time.monotonic()
    reader = Reader(running.product.url, running.password)
    if reader.governance()["state"] != "released":
        raise LoopNotClosedError("the model is not in use; start with another --keep FOLDER")
    studies = phantom_studies(secrets.token_hex(8), (datetime.now(UTC) - timedelta(days=1)).date())
    display.say(f"  {GOOD} works as it should; {BAD} has gone bad: its images are noisy.")
    sent: deque[PhantomStudy] = deque()
    reviewed, rejected = Counter[str](), Counter[str]()
    while reviewed.total() < MOST_STUDIES:
        while len(sent) < _AHEAD:
            sent.append(_send(running, studies))
        study = sent.popleft()
        analysis = _wait(plan, reader, processes, study, {"awaiting-review"})
        score = dice_against_label(reader.segmentation(analysis["id"]), study.subject)["whole_tumour"]
        is_good = score >= ACCEPTED_FROM
        reader.decide(analysis["id"], accept=is_good, score=score)
        reviewed[study.visit.station] += 1
        rejected[study.visit.station] += not is_good
        state = reader.governance()
        _tell(display, study, score, is_good, reviewed, state)
        if state["state"] == "halted":
            # Those before it may have been analysed already.
            waiting = _wait(plan, reader, processes, _send(running, studies), {"halted"})
            counts = {station: (rejected[station], reviewed[station]) for station in (GOOD, BAD)}
            return Halted(reviewed.total(), counts, state["reason"], waiting["state"], time.monotonic() - begun)
    raise LoopNotClosedError(f"the model did not halt within {MOST_STUDIES} reviewed cases")


def tell_halt(display: Display, halted: Halted, url: str) -> None:
    """Say what happened, and where to look."""
    display.say(f"[bold red]The model halted itself[/] after [bold]{halted.reviewed}[/] reviewed cases.")
    display.say(f"  {escape(halted.reason)}")
    for station, (number, of) in halted.rejected.items():
        display.say(f"  {station}: {number} of {of} rejected")
    display.say(f"  The next study: {escape(halted.waiting)}. It waits until officers let the model run again.")
    display.say(f"  Look at {escape(url)}/governance [dim]({halted.seconds:.0f} s)[/]")


def describe_halt(halted: Halted) -> dict[str, object]:
    """For --json."""
    return {
        "state": "halted",
        "reviewed": halted.reviewed,
        "rejected": {station: {"rejected": number, "of": of} for station, (number, of) in halted.rejected.items()},
        "reason": halted.reason,
        "next_study": halted.waiting,
        "seconds": round(halted.seconds, 1),
    }


class Reader:
    """A radiologist at a browser.

    Args:
        url: Of the product.
        password: Of the demo's radiologist.
    """

    def __init__(self, url: str, password: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False, follow_redirects=True)
        token = _csrf_token(self._client.get("/sign-in").text)
        form = {"csrf_token": token, "username": USERNAME, "password": password}
        answer = self._client.post("/sign-in", data=form)
        if answer.status_code != httpx.codes.OK:
            raise DemoError(f"the product answered {answer.status_code} to the radiologist's sign-in")

    def analysis(self, study_instance_uid: str) -> dict[str, Any] | None:
        """The study's analysis; None while there is none."""
        answer = self._client.get("/api/analyses", params={"study_instance_uid": study_instance_uid})
        found = answer.json().get("analyses", []) if answer.is_success else []
        return next((each for each in found if each["state"] != "duplicate"), None)

    def segmentation(self, analysis_id: str) -> bytes:
        """The SEG that the product made."""
        return self._client.get(f"/analyses/{analysis_id}/artefacts/seg.dcm").raise_for_status().content

    def decide(self, analysis_id: str, *, accept: bool, score: float) -> None:
        """Accept a result, or reject it with a reason."""
        page = f"/analyses/{analysis_id}"
        form = {
            "csrf_token": _csrf_token(self._client.get(page).text),
            "decision": "accept" if accept else "reject",
            "comment": "" if accept else f"The outline is wrong: Dice {score:.2f} against my own.",
        }
        self._client.post(f"{page}/review", data=form).raise_for_status()

    def governance(self) -> dict[str, Any]:
        """What the product says of its model."""
        found: dict[str, Any] = self._client.get("/api/governance").raise_for_status().json()
        return found


def _send(running: Running, studies: Iterator[PhantomStudy]) -> PhantomStudy:
    """A study reaches the PACS, and the EHR announces it."""
    study = next(studies)
    running.hospital.store_images(study.subject, study.visit)
    running.hospital.register(study.subject, study.visit)
    return study


def _wait(plan: Plan, reader: Reader, processes: Processes, study: PhantomStudy, states: set[str]) -> dict[str, Any]:
    end = time.monotonic() + plan.timeout_s
    found: dict[str, Any] | None = None
    while time.monotonic() < end:
        processes.check()
        found = reader.analysis(study.visit.study_instance_uid)
        if found is not None and found["state"] in states:
            return found
        if found is not None and found["state"] in _OVER:
            raise LoopNotClosedError(str(found["reason"]), log=processes.log("worker"), state=found["state"])
        time.sleep(_POLL_S)
    state = found["state"] if found else "not announced"
    raise LoopNotClosedError(f"no result after {plan.timeout_s:.0f} s", log=processes.log("worker"), state=state)


def _tell(
    display: Display, study: PhantomStudy, score: float, is_good: bool, reviewed: Counter[str], state: dict[str, Any]
) -> None:
    word = "[green]accepted[/]" if is_good else "[red]rejected[/]"
    site = next(
        each for each in state["bias_scores"] if each["attribute"] == "site" and each["outcome"] == "acceptance"
    )
    known = (
        "insufficient evidence"
        if site["low"] is None
        else f"bias score by site {site['score']:.2f}, at least {site['low']:.2f}"
    )
    display.say(f"  {reviewed.total():3d}  {study.visit.station}  Dice {score:.2f}  {word}  [dim]{known}[/]")


def _csrf_token(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    if found is None:
        raise DemoError("the product's page has no form where one was expected")
    return found[1]
