"""A governance report as an A4 PDF, with fonts and plots embedded."""

import io
from collections.abc import Mapping, Sequence
from typing import Final

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.platypus import CondPageBreak, Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table

from governance.compliance.assessment import Assessment, ControlResult
from governance.compliance.frameworks import Framework
from governance.compliance.judging import Status
from plugin.services.governance import report_texts as texts
from plugin.services.governance.report_plots import TITLES
from plugin.services.pdf_page import (
    AMBER,
    BODY,
    FRAME_PADDING,
    LABEL,
    MARGIN,
    MUTED,
    ORGANISATION,
    SMALL,
    STRONG,
    TITLE,
    WIDTH,
    PagedCanvas,
    heading,
    plain,
    ruled,
)
from plugin.services.pdf_text import PdfText

_VERDICT = ParagraphStyle("verdict", STRONG, fontSize=11, leading=15)
_COLOURS: Final = {
    Status.PASSED: HexColor("#00684c"),
    Status.FAILED: HexColor("#a8221b"),
    Status.INSUFFICIENT: AMBER,
    Status.UNATTESTED: AMBER,
    Status.NOT_APPLICABLE: MUTED,
}
_STATUS: Final = {
    status: ParagraphStyle(f"status {status}", SMALL, fontName=STRONG.fontName, textColor=colour)
    for status, colour in _COLOURS.items()
}


def build_pdf(assessment: Assessment, plots: Mapping[str, bytes]) -> bytes:
    """Write the report.

    Args:
        assessment: What was found; its texts may hold any character and any markup.
        plots: PNG by name, as report_plots draws them.
    """
    text = PdfText()
    story = [
        *_head(assessment, text),
        *_open_points(assessment, text),
        *_plots(plots, text),
        *(flowable for framework in Framework for flowable in _framework(assessment, framework, text)),
        *_controls(assessment, text),
    ]
    buffer = io.BytesIO()
    foot = f"{texts.RESEARCH_USE} No certification."
    identity = f"{assessment.organisation}, {texts.TITLE} {assessment.period.name}"
    SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN - FRAME_PADDING,
        rightMargin=MARGIN - FRAME_PADDING,
        topMargin=13 * mm,
        bottomMargin=14 * mm,
        title=f"{texts.TITLE} {assessment.period.name}",
        author=assessment.organisation,
        lang="en",
        invariant=1,
    ).build(story, canvasmaker=lambda *args, **options: PagedCanvas(*args, foot=foot, identity=identity, **options))
    return buffer.getvalue()


def _head(assessment: Assessment, text: PdfText) -> list[Flowable]:
    rows = [
        [Paragraph(text.markup(name), LABEL), Paragraph(text.markup(value), SMALL)]
        for name, value in texts.about(assessment)
    ]
    return [
        Paragraph(text.markup(assessment.organisation), ORGANISATION),
        Paragraph(text.markup(f"{texts.TITLE}, {assessment.period.name}"), TITLE),
        Spacer(0, 2 * mm),
        Paragraph(text.markup(texts.verdict(assessment)), _VERDICT),
        Spacer(0, 1.5 * mm),
        Paragraph(text.markup(texts.LIMITS), BODY),
        Spacer(0, 2.5 * mm),
        Table(rows, [WIDTH * 0.16, WIDTH * 0.84], style=plain()),
    ]


def _open_points(assessment: Assessment, text: PdfText) -> list[Flowable]:
    found = texts.open_points(assessment)
    if not found:
        return [*heading("What did not pass"), Paragraph("Nothing: every control that applies passed.", BODY)]
    rows = [
        [
            Paragraph(each.control.id, SMALL),
            Paragraph(text.markup(each.control.title), SMALL),
            _status(each),
            Paragraph(text.markup(each.judgement.reason), SMALL),
        ]
        for each in found
    ]
    return [*heading("What did not pass"), _table(("Control", "Title", "Status", "Why"), rows, (0.09, 0.3, 0.2, 0.41))]


def _plots(plots: Mapping[str, bytes], text: PdfText) -> list[Flowable]:
    story: list[Flowable] = []
    for name, png in plots.items():
        wide, high = ImageReader(io.BytesIO(png)).getSize()
        image = Image(io.BytesIO(png), WIDTH, WIDTH * high / wide)
        story.append(KeepTogether([*heading(text.markup(TITLES[name])), image]))
    return story


def _framework(assessment: Assessment, framework: Framework, text: PdfText) -> list[Flowable]:
    results = assessment.of_framework(framework)
    share = texts.share_text(assessment.framework_shares()[framework])
    dates = [Paragraph(text.markup(line), LABEL) for line in texts.dates_of(assessment, framework)]
    rows = [
        [
            Paragraph(text.markup(texts.clauses(each, framework)), SMALL),
            Paragraph(text.markup(f"{each.control.id} {each.control.title}"), SMALL),
            _status(each),
            Paragraph(text.markup(each.judgement.reason), SMALL),
        ]
        for each in results
    ]
    return [
        CondPageBreak(40 * mm),
        *heading(text.markup(f"{texts.framework_name(framework)}: {share}")),
        *dates,
        _table(("Clause, and what it asks", "Control", "Status", "Why"), rows, (0.29, 0.22, 0.2, 0.29)),
    ]


def _controls(assessment: Assessment, text: PdfText) -> list[Flowable]:
    story = [CondPageBreak(40 * mm), *heading("Every control and its evidence")]
    for each in assessment.results:
        rows = [
            ("Checked", each.control.check),
            ("Passes when", each.control.passes_when),
            ("Query", each.evidence.query),
            ("Result", texts.numbers_text(each)),
            ("Proof in the log", texts.proof_text(each)),
        ]
        cells = [[Paragraph(name, LABEL), Paragraph(text.markup(value), SMALL)] for name, value in rows]
        title = Table(
            [[Paragraph(text.markup(f"{each.control.id} {each.control.title}"), STRONG), _status(each)]],
            [WIDTH * 0.75, WIDTH * 0.25],
            style=plain(),
        )
        table = Table(cells, [WIDTH * 0.14, WIDTH * 0.86], style=plain())
        story.append(KeepTogether([title, table, Spacer(0, 2 * mm)]))
    return story


def _status(result: ControlResult) -> Paragraph:
    return Paragraph(texts.WORDS[result.status], _STATUS[result.status])


def _table(heads: Sequence[str], rows: Sequence[Sequence[Flowable]], shares: Sequence[float]) -> Table:
    head = [Paragraph(each, LABEL) for each in heads]
    return Table([head, *rows], [WIDTH * share for share in shares], style=ruled(), repeatRows=1)
