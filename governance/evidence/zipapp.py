"""The verifier as one file that Python runs: this package's own modules, and nothing of the hospital."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from governance.evidence.archive import write_archive

_PARTS: Final = ("compliance", "evidence", "ledger")
_MODULES: Final = ("__init__.py", "canonical.py", "errors.py", "ports.py", "signatures.py")
_MAIN: Final = b"""import sys

from governance.evidence.program import main

sys.exit(main())
"""
_SHEBANG: Final = b"#!/usr/bin/env python3\n"


def build_verifier() -> bytes:
    """The file `verify.pyz`; the same bytes for the same code."""
    package = files("governance")
    sources = {f"governance/{name}": (package / name).read_bytes() for name in _MODULES}
    for part in _PARTS:
        for each in _python_files(package / part):
            sources[f"governance/{part}/{each.name}"] = each.read_bytes()
    return _SHEBANG + write_archive({**sources, "__main__.py": _MAIN})


def _python_files(folder: Traversable) -> Iterator[Traversable]:
    return (each for each in folder.iterdir() if each.name.endswith(".py"))
