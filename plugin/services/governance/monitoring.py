"""The watch over models in use: each decision of a radiologist is judged at once, everything else by the timer.

Whoever watches reads the records and decides by the policy; a rule that says halt is carried out in the transaction
that records why. Insufficient evidence is shown, not recorded; what a rule allows is recorded when it first says so
after a release. A crash between a review and its judgement loses nothing: the timer finds the review.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from fhir_adapter.model import ReviewDecision
from governance.canonical import Canonical, digest
from governance.decisions import Decision, Outcome
from governance.errors import EntryConflictError, GovernanceError
from governance.ledger.entries import Entry
from governance.monitoring.cases import Case, Stream, build_stream
from governance.monitoring.judging import REASON_CODES, Findings, judge, summary
from governance.policy import Act
from plugin.services.governance.desk import GovernanceDesk
from plugin.services.governance.model_use import halt_model
from plugin.services.governance.values import ModelState, ModelStatus, Observation
from plugin.services.ports import Services
from plugin.services.values import AnalysisState, ReviewRecord, Step

_log = logging.getLogger(__name__)

MOST_CASES: Final = 20_000
"""Of a model since its release; an audit holds for half a year, which is much less."""
_MOST_FAILURES: Final = 500
_MODELS_PART: Final = (Step.SEGMENT, Step.BUILD)
"""An archive that is away, or a study that is incomplete, is no failure of the model."""
_BEGIN: Final = (Act.RELEASE, Act.OVERRIDE, Act.RESUME)


def note_review(services: Services, analysis_id: str) -> None:
    """Keep a radiologist's decision for monitoring, and judge the model by it.

    The decision itself is stored already, and stands whatever happens here: a fault is logged, and the timer comes back
    to it.
    """
    analysis = services.store.get(analysis_id)
    if analysis is None or analysis.model_version is None or analysis.review is None:
        return
    try:
        for observation in _observations(services.governance, analysis.model_version):
            if observation.analysis_id == analysis_id:
                _decide(services.governance, observation, analysis.review)
        watch_model(services, analysis.model_version, with_drift=False)
    except GovernanceError as fault:
        _log.warning("a review is not judged yet: %s: %s", type(fault).__name__, fault)


def watch_models(services: Services) -> None:
    """Judge every model in use; for the timer."""
    for status in services.governance.store.model_statuses():
        if status.state is not ModelState.RELEASED:
            continue
        try:
            _catch_up(services, status.model_version)
            watch_model(services, status.model_version)
        except GovernanceError as fault:
            _log.warning("a model cannot be watched: %s: %s", type(fault).__name__, fault)


def watch_model(services: Services, model_version: str, *, with_drift: bool = True) -> Findings | None:
    """Judge a model that is in use, and halt it if a rule says so.

    Args:
        services: Of the site.
        model_version: Of the model.
        with_drift: Whether the studies are compared too, which takes longer.

    Returns:
        What is known; None of a model that is not in use.

    Raises:
        MonitoringDataError: The records cannot be judged, e.g. after the clock was set back.
        PolicyError: There is no usable policy.
    """
    desk = services.governance
    status = desk.store.model_status(model_version)
    if status is None or status.state is not ModelState.RELEASED:
        return None
    findings = look_at(services, status, with_drift=with_drift)
    halting = findings.halting
    if not halting:
        _record(desk, status, findings.decisions)
        return findings
    first = halting[0]
    is_halted = halt_model(
        desk,
        model_version=model_version,
        reason_code=REASON_CODES[first.rule],
        reason=first.reason,
        decisions=halting,
        at=services.clock(),
    )
    if is_halted:
        _log.warning("the model is halted (%s)", REASON_CODES[first.rule])
    return findings


def look_at(services: Services, status: ModelStatus, *, with_drift: bool = True) -> Findings:
    """What every rule says of a model now, or said when it was halted. Nothing is recorded.

    Raises:
        MonitoringDataError, PolicyError: As watch_model.
    """
    desk = services.governance
    stream, since = stream_of(services, status)
    return judge(stream, _failed(services, status.model_version, stream, since), desk.policy(), with_drift=with_drift)


def stream_of(services: Services, status: ModelStatus) -> tuple[Stream, datetime]:
    """A model's cases since it was released or resumed, and when that was.

    Raises:
        MonitoringDataError: The records cannot be judged.
    """
    desk = services.governance
    since = _in_use_since(desk, status)
    cases = [_case_of(each) for each in _observations(desk, status.model_version)]
    return build_stream(cases, since=since, now=services.clock()), since


def _in_use_since(desk: GovernanceDesk, status: ModelStatus) -> datetime:
    """When a model was last released or resumed."""
    if status.state is ModelState.RELEASED:
        return status.since
    begun = [act.at for act in desk.store.acts(status.model_version) if act.act in _BEGIN and act.at < status.since]
    return max(begun, default=datetime.min.replace(tzinfo=UTC))


def _observations(desk: GovernanceDesk, model_version: str) -> Sequence[Observation]:
    return desk.store.observations(model_version, limit=MOST_CASES)


def _case_of(observation: Observation) -> Case:
    return Case(
        groups=observation.groups,
        confidence=observation.confidence,
        at=observation.at,
        features=observation.features,
        accepted=observation.accepted,
        reviewed_at=observation.reviewed_at,
    )


def _failed(services: Services, model_version: str, stream: Stream, since: datetime) -> Sequence[bool]:
    """Of each analysis that ended with the model, in its order, whether it failed for the model's part."""
    ended = [(case.at, False) for case in stream.analysed]
    for analysis in services.store.list_analyses(states=[AnalysisState.FAILED], limit=_MOST_FAILURES):
        is_models = analysis.model_version == model_version and analysis.step in _MODELS_PART
        if is_models and analysis.finished_at is not None and analysis.finished_at >= since:
            ended.append((analysis.finished_at, True))
    return [has_failed for _, has_failed in sorted(ended)]


def _catch_up(services: Services, model_version: str) -> None:
    """Keep decisions whose judgement got lost."""
    for observation in _observations(services.governance, model_version):
        if observation.accepted is None:
            analysis = services.store.get(observation.analysis_id)
            if analysis is not None and analysis.review is not None:
                _decide(services.governance, observation, analysis.review)


def _decide(desk: GovernanceDesk, observation: Observation, review: ReviewRecord) -> None:
    accepted = review.decision == ReviewDecision.ACCEPTED.value
    desk.store.add_observation(replace(observation, accepted=accepted, reviewed_at=review.at))


def _record(desk: GovernanceDesk, status: ModelStatus, decisions: Sequence[Decision]) -> None:
    """Append what rules allow, once after each release: keys name the decision, so that it is not appended again."""
    now = desk.clock()
    with desk.ledger.store.snapshot() as view:
        new = [
            (key, each)
            for each in decisions
            if each.outcome is Outcome.ALLOW and view.row_of_key(key := _key_of(status, each)) is None
        ]
    if not new:
        return
    try:
        desk.ledger.append([Entry("decision-made", now, _facts_of(status, each), key) for key, each in new])
    except EntryConflictError:
        _log.debug("another process has recorded one of these decisions; what is missing is recorded the next time")


def _key_of(status: ModelStatus, decision: Decision) -> str:
    told = [status.model_version, status.since.astimezone(UTC).isoformat(), decision.outcome.value, summary(decision)]
    return f"watched-{digest(told)}"


def _facts_of(status: ModelStatus, decision: Decision) -> Mapping[str, Canonical]:
    return {**decision.facts, "model": status.model_version}
