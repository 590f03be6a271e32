"""The archive of a bundle: a ZIP file of stored members whose bytes follow from its files, so that nothing hides in it.

Nothing is compressed, so nothing can unfold into more than was sent, and nothing is ever written to disk.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Final

from governance.errors import ReportError

MAX_ARCHIVE_BYTES: Final = 1 << 29
MAX_FILES: Final = 20_000
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,3}")
_MAX_NAME: Final = 160
_MOMENT: Final = (1980, 1, 1, 0, 0, 0)
"""The first that ZIP knows: an archive of the same files is the same at any time."""
_MODE: Final = 0o100644 << 16
_UNIX: Final = 3
_LOCAL_HEADER: Final = 30
"""Bytes before a member's name."""


def write_archive(files: Mapping[str, bytes]) -> bytes:
    """The archive of some files, always the same bytes for the same files.

    Raises:
        ReportError: A name is not allowed, or it is too much.
    """
    if len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_ARCHIVE_BYTES:
        raise ReportError(
            f"Expected at most {MAX_FILES} files of {MAX_ARCHIVE_BYTES} bytes together for a bundle; export fewer "
            "entries of the log with --first."
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            if why := _why_not(name):
                raise ReportError(f"{name[:80]!r}: {why}.")
            info = zipfile.ZipInfo(name, _MOMENT)
            info.create_system, info.external_attr = _UNIX, _MODE
            archive.writestr(info, files[name])
    return buffer.getvalue()


def read_archive(data: bytes) -> tuple[Mapping[str, bytes], list[tuple[str, str]]]:
    """Take an archive apart, with suspicion.

    Returns:
        The files that can be read, by name; and what is wrong, as file name ("" for the archive itself) and message.
        A member that is refused is not among the files.
    """
    if len(data) > MAX_ARCHIVE_BYTES:
        return {}, [("", f"expected an archive of at most {MAX_ARCHIVE_BYTES} bytes, got {len(data)}.")]
    files: dict[str, bytes] = {}
    wrong: list[tuple[str, str]] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_FILES:
                return {}, [("", f"expected at most {MAX_FILES} files, got {len(members)}.")]
            for info in members:
                why = _refusal(info, files)
                if why:
                    wrong.append((info.filename[:_MAX_NAME], why))
                    continue
                content, why = _read(archive, info, data)
                files[info.filename] = content
                if why:
                    wrong.append((info.filename, why))
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as fault:
        return files, [*wrong, ("", f"expected a ZIP archive, it cannot be read ({type(fault).__name__}).")]
    if not wrong and write_archive(files) != data:
        wrong.append(("", "bytes beside the files were changed: it is not the archive that its files make."))
    return files, wrong


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> tuple[bytes, str]:
    """A member's bytes, and what is wrong with them: what was changed is still looked at, to say more of it."""
    try:
        return archive.read(info), ""
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as fault:
        start = info.header_offset + _LOCAL_HEADER + len(info.filename)
        return data[
            start : start + info.file_size
        ], f"its bytes are not those that were packed ({type(fault).__name__})."


def _refusal(info: zipfile.ZipInfo, known: Mapping[str, bytes]) -> str:
    """Why a member is not read; empty where it is."""
    if why := _why_not(info.filename):
        return why
    if info.filename in known:
        return "a second file of this name"
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        return f"compressed ({info.file_size} bytes in {info.compress_size}); expected a stored file"
    if info.flag_bits & 1:
        return "encrypted; expected a plain file"
    if info.file_size > MAX_ARCHIVE_BYTES:
        return f"expected at most {MAX_ARCHIVE_BYTES} bytes, it says {info.file_size}"
    return ""


def _why_not(name: str) -> str:
    if len(name) > _MAX_NAME or not _NAME.fullmatch(name) or ".." in name:
        return "a name that leads elsewhere, or is not allowed; it is not read"
    return ""
