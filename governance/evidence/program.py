"""The verifier as a program of its own, `python verify.pyz BUNDLE --first-key KEY`; it needs only `cryptography`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from governance.errors import GovernanceError
from governance.evidence.archive import MAX_ARCHIVE_BYTES
from governance.evidence.verification import parse_keys, verify_evidence

INTACT: Final = 0
WRONG: Final = 1
UNUSABLE: Final = 2
_MAX_KEY_BYTES: Final = 1 << 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify one bundle.

    Returns:
        0: intact; 1: something is wrong; 2: it could not be checked.
    """
    parser = argparse.ArgumentParser(prog="verify.pyz", description="Verify an evidence bundle offline.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--first-key", type=Path, help="the log's first key (first-key.vkey), from the hospital itself")
    parser.add_argument("--witnesses", type=Path, help="keys of witnesses, one a line")
    parser.add_argument("--quorum", type=int, default=0, help="how many witnesses must have cosigned")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args(arguments)
    try:
        key = _read(asked.first_key, _MAX_KEY_BYTES).decode("utf-8", "replace") if asked.first_key else None
        lines = _read(asked.witnesses, _MAX_KEY_BYTES).decode("utf-8", "replace") if asked.witnesses else ""
        trust = replace(parse_keys(key, lines.splitlines()), quorum=asked.quorum)
        report = verify_evidence(_read(asked.bundle, MAX_ARCHIVE_BYTES), trust)
    except (OSError, GovernanceError) as fault:
        sys.stderr.write(f"verify: {fault}\n")
        return UNUSABLE
    sys.stdout.write(f"{json.dumps(report.to_json(), indent=1) if asked.json else report.story()}\n")
    return INTACT if report.is_intact else WRONG


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)
