"""The report as an A4 PDF."""

import io
from collections.abc import Sequence
from typing import Final

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import CondPageBreak, Flowable, Image, Paragraph, SimpleDocTemplate, Spacer, Table

from plugin.services import report_facts as facts
from plugin.services.drawing import to_jpeg
from plugin.services.pdf_page import (
    AMBER,
    AMBER_SOFT,
    BODY,
    FRAME_PADDING,
    LABEL,
    LABEL_RIGHT,
    MARGIN,
    MUTED,
    ORGANISATION,
    RULE,
    SMALL,
    SOFT,
    STRONG,
    TITLE,
    WIDTH,
    PagedCanvas,
    heading,
    plain,
    ruled,
    section,
)
from plugin.services.pdf_text import PdfText
from plugin.services.report_facts import KeyImage, ReportFacts

_INCOMPLETE: Final = (
    "Letters outside this PDF's font may be missing, stand without their accent or as a question mark. "
    "The HTML form of this report has them all."
)

_BULLET = ParagraphStyle("bullet", BODY, leftIndent=9)
_RIGHT = ParagraphStyle("right", BODY, alignment=TA_RIGHT)
_FINDINGS = ParagraphStyle("findings", BODY, fontSize=11, leading=15)
_STATUS = ParagraphStyle("status", STRONG, fontSize=8, textColor=AMBER, alignment=TA_RIGHT)


def build_report_pdf(report: ReportFacts) -> bytes:
    """Write the report as PDF, with fonts and pictures embedded.

    Args:
        report: Names may hold any character and any markup.
    """
    text = PdfText()
    head = _head(report, text)
    body = [
        *_findings(report, text),
        *_measurements(report, text),
        *_images(report, text),
        *_series(report, text),
        *_provenance(report, text),
    ]
    note = [] if text.is_complete else [Spacer(0, 1.5 * mm), Paragraph(_INCOMPLETE, LABEL)]
    foot = f"Preliminary, not reviewed by a radiologist. {facts.RESEARCH_USE}"
    identity = f"{facts.display_name(report.patient.name)}, {report.patient.patient_id}"
    buffer = io.BytesIO()
    SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN - FRAME_PADDING,
        rightMargin=MARGIN - FRAME_PADDING,
        topMargin=12 * mm,
        bottomMargin=13 * mm,
        title=facts.TITLE,
        author=report.organisation,
        lang="en",
        invariant=1,
    ).build(
        [*head, *note, *body],
        canvasmaker=lambda *args, **options: PagedCanvas(*args, foot=foot, identity=identity, **options),
    )
    return buffer.getvalue()


def _head(report: ReportFacts, text: PdfText) -> list[Flowable]:
    title = Table(
        [
            [Paragraph(text.markup(report.organisation), ORGANISATION), Paragraph("PRELIMINARY", _STATUS)],
            [Paragraph(facts.TITLE, TITLE), ""],
        ],
        [WIDTH - 40 * mm, 40 * mm],
        style=plain(("VALIGN", (0, 0), (-1, -1), "TOP")),
    )
    banner = Table(
        [[[Paragraph(facts.PRELIMINARY, STRONG), Paragraph(facts.RESEARCH_USE, BODY)]]],
        [WIDTH],
        style=[
            ("BACKGROUND", (0, 0), (-1, -1), AMBER_SOFT),
            ("LINEBEFORE", (0, 0), (0, -1), 3, AMBER),
            ("LEFTPADDING", (0, 0), (-1, -1), 10),
            ("TOPPADDING", (0, 0), (-1, -1), 5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
        ],
    )
    cells = [
        [Paragraph(label, LABEL), Paragraph(text.markup(value), STRONG if label == "Patient" else BODY)]
        for label, value in facts.identity_rows(report)
    ]
    identity = Table(
        [cells[:4], cells[4:]],
        [WIDTH * share for share in (0.34, 0.2, 0.23, 0.23)],
        style=[
            ("BACKGROUND", (0, 0), (-1, -1), SOFT),
            ("BOX", (0, 0), (-1, -1), 0.5, RULE),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 8),
            ("TOPPADDING", (0, 0), (-1, -1), 4),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
        ],
    )
    return [title, Spacer(0, 3 * mm), banner, Spacer(0, 3 * mm), identity]


