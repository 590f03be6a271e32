"""Records on the terminal: a table for people, JSON lines for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click


def tell(values: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """Print values as JSON, or their text."""
    click.echo(json.dumps(plain(values)) if as_json else text)


def print_rows(
    found: Iterable[Any], heads: Sequence[str], rows: Sequence[Sequence[Any]], empty: str, *, as_json: bool
) -> None:
    """Print records as JSON lines, or rows as a table.

    Args:
        found: Dataclasses.
        heads: Of the table.
        rows: As many values each.
        empty: What to say where there are none.
        as_json: Whether for a program.
    """
    if as_json:
        for row in found:
            click.echo(json.dumps(plain(vars(row))))
        return
    if not rows:
        click.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads)
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160).print(table)


def shown(value: Any) -> str:
    """A value for people; times in the machine's zone."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{count} {reason}" for reason, count in sorted(value.items()))
    # Names come from the coordinator: they must not steer a terminal.
    return "".join(sign if sign.isprintable() else "?" for sign in str(value))


def plain(value: Any) -> Any:
    """A value as JSON takes it; times in UTC."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case None | bool() | int() | float() | str():
            return value
    return plain(vars(value))
