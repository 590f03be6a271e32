"""The walk: start everything, let the EHR announce the study, and wait until the results are really there."""

import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.markup import escape

from sandbox.demo.display import Display
from sandbox.demo.errors import DemoError, LoopNotClosedError
from sandbox.demo.hospital import Account, Findings, Hospital
from sandbox.demo.processes import Processes
from sandbox.demo.product import DISPLAY_NAME, SETTINGS_FILE, Product, Progress, build_environment, write_settings
from sandbox.demo.state import choose_ports, secret_file
from sandbox.demo.values import Outcome, Plan, Running
from sandbox.patients import Visit, dice_against_label, load_subject, plan_visit

TOPIC = "http://sandbox-ehr.example/SubscriptionTopic/imaging-study-available"

_SUBSCRIPTION_TIMEOUT_S = 30
_POLL_S = 0.5
_FINISHED_OTHERWISE = frozenset({"not-analysable", "failed", "undelivered", "halted"})
_OPEN = frozenset({"queued", "running", "publishing"})


def start_everything(plan: Plan, processes: Processes, display: Display) -> Running:
    """Start the hospital and the product, and connect them."""
    ports = choose_ports(plan.folder, {"ehr": 0, "pacs": 0, "product": plan.port})
    secret_files = {"ehr": secret_file(plan.folder, "ehr-token"), "pacs": secret_file(plan.folder, "pacs-password")}
    with display.step("Pretend hospital: EHR (FHIR R4) and PACS (DICOMweb)"):
        hospital = _start_hospital(plan.folder, processes, ports, secret_files)
    environment = build_environment(plan.folder, hospital, secret_files, ports["product"])
    write_settings(environment, plan.folder / SETTINGS_FILE)
    product = Product(processes, environment)
    with display.step("Product: database"):
        product.migrate()
    product.start()
    if not product.is_model_decided():
        _release(product, display)
    with display.step("Product: web, worker, timer"):
        product.wait_until_ready()
    password = secrets.token_urlsafe(12)
    with display.step("Product: a radiologist's account"):
        product.add_radiologist(password, hospital.employ_radiologist(DISPLAY_NAME))
    with display.step("Product subscribes to imaging studies at the EHR (topic, id-only)"):
        product.subscribe(TOPIC)
        _wait_for_subscription(hospital, processes)
    return Running(hospital, product, password)


def _release(product: Product, display: Display) -> None:
    """Nothing is analysed before officers have put the model in use."""
    with display.step("Officers: an administrator and two ethics officers get keys to sign with"):
        product.add_officers()
    with display.step("Officers put the model in use, under the audit that ships with it"):
        told = product.release_model()
    display.say(f"  [dim]{escape(told.strip())}[/]")


def _start_hospital(
    folder: Path, processes: Processes, ports: dict[str, int], secret_files: dict[str, Path]
) -> Hospital:
    def start(name: str, *options: str) -> str:
        state = str(folder / name)
        command = [sys.executable, "-m", f"sandbox.{name}", "--port", str(ports[name]), "--state", state, *options]
        return processes.start_server(name, command)

    ehr_home = start("ehr", "--token-file", str(secret_files["ehr"]), "--topic", TOPIC)
    pacs_home = start("pacs", "--password-file", str(secret_files["pacs"]))
    return Hospital(
        Account(ehr_home, "ehr", secret_files["ehr"].read_text().strip()),
        Account(pacs_home, "pacs", secret_files["pacs"].read_text().strip()),
    )


def _wait_for_subscription(hospital: Hospital, processes: Processes) -> None:
    end = time.monotonic() + _SUBSCRIPTION_TIMEOUT_S
    statuses: list[str] = []
    while time.monotonic() < end:
        statuses = hospital.subscription_statuses()
        if "active" in statuses:
            return
        if statuses and set(statuses) == {"error"}:
            break
        time.sleep(_POLL_S)
    told = ", ".join(statuses) or "missing"
    raise DemoError(f"the subscription at the EHR did not become active: {told}", log=processes.log("web"))


