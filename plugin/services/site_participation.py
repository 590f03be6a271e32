"""Pause, resume, leave: what the hospital says about a federation, and what becomes of its rounds' secrets."""

import shutil
from datetime import datetime
from pathlib import Path

from federated.errors import RoundRecordError
from plugin.errors import ParticipationError
from plugin.services.policy_model import Participation, ParticipationState
from plugin.services.round_records import RoundRecords


def choose_federation(records: RoundRecords, joined: str | None, named: str | None) -> str:
    """The federation that a command is about.

    Args:
        records: The site's.
        joined: Of the kit that the site has installed; None without one.
        named: As the person said; None where they did not.

    Raises:
        ParticipationError: The site knows of no federation of that name; or nobody said which of several is meant.
    """
    known = sorted({*records.federations(), *([joined] if joined else [])})
    if named is not None:
        if named not in known:
            raise ParticipationError(f"Expected a federation of {', '.join(known) or 'none'}, got {named!r}.")
        return named
    if joined:
        return joined
    if len(known) != 1:
        raise ParticipationError(
            f"Expected to know of one federation, got {', '.join(known) or 'none'}; name it with --federation."
        )
    return known[0]


def say(
    records: RoundRecords, federation: str, state: ParticipationState, *, reason: str, work: Path, now: datetime
) -> Participation:
    """Pause, resume or leave; the coordinator hears it with the next answer.

    Args:
        records: The site's.
        federation: Which.
        state: What is said.
        reason: In the site's own words; it stays at the site.
        work: Folder where agent and workers keep updates that are not masked yet; leaving empties it.
        now: The time.

    Raises:
        ParticipationError: The site has left before.
        RoundRecordError: The records or the folder cannot be used.
    """
    records.set_participation(federation, state, reason=reason, now=now)
    if state is ParticipationState.LEFT:
        _empty(work)
    return records.participation(federation)


def _empty(folder: Path) -> None:
    """The folders in it: its files are the processes' own."""
    try:
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as fault:
        raise RoundRecordError(
            f"{folder}: cannot be emptied ({fault.strerror}); delete what is in it by hand."
        ) from fault
