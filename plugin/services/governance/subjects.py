"""What is held on a patient, told and erased (GDPR 15 and 17). Nothing of a patient gets into a log or the ledger.

What was sent to PACS and EHR is the hospital's own record and stays there: it is listed, so that whoever answers the
patient knows where it is. Models that were trained while a patient's accepted results were in the cohort keep what they
learned; which rounds that may have been is listed too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from governance.canonical import Canonical
from governance.ledger.entries import Entry
from governance.policy import Act
from plugin.errors import SubjectNotFoundError
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.officers import People, Signer, act_entry, sign_act
from plugin.services.governance.values import SignedAct
from plugin.services.ports import Services
from plugin.services.round_records import Outcome

_DIGESTS_AN_ENTRY: Final = 500
_ALL: Final = 1_000_000


@dataclass(frozen=True)
class Sent:
    """Something that PACS or EHR got; it stays there.

    Attributes:
        what: seg, sr, report or review.
        destination: Whose it is now.
        receipt: What the other side called it.
    """

    what: str
    destination: str
    receipt: Mapping[str, Any]
    at: datetime | None


@dataclass(frozen=True)
class Holdings:
    """What is held on a patient.

    Attributes:
        analyses: Each with what its row says, without files.
        rows: How many rows, by table.
        file_bytes: Of all stored files.
        sent: What is not ours any more.
        first_accepted: When a result of the patient was first accepted, and may have been learned from since.
    """

    analyses: Sequence[Mapping[str, Any]]
    rows: Mapping[str, int]
    file_bytes: int
    sent: Sequence[Sent]
    first_accepted: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held."""
        return not any(self.rows.values())


class SubjectStore(Protocol):
    """Where what is held on a patient is found and erased."""

    def find(self, patient_id: str) -> Holdings:
        """Everything that is held on a patient, by the identifier that the images carry."""

    def erase(
        self, patient_id: str, *, act: SignedAct, entries: Callable[[Sequence[str], Mapping[str, int]], Sequence[Entry]]
    ) -> Mapping[str, int]:
        """Remove everything that is held on a patient, in one transaction with the act and its entries.

        Args:
            patient_id: The identifier that the images carry.
            act: That orders it.
            entries: Makes the entries of the ids of the erased analyses and of the rows removed by table.

        Returns:
            Rows removed, by table; none where nothing was held, and then nothing was recorded.
        """


@dataclass(frozen=True)
class Answer:
    """What a patient is told.

    Attributes:
        holdings: What is held here.
        may_have_learned: Rounds since then that something left the site for: run, round and its number of cases.
    """

    holdings: Holdings
    may_have_learned: Sequence[Mapping[str, Any]] = field(default=())

    def to_json(self) -> Mapping[str, Any]:
        """Everything, as JSON takes it."""
        held = self.holdings
        return {
            "analyses": [dict(each) for each in held.analyses],
            "rows": dict(held.rows),
            "file_bytes": held.file_bytes,
            "sent_and_not_ours": [
                {
                    "what": each.what,
                    "destination": each.destination,
                    "receipt": dict(each.receipt),
                    "at": each.at.isoformat() if each.at else None,
                }
                for each in held.sent
            ],
            "rounds_that_may_have_learned_from_it": [dict(each) for each in self.may_have_learned],
        }


@dataclass(frozen=True)
class Erasure:
    """What was done.

    Attributes:
        removed: Rows, by table.
        before: What was held and sent until then: for the answer to the patient, kept nowhere.
    """

    removed: Mapping[str, int]
    before: Answer


def answer_subject(services: Services, subjects: SubjectStore, patient_id: str) -> Answer:
    """Tell what is held on a patient; the log gets keyed digests of the patient and of the answer.

    Raises:
        SubjectNotFoundError: The identifier is empty.
    """
    desk = services.governance
    answer = _look(services, subjects, patient_id)
    said = json.dumps(answer.to_json(), sort_keys=True, default=str)
    facts = {"subject": desk.digest("patient", patient_id), "digest": desk.digest("answer", said)}
    desk.ledger.append([Entry("subject-answered", services.clock(), facts)])
    return answer


def erase_subject(
    services: Services, subjects: SubjectStore, people: People, *, patient_id: str, by: Signer
) -> Erasure:
    """Remove everything that is held on a patient but the ledger's keyed digests. It cannot be undone.

    Args:
        services: Of the site.
        subjects: Where it is held.
        people: The users.
        patient_id: The identifier that the images carry.
        by: Who orders it, by the policy a data steward.

    Raises:
        SubjectNotFoundError: Nothing is held, or the identifier is empty.
        NotPermittedError: The officer's role may not.
        OfficerKeyError: No key, or a wrong passphrase.
    """
    desk, now = services.governance, services.clock()
    before = _look(services, subjects, patient_id)
    subject = desk.digest("patient", patient_id)
    facts: dict[str, Canonical] = {"subject": subject, "analyses": len(before.holdings.analyses)}
    act = sign_act(desk, people, by.username, by.passphrase, Act.ERASE, subject, facts, now)
    removed = subjects.erase(
        patient_id,
        act=act,
        entries=lambda ids, rows: [act_entry(desk, act), *erasure_entries(desk, subject, ids, rows, at=now)],
    )
    if not removed:
        raise SubjectNotFoundError("Nothing is held on this patient: there is nothing to erase.")
    desk.ledger.sign()
    return Erasure(removed, before)


def erasure_entries(
    desk: GovernanceDesk, subject: str, analysis_ids: Sequence[str], rows: Mapping[str, int], *, at: datetime
) -> list[Entry]:
    """The entries of an erasure: with them the check of coverage does not miss the rows.

    Args:
        desk: Of governance.
        subject: Keyed digest of the patient.
        analysis_ids: That were erased; several entries where there are many.
        rows: Removed, by table.
        at: When.
    """
    digests = [desk.digest("analysis", each) for each in analysis_ids]
    parts = [digests[start : start + _DIGESTS_AN_ENTRY] for start in range(0, len(digests), _DIGESTS_AN_ENTRY)]
    entries = []
    for number, part in enumerate(parts):
        facts: dict[str, Canonical] = {
            "subject": subject,
            "removed": 0 if number else sum(rows.values()),
            "rows": {} if number else dict(rows),
            "analyses": list(part),
        }
        entries.append(Entry("subject-erased", at, facts))
    return entries


def _look(services: Services, subjects: SubjectStore, patient_id: str) -> Answer:
    if not patient_id.strip():
        # Images without an identifier are of many patients.
        raise SubjectNotFoundError("Expected a patient's identifier, got an empty one.")
    holdings = subjects.find(patient_id)
    return Answer(holdings, _rounds_since(services, holdings.first_accepted))


def _rounds_since(services: Services, since: datetime | None) -> Sequence[Mapping[str, Any]]:
    site = services.federation.site()
    if since is None or site is None:
        return ()
    return [
        {"run": each.run, "round": each.round, "cases": each.cases, "at": each.last_at.isoformat()}
        for each in site.records.rounds(limit=_ALL)
        if each.outcome is Outcome.SENT and each.last_at >= since
    ]