def walk(plan: Plan, running: Running, processes: Processes, display: Display) -> Outcome:
    """Put one patient's MRI into the hospital, and wait for the loop to close.

    Raises:
        LoopNotClosedError: The analysis ended otherwise, or time ran out.
    """
    subject = load_subject(plan.subject_id)
    # Yesterday: its time of day has passed everywhere.
    visit = plan_visit(subject, (datetime.now(UTC) - timedelta(days=1)).date())
    hospital = running.hospital
    with display.step(f"MRI of {subject.id} into the PACS (STOW-RS): T1, T1 +C, T2, FLAIR"):
        hospital.store_images(subject, visit)
    with display.step("Study into the EHR (FHIR transaction); the EHR announces it"):
        begun = time.monotonic()
        imaging_study, is_new = hospital.register(subject, visit)
    if not is_new:
        display.say("  The EHR has known this study since an earlier start: what came of it then is shown.")
    findings, progress = _wait_for_results(plan, running, processes, display, visit, imaging_study)
    seconds = {"total": time.monotonic() - begun, **progress.seconds}
    if findings.seg is None:
        raise LoopNotClosedError("there is no SEG in the PACS", state=progress.state)
    seg = hospital.read_instance(visit.study_instance_uid, findings.seg)
    try:
        dice = dice_against_label(seg, subject)
    except ValueError as error:
        raise LoopNotClosedError(f"the SEG cannot be compared: {error}", state=progress.state) from error
    return Outcome(subject, visit, progress.state, findings, dice, seconds)


def _wait_for_results(
    plan: Plan, running: Running, processes: Processes, display: Display, visit: Visit, imaging_study: str
) -> tuple[Findings, Progress]:
    end = time.monotonic() + plan.timeout_s
    progress: Progress | None = None
    with display.analysis() as show:
        while time.monotonic() < end:
            processes.check()
            progress = running.product.progress(visit.study_instance_uid, imaging_study) or progress
            findings = running.hospital.find(visit.study_instance_uid, imaging_study)
            show(progress, findings)
            if progress and progress.state in _FINISHED_OTHERWISE:
                reason = progress.reason or "no reason given"
                raise LoopNotClosedError(reason, log=processes.log("worker"), state=progress.state)
            # The product may say so a moment after its last write.
            if findings.is_complete and progress and progress.state not in _OPEN:
                return findings, progress
            time.sleep(_POLL_S)
    state = progress.state if progress else "not announced"
    said = f"; the product says: {progress.reason}" if progress and progress.reason else ""
    missing = _missing(running, visit, imaging_study)
    message = f"no result after {plan.timeout_s:.0f} s; missing: {missing}{said}"
    raise LoopNotClosedError(message, log=processes.log("worker"), state=state)


def _missing(running: Running, visit: Visit, imaging_study: str) -> str:
    found = running.hospital.find(visit.study_instance_uid, imaging_study)
    parts = {
        "SEG in the PACS": found.seg,
        "SR in the PACS": found.sr,
        "DiagnosticReport in the EHR": found.report,
        "Provenance in the EHR": found.provenance,
    }
    return ", ".join(name for name, value in parts.items() if value is None) or "nothing, the API says otherwise"


def describe(outcome: Outcome) -> dict[str, object]:
    """The outcome for --json: identifiers of what really is in PACS and EHR."""
    findings = outcome.findings
    return {
        "state": outcome.state,
        "subject": outcome.subject.id,
        "study_instance_uid": outcome.visit.study_instance_uid,
        "seg": findings.seg.sop_instance_uid if findings.seg else None,
        "sr": findings.sr.sop_instance_uid if findings.sr else None,
        "diagnostic_report": f"DiagnosticReport/{findings.report['id']}" if findings.report else None,
        "provenance": f"Provenance/{findings.provenance['id']}" if findings.provenance else None,
        "dice": {name: round(value, 4) for name, value in outcome.dice.items()},
        "seconds": {name: round(value, 2) for name, value in outcome.seconds.items()},
        "reason": None,
    }


def describe_failure(error: DemoError) -> dict[str, object]:
    """A failure for --json, with the same keys."""
    empty: dict[str, object] = dict.fromkeys(("seg", "sr", "diagnostic_report", "provenance"))
    return {"state": error.state or "not started", **empty, "dice": {}, "seconds": {}, "reason": str(error)}
