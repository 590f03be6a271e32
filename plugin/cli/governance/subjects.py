"""`qfl governance subject show|erase`: what is held on a patient. It is printed, and written nowhere."""

from pathlib import Path
from typing import Any

import click

from plugin.cli.common import explained
from plugin.cli.governance.passphrases import passphrase_options, read_passphrases
from plugin.cli.rows import tell


@click.group()
def subject() -> None:
    """What is held on a patient, told and erased (GDPR 15 and 17)."""


@subject.command()
@click.argument("patient_id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@explained
def show(patient_id: str, as_json: bool) -> None:
    """Show what is held on a patient, by the identifier (MRN) that the images carry.

    That somebody was answered is recorded, with keyed digests. A "-" as PATIENT_ID is read from standard input: so it
    does not stay in the shell's history.
    """
    from plugin.services.governance.subjects import answer_subject

    services, subjects = _site()
    answer = answer_subject(services, subjects, _identifier(patient_id))
    tell(answer.to_json(), as_json=as_json, text=_story(answer))


@subject.command()
@click.argument("patient_id")
@click.option("--officer", metavar="USER", required=True, help="The data steward who orders it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@passphrase_options
@explained
def erase(
    patient_id: str, officer: str, yes: bool, as_json: bool, passphrase_stdin: bool, passphrase_file: Path | None
) -> None:
    """Remove everything that is held on a patient but the log's keyed digests. It cannot be undone.

    What PACS and EHR got stays there and is listed. With "-" as PATIENT_ID, standard input's first line is it.
    """
    from plugin.services.governance.officers import Signer
    from plugin.services.governance.subjects import erase_subject

    identifier = _identifier(patient_id)
    if not yes:
        click.confirm("Erase everything that is held on this patient, for good?", abort=True, err=True)
    (passphrase,) = read_passphrases([officer], stdin=passphrase_stdin, file=passphrase_file)
    services, subjects = _site()
    done = erase_subject(services, subjects, services.store, patient_id=identifier, by=Signer(officer, passphrase))
    rows = ", ".join(f"{number} {table}" for table, number in sorted(done.removed.items()) if number)
    text = f"Erased: {rows}.\n{_elsewhere(done.before)}"
    left = done.before.to_json()
    told = {
        "removed": dict(done.removed),
        **{name: left[name] for name in ("sent_and_not_ours", "rounds_that_may_have_learned_from_it")},
    }
    tell(told, as_json=as_json, text=text.rstrip())


def _identifier(patient_id: str) -> str:
    import sys

    return sys.stdin.readline().rstrip("\n") if patient_id == "-" else patient_id


def _site() -> tuple[Any, Any]:
    from plugin.bootstrap.governance import build_subjects
    from plugin.bootstrap.services import build_services
    from plugin.settings import load_settings

    settings = load_settings()
    return build_services(settings), build_subjects(settings)


def _story(answer: Any) -> str:
    held = answer.holdings
    if held.is_empty:
        return "Nothing is held on this patient."
    lines = ["Held here:"]
    lines += [f"  {number:>6} {table}" for table, number in sorted(held.rows.items()) if number]
    lines.append(f"  {held.file_bytes:,} bytes of files (pictures, SEG, SR, report)")
    for each in held.analyses:
        about = f"study of {each['study_date'] or 'unknown date'}, {each['state']}, model {each['model_version']}"
        lines.append(f"  analysis {each['id']}: {about}")
    return "\n".join([*lines, _elsewhere(answer)]).rstrip()


def _elsewhere(answer: Any) -> str:
    lines = []
    if answer.holdings.sent:
        lines.append("Not ours, sent to:")
        for each in answer.holdings.sent:
            receipt = ", ".join(map(str, each.receipt.values())) or "no receipt"
            lines.append(f"  {each.what} at {each.destination}: {receipt}")
    if answer.may_have_learned:
        lines.append("Models may have learned from it in these rounds; what they learned stays:")
        lines += [f"  run {each['run']}, round {each['round']}" for each in answer.may_have_learned]
    return "\n".join(lines)


COMMANDS = (subject,)
