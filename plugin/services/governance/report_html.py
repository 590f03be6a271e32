"""A governance report as one HTML file that stands alone: no script, nothing from outside, every text escaped."""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from governance.compliance.assessment import Assessment
from governance.compliance.frameworks import Framework
from governance.compliance.judging import Status
from plugin.services.governance import report_texts as texts
from plugin.services.governance.report_plots import TITLES

_CLASSES = {
    Status.PASSED: "good",
    Status.FAILED: "bad",
    Status.INSUFFICIENT: "open",
    Status.UNATTESTED: "open",
    Status.NOT_APPLICABLE: "none",
}


def build_html(assessment: Assessment, plots: Mapping[str, bytes]) -> bytes:
    """Write the report.

    Args:
        assessment: What was found.
        plots: PNG by name, as report_plots draws them.
    """
    page = _template().render(
        assessment=assessment,
        texts=texts,
        frameworks=list(Framework),
        shares=assessment.framework_shares(),
        classes=_CLASSES,
        plots=[(TITLES[name], b64encode(png).decode("ascii")) for name, png in plots.items()],
    )
    return page.encode()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("governance-report.html.j2")
