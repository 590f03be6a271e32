"""How an officer gives a passphrase to a command: asked for, or from standard input or a file for programs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click


def passphrase_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where passphrases come from; without one of them they are asked for."""
    by_stdin = click.option(
        "--passphrase-stdin", is_flag=True, help="Read the passphrases from standard input, one a line."
    )
    by_file = click.option(
        "--passphrase-file",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Read them from a file that only you can read, one a line.",
    )
    return by_stdin(by_file(command))


def read_passphrases(wanted: Sequence[str], *, new: Sequence[str] = (), stdin: bool, file: Path | None) -> list[str]:
    """The passphrases of some people.

    Args:
        wanted: Whose, in the order in which they are read.
        new: Those of them who choose one: it is asked for twice.
        stdin: Read them from standard input.
        file: Read them from this file.

    Raises:
        OfficerKeyError: There are fewer lines than people.
        ProvisioningError: Others can read the file.
    """
    from governance.errors import OfficerKeyError
    from plugin.services.secret_files import read_secret

    if not stdin and file is None:
        return [
            str(click.prompt(f"Passphrase of {name}", hide_input=True, confirmation_prompt=name in new))
            for name in wanted
        ]
    text = sys.stdin.read() if file is None else read_secret(file).decode("utf-8", "replace")
    lines = text.splitlines()
    if len(lines) < len(wanted):
        raise OfficerKeyError(f"Expected {len(wanted)} lines with the passphrases of {', '.join(wanted)}.")
    return lines[: len(wanted)]
