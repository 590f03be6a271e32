"""The report as documents for DiagnosticReport.presentedForm: one HTML file, one PDF.

Both stand alone, hold no script and refer to nothing outside; the same facts give the same bytes.
"""

import re
from base64 import b64encode
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from plugin.services import report_facts as facts
from plugin.services.drawing import to_jpeg
from plugin.services.report_facts import KeyImage, ReportFacts, findings_sentence
from plugin.services.report_pdf import build_report_pdf

__all__ = ["KeyImage", "ReportFacts", "build_report_html", "build_report_pdf", "findings_sentence"]

_NOT_IN_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates, which broken encodings leave in names."""


def build_report_html(report: ReportFacts) -> bytes:
    """Write the report as a self-contained HTML5 page, for the screen and for paper.

    Returns:
        UTF-8; pictures are data URIs, and names are escaped whatever they hold.
    """
    page = _template().render(
        report=report,
        title=facts.TITLE,
        preliminary=facts.PRELIMINARY,
        research_use=facts.RESEARCH_USE,
        convention=facts.CONVENTION,
        identity=facts.identity_rows(report),
        measurements=facts.measurement_rows(report.measurements),
        image_rows=facts.image_rows(report.images),
        series=facts.series_rows(report.series),
        provenance=facts.provenance_rows(report),
    )
    return _NOT_IN_HTML.sub("\N{REPLACEMENT CHARACTER}", page).encode()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["jpeg"] = to_jpeg
    environment.filters["base64"] = lambda content: b64encode(content).decode("ascii")
    return environment.get_template("report.html.j2")
