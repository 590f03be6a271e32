"""Evidence on models: their release, their audits, their halts and what monitoring keeps of their results."""

from datetime import timedelta
from typing import Final

from governance.audit import AuditOutcome, parse_audit
from governance.canonical import Canonical
from governance.compliance.assessment import Evidence
from governance.errors import AuditDataError, OfficerKeyError, SignatureError
from governance.policy import ATTRIBUTES, Act
from plugin.services.governance import model_use
from plugin.services.governance.audit_record import read_record
from plugin.services.governance.officers import verify_act
from plugin.services.governance.reporting_desk import Scene
from plugin.services.governance.values import ModelStatus, SignedAct

_NEWEST: Final = 1000
"""Observations of a model that are looked at."""
_BESIDE: Final = 12
"""A halt's decisions stand so closely before it in the log."""
_ACTS: Final = {
    model_use.RELEASED: Act.RELEASE,
    model_use.BY_OVERRIDE: Act.OVERRIDE,
    model_use.RESUMED: Act.RESUME,
    model_use.RESUMED_BY_OVERRIDE: Act.OVERRIDE,
}
"""By the reason code of a released model."""
_STATES: Final = ("model-released", "model-resumed")


def release_gate(scene: Scene, _topic: str) -> Evidence:
    """Each released model's audit, and the signatures of its release."""
    numbers = {
        "released": len(scene.released),
        "without_audit": sum(_trainers(scene, each) is None for each in scene.released),
        "without_act": sum(not _has_enough(scene, each) for each in scene.released),
        "by_override": sum(_ACTS.get(each.reason_code) is Act.OVERRIDE for each in scene.released),
    }
    query = "model_states: released; audits; officer_acts: signatures under the audit that the release rests on"
    return Evidence(query, dict(numbers), scene.newest(scene.entries(*_STATES)))


def audit_current(scene: Scene, _topic: str) -> Evidence:
    """How old each released model's newest audit is."""
    days = scene.policy.audit.interval_days if scene.policy else 0
    stale = 0
    for status in scene.released:
        record = scene.audit_of(status.model_version)
        stale += record is None or scene.now - record.at > timedelta(days=days)
    numbers = {"released": len(scene.released), "stale": stale, "days": days}
    return Evidence("audits: the newest of each released model", numbers, scene.newest(scene.entries("audit-run")))


def audit_control(scene: Scene, topic: str) -> Evidence:
    """One control of each released model's newest audit."""
    counts = {"passed": 0, "failed": 0, "insufficient": 0}
    digests = set[str]()
    for status in scene.released:
        record = scene.audit_of(status.model_version)
        found = parse_audit(record.document).control(topic) if record else None
        if record is None or found is None:
            continue
        digests.add(record.digest)
        key = "insufficient" if found.outcome is AuditOutcome.INSUFFICIENT_EVIDENCE else str(found.outcome)
        counts[key] += 1
    numbers: dict[str, Canonical] = {"released": len(scene.released), **counts}
    entries = [each for each in scene.entries("audit-run") if each[1].facts.get("report") in digests]
    return Evidence(f"audits: control {topic} of the newest of each released model", numbers, scene.newest(entries))


def separate_duties(scene: Scene, _topic: str) -> Evidence:
    """Who signed releases, against who trained the model."""
    releases = by_trainer = unreadable = 0
    digest = scene.desk.governance.digest
    for status in scene.released:
        trainers = _trainers(scene, status)
        unreadable += trainers is None
        for act in _good_acts(scene, status):
            releases += 1
            by_trainer += bool({act.username, digest("user", act.username)} & (trainers or frozenset()))
    numbers = {"releases": releases, "by_trainer": by_trainer, "unreadable": unreadable}
    query = "officer_acts on released models; audits: trained_by"
    return Evidence(query, dict(numbers), scene.newest(scene.entries(*_STATES)))


def halts_explained(scene: Scene, _topic: str) -> Evidence:
    """Halts and resumptions of the period."""
    halts, resumed = scene.entries_within("model-halted"), scene.entries_within("model-resumed")
    decided = [index for index, _ in scene.entries("decision-made")]
    unexplained = sum(
        not entry.facts.get("officers") and not any(index - _BESIDE <= each < index for each in decided)
        for index, entry in halts
    )
    numbers = {
        "halts": len(halts),
        "unexplained": unexplained,
        "resumed": len(resumed),
        "unsigned": sum(not entry.facts.get("officers") for _, entry in resumed),
    }
    query = "ledger: model-halted with its decision-made or its officers; model-resumed with its officers"
    return Evidence(query, numbers, scene.newest(sorted([*halts, *resumed], key=lambda each: each[0])))


def minimal_observations(scene: Scene, _topic: str) -> Evidence:
    """What monitoring keeps of a case."""
    count = other = 0
    for status in scene.desk.governance.store.model_statuses():
        for each in scene.desk.governance.store.observations(status.model_version, limit=_NEWEST):
            count += 1
            other += not set(each.groups) <= set(ATTRIBUTES)
    query = f"observations: the newest {_NEWEST} of each model, attributes that they are grouped by"
    return Evidence(query, {"observations": count, "other": other})


def model_cards(scene: Scene, _topic: str) -> Evidence:
    """Released models that a card can be made of."""
    with_card = sum(scene.desk.card(each.model_version) is not None for each in scene.released)
    numbers = {"released": len(scene.released), "with_card": with_card}
    return Evidence("model_states: released; the generated card of each", numbers)


def _trainers(scene: Scene, status: ModelStatus) -> frozenset[str] | None:
    """Who trained a model, by the audit that its release rests on; None where that is missing or was changed."""
    record = scene.desk.governance.store.audit(status.audit_digest or "")
    try:
        return frozenset(read_record(record).trained_by) if record else None
    except AuditDataError:
        return None


def _has_enough(scene: Scene, status: ModelStatus) -> bool:
    act = _ACTS.get(status.reason_code)
    if scene.policy is None or act is None:
        return False
    return len({each.username for each in _good_acts(scene, status)}) >= scene.policy.approvals[act]


def _good_acts(scene: Scene, status: ModelStatus) -> list[SignedAct]:
    """Acts that let the model run under its audit, as far as their officers' present keys signed them."""
    found = []
    for act in scene.desk.governance.store.acts(status.model_version):
        if act.act is not _ACTS.get(status.reason_code) or act.at > status.since:
            continue
        try:
            facts = verify_act(scene.desk.governance, act)
        except (OfficerKeyError, SignatureError):
            continue
        if facts.get("audit") == status.audit_digest:
            found.append(act)
    return found