def _findings(report: ReportFacts, text: PdfText) -> list[Flowable]:
    warnings = [Paragraph(text.markup(warning), _BULLET, bulletText="•") for warning in report.warnings]
    box = Table(
        [[warnings]],
        [WIDTH],
        style=[
            ("BOX", (0, 0), (-1, -1), 0.5, HexColor("#ecd9ae")),
            ("BACKGROUND", (0, 0), (-1, -1), HexColor("#fffbf1")),
            ("LEFTPADDING", (0, 0), (-1, -1), 8),
        ],
    )
    return section(
        "Findings",
        Paragraph(text.markup(report.findings), _FINDINGS),
        *([Spacer(0, 2 * mm), box] if warnings else []),
    )


def _measurements(report: ReportFacts, text: PdfText) -> list[Flowable]:
    rows = facts.measurement_rows(report.measurements)
    if not rows:
        return []
    head = [
        Paragraph("Region", LABEL),
        *(
            Paragraph(label, LABEL_RIGHT)
            for label in ("Volume (ml)", f"Longest diameter {facts.TIMES} perpendicular (mm)", "Model confidence")
        ),
    ]
    body = [
        [
            _Marked(row.swatch, Paragraph(text.markup(row.label), BODY)),
            *(Paragraph(text.markup(value), _RIGHT) for value in (row.volume, row.diameters, row.confidence)),
        ]
        for row in rows
    ]
    table = Table([head, *body], [WIDTH * share for share in (0.36, 0.14, 0.34, 0.16)], style=ruled())
    return section("Measurements", table)


def _images(report: ReportFacts, text: PdfText) -> list[Flowable]:
    if not report.images:
        return []
    first, *others = [_image_row(row, text) for row in facts.image_rows(report.images)]
    hint = Paragraph(facts.CONVENTION, LABEL)
    return [*section("Key images", *_legend(report, text), first), *others, hint]


def _legend(report: ReportFacts, text: PdfText) -> list[Flowable]:
    rows = [row for row in facts.measurement_rows(report.measurements) if row.swatch]
    cells = [_Marked(row.swatch, Paragraph(text.markup(row.label), SMALL)) for row in rows]
    return [Table([cells], [WIDTH / len(cells)] * len(cells), style=plain()), Spacer(0, 1 * mm)] if cells else []


def _image_row(row: Sequence[KeyImage], text: PdfText) -> Flowable:
    gap = 4 * mm
    side = (WIDTH - 2 * gap) / 3
    cells = [
        [Image(io.BytesIO(to_jpeg(image.png)), side, side), Paragraph(text.markup(image.caption), LABEL)]
        for image in row
    ]
    return Table(
        [cells],
        [side + gap] * len(cells),
        hAlign="LEFT",
        style=plain(("ALIGN", (0, 0), (-1, -1), "LEFT"), ("BOTTOMPADDING", (0, 0), (-1, -1), 5)),
    )


def _series(report: ReportFacts, text: PdfText) -> list[Flowable]:
    if not report.series:
        return []
    head = [Paragraph(label, LABEL) for label in ("Used as", "Series", "Why")]
    body = [[Paragraph(text.markup(value), SMALL) for value in row] for row in facts.series_rows(report.series)]
    table = Table([head, *body], [WIDTH * share for share in (0.12, 0.3, 0.58)], style=ruled(), repeatRows=1)
    return [CondPageBreak(35 * mm), *heading("Series"), table]


def _provenance(report: ReportFacts, text: PdfText) -> list[Flowable]:
    rows = [
        [Paragraph(label, LABEL), Paragraph(text.markup(value), SMALL)]
        for label, value in facts.provenance_rows(report)
    ]
    return section("How this was made", Table(rows, [WIDTH * 0.2, WIDTH * 0.8], style=plain()))


class _Marked(Flowable):  # type: ignore[misc]  # reportlab has no types
    """A paragraph behind a square of a region's colour; without a colour the place stays empty."""

    INDENT = 13

    def __init__(self, swatch: str | None, paragraph: Paragraph) -> None:
        super().__init__()
        self._swatch, self._paragraph = swatch, paragraph

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        _, self.height = self._paragraph.wrap(width - self.INDENT, height)
        return (width, self.height)

    def draw(self) -> None:
        if self._swatch:
            self.canv.setFillColor(HexColor(self._swatch))
            self.canv.setStrokeColor(MUTED)
            self.canv.setLineWidth(0.4)
            self.canv.rect(0, self.height - 9, 7, 7, fill=1)
        self._paragraph.drawOn(self.canv, self.INDENT, 0)
