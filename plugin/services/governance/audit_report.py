"""An audit as people read it: one HTML file that stands alone, made from the audit's document and nothing else."""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from governance.audit import AuditReport

_WORDS: Final = {"passed": "passed", "failed": "failed", "insufficient-evidence": "insufficient evidence"}
_NOTHING: Final = "-"


def build_audit_page(report: AuditReport) -> str:
    """The HTML: no script, nothing from outside, every text escaped.

    Args:
        report: A finished audit, or one that was read by governance.audit.parse_audit.
    """
    from plugin.services.governance.audit_plots import draw_audit_plots

    plots = draw_audit_plots(report.sections)
    return _template().render(
        report=report,
        sections=report.sections,
        digest=report.digest,
        plots={name: b64encode(png).decode("ascii") for name, png in plots.items()},
        robustness=_attacks(report.sections.get("robustness")),
        required=[each for each in report.controls if each.required],
        others=[each for each in report.controls if not each.required],
    )


def figure(value: Any, digits: int = 3) -> str:
    """A number of the document, which holds those that are not whole as text; a dash for what is not known."""
    if value is None or value == "":
        return _NOTHING
    return f"{float(value):.{digits}f}"


def outcome_words(value: Any) -> str:
    """An outcome in words."""
    return _WORDS.get(str(value), str(value))


def _attacks(section: Any) -> list[Mapping[str, Any]]:
    if not isinstance(section, Mapping) or "model" not in section:
        return []
    return list(section["model"]["attacks"])


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure, words=outcome_words)
    return environment.get_template("audit-report.html.j2")
