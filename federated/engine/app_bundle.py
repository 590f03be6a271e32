"""The bundle that the engine runs at the coordinator, and whose digest the sites know.

Flower starts an app from a bundle of files (FAB). Ours names an installed function and holds nothing else: what differs
between two bundles is the protocol they speak. It is zipped here, without compression, because the digest has to be the
same on every machine and compressed bytes depend on the zlib at hand.
"""

import hashlib
import io
import re
import zipfile
from typing import Final

from federated.errors import ProvisioningError

PROTOCOL_VERSION: Final = 1
"""Of the questions, answers and terms; two sides that speak different ones refuse each other."""
SERVER_APP: Final = "plugin.fl_apps:server_app"
_REFERENCE: Final = re.compile(r"([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*):([a-z_][a-z0-9_]*)", re.IGNORECASE)
_LONG_AGO: Final = (2024, 10, 1, 0, 0, 0)
_UNIX: Final = 3

_PROJECT: Final = """\
[project]
name = "qfl-rounds"
version = "{version}.0.0"
description = "Federated rounds of the QFL hospital plugin"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "qfl"

[tool.flwr.app.components]
serverapp = "qfl_rounds:server"
clientapp = "qfl_rounds:client"

[tool.flwr.app.config]
plan = ""
bells = ""
"""
# Flower wants the name of a client app. Nothing stands behind it: a site that would load one fails.
_MODULE: Final = (
    '"""What runs is installed, not shipped."""\n\nfrom {module} import {name} as server\n\n__all__ = ["server"]\n'
)


def build_bundle(server_app: str = SERVER_APP) -> bytes:
    """The bundle as a zip file; the same bytes wherever it is built.

    Args:
        server_app: Of the installed code, "module:name" of a flwr ServerApp.

    Raises:
        ProvisioningError: It is no such name.
    """
    named = _REFERENCE.fullmatch(server_app)
    if named is None:
        raise ProvisioningError(f'Expected a server app as "module:name", got {server_app!r}.')
    files = {
        "pyproject.toml": _PROJECT.format(version=PROTOCOL_VERSION).encode(),
        "qfl_rounds.py": _MODULE.format(module=named[1], name=named[2]).encode(),
    }
    listed = [f"{name},{hashlib.sha256(text).hexdigest()},{len(text) * 8}" for name, text in files.items()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, text in {**files, ".info/CONTENT": "\n".join(listed).encode()}.items():
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.create_system, entry.external_attr = _UNIX, 0o600 << 16
            archive.writestr(entry, text)
    return packed.getvalue()


def app_digest(server_app: str = SERVER_APP) -> str:
    """SHA-256 of the bundle, as the engine reports it for a run."""
    return hashlib.sha256(build_bundle(server_app)).hexdigest()
