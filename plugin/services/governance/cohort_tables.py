"""Tables of a cohort, CSV or CSV.GZ, read with suspicion: they come from outside, and may be damaged or enormous."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Final, cast

from governance.errors import AuditDataError

MOST_ROWS: Final = 2_000_000
MOST_BYTES: Final = 1 << 30
"""Of a table, unpacked."""
_LONGEST_LINE: Final = 1 << 16


def find_table(folder: Path, *names: str) -> Path | None:
    """The first of several files that is there, as it is or packed by gzip."""
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def need_table(folder: Path, what: str, *names: str) -> Path:
    """The same, for a table that must be there.

    Raises:
        AuditDataError: None of them is.
    """
    found = find_table(folder, *names)
    if found is None:
        raise AuditDataError(f"The table of {what} is missing: expected {' or '.join(names)}, or the same with .gz.")
    return found


def read_table(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """Read a table row by row, cells without blanks about them.

    Args:
        path: The file.
        columns: That it must have; it may have more.

    Raises:
        AuditDataError: It cannot be read, lacks a column, is too large, or a row has more or fewer cells than the head.
    """
    name = path.name
    try:
        with _opened(path) as lines:
            rows = csv.reader(lines, strict=True)
            head = [cell.strip() for cell in next(rows, [])]
            missing = [column for column in columns if column not in head]
            if missing:
                raise AuditDataError(
                    f"{name}: expected the columns {', '.join(columns)}; {', '.join(missing)} missing."
                )
            if len(set(head)) != len(head):
                raise AuditDataError(f"{name}: a column comes twice.")
            for number, row in enumerate(rows, start=1):
                if number > MOST_ROWS:
                    raise AuditDataError(f"{name}: expected at most {MOST_ROWS:,} rows.")
                if not row:
                    continue
                if len(row) != len(head):
                    raise AuditDataError(f"{name}, row {number}: expected {len(head)} cells, got {len(row)}.")
                yield dict(zip(head, (cell.strip() for cell in row), strict=True))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as fault:
        raise AuditDataError(f"{name}: cannot be read as a table ({type(fault).__name__}).") from fault


@contextmanager
def _opened(path: Path) -> Iterator[Iterator[str]]:
    with path.open("rb") as packed:
        unpacked = gzip.GzipFile(fileobj=packed) if path.suffix == ".gz" else packed
        with TextIOWrapper(cast("IO[bytes]", unpacked), encoding="utf-8-sig", newline="") as file:
            yield _lines(path.name, file)


def _lines(name: str, file: IO[str]) -> Iterator[str]:
    total = 0
    while line := file.readline(_LONGEST_LINE + 1):
        total += len(line)
        if len(line) > _LONGEST_LINE or total > MOST_BYTES:
            raise AuditDataError(
                f"{name}: expected lines of at most {_LONGEST_LINE:,} characters and {MOST_BYTES:,} in all."
            )
        yield line
