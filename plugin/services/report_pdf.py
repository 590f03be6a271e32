"""The report as an A4 PDF."""

import io
from collections.abc import Sequence
from typing import Any, Final

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import CondPageBreak, Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table

from plugin.services import report_facts as facts
from plugin.services.drawing import to_jpeg
from plugin.services.pdf_text import BOLD, REGULAR, PdfText
from plugin.services.report_facts import KeyImage, ReportFacts

MARGIN: Final = 15 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
"""Of the text."""

_FRAME_PADDING: Final = 6
"""Reportlab leaves this within the margins."""

_INK, _MUTED, _RULE, _SOFT = HexColor("#17242f"), HexColor("#566573"), HexColor("#d5dde3"), HexColor("#f4f7f9")
_ACCENT, _AMBER, _AMBER_SOFT = HexColor("#0d5266"), HexColor("#b97700"), HexColor("#fff6e2")

_INCOMPLETE: Final = (
    "Letters outside this PDF's font may be missing, stand without their accent or as a question mark. "
    "The HTML form of this report has them all."
)

_BODY = ParagraphStyle("body", fontName=REGULAR, fontSize=8.5, leading=11.5, textColor=_INK, splitLongWords=1)
_BULLET = ParagraphStyle("bullet", _BODY, leftIndent=9)
_SMALL = ParagraphStyle("small", _BODY, fontSize=7.5, leading=10)
_LABEL = ParagraphStyle("label", _BODY, fontSize=6.8, leading=8.8, textColor=_MUTED)
_RIGHT = ParagraphStyle("right", _BODY, alignment=TA_RIGHT)
_LABEL_RIGHT = ParagraphStyle("label right", _LABEL, alignment=TA_RIGHT)
_STRONG = ParagraphStyle("strong", _BODY, fontName=BOLD)
_ORGANISATION = ParagraphStyle("organisation", _STRONG, fontSize=9, textColor=_ACCENT)
_TITLE = ParagraphStyle("title", _STRONG, fontSize=16, leading=20)
_HEADING = ParagraphStyle("heading", _STRONG, fontSize=9, leading=12, textColor=_ACCENT)
_FINDINGS = ParagraphStyle("findings", _BODY, fontSize=11, leading=15)
_STATUS = ParagraphStyle("status", _STRONG, fontSize=8, textColor=_AMBER, alignment=TA_RIGHT)


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
    note = [] if text.is_complete else [Spacer(0, 1.5 * mm), Paragraph(_INCOMPLETE, _LABEL)]
    foot = f"Preliminary, not reviewed by a radiologist. {facts.RESEARCH_USE}"
    identity = f"{facts.display_name(report.patient.name)}, {report.patient.patient_id}"
    buffer = io.BytesIO()
    SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN - _FRAME_PADDING,
        rightMargin=MARGIN - _FRAME_PADDING,
        topMargin=12 * mm,
        bottomMargin=13 * mm,
        title=facts.TITLE,
        author=report.organisation,
        lang="en",
        invariant=1,
    ).build(
        [*head, *note, *body],
        canvasmaker=lambda *args, **options: _PagedCanvas(*args, foot=foot, identity=identity, **options),
    )
    return buffer.getvalue()


class _PagedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
    """Writes on each page whose it is and which of how many, known only at the end."""

    def __init__(self, *args: Any, foot: str, identity: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._foot, self._identity = foot, identity
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self._draw_edges(number, len(self._pages))
            super().showPage()
        super().save()

    def _draw_edges(self, number: int, count: int) -> None:
        self.setStrokeColor(_ACCENT)
        self.setLineWidth(3)
        self.line(0, A4[1] - 1.5, A4[0], A4[1] - 1.5)
        self.setStrokeColor(_RULE)
        self.setLineWidth(0.5)
        self.line(MARGIN, 12 * mm, A4[0] - MARGIN, 12 * mm)
        text = PdfText()
        if number > 1:
            self._write(text.markup(self._identity), A4[1] - 8.5 * mm, _LABEL)
        self._write(text.markup(self._foot), 7.5 * mm, _LABEL)
        self._write(f"Page {number} of {count}", 7.5 * mm, _LABEL_RIGHT)

    def _write(self, markup: str, y: float, style: ParagraphStyle) -> None:
        paragraph = Paragraph(markup, style)
        _, height = paragraph.wrapOn(self, WIDTH, 20 * mm)
        paragraph.drawOn(self, MARGIN, y + style.leading - height)


def _head(report: ReportFacts, text: PdfText) -> list[Flowable]:
    title = Table(
        [
            [Paragraph(text.markup(report.organisation), _ORGANISATION), Paragraph("PRELIMINARY", _STATUS)],
            [Paragraph(facts.TITLE, _TITLE), ""],
        ],
        [WIDTH - 40 * mm, 40 * mm],
        style=_plain(("VALIGN", (0, 0), (-1, -1), "TOP")),
    )
    banner = Table(
        [[[Paragraph(facts.PRELIMINARY, _STRONG), Paragraph(facts.RESEARCH_USE, _BODY)]]],
        [WIDTH],
        style=[
            ("BACKGROUND", (0, 0), (-1, -1), _AMBER_SOFT),
            ("LINEBEFORE", (0, 0), (0, -1), 3, _AMBER),
            ("LEFTPADDING", (0, 0), (-1, -1), 10),
            ("TOPPADDING", (0, 0), (-1, -1), 5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 6),
        ],
    )
    cells = [
        [Paragraph(label, _LABEL), Paragraph(text.markup(value), _STRONG if label == "Patient" else _BODY)]
        for label, value in facts.identity_rows(report)
    ]
    identity = Table(
        [cells[:4], cells[4:]],
        [WIDTH * share for share in (0.34, 0.2, 0.23, 0.23)],
        style=[
            ("BACKGROUND", (0, 0), (-1, -1), _SOFT),
            ("BOX", (0, 0), (-1, -1), 0.5, _RULE),
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
    return _section(
        "Findings",
        Paragraph(text.markup(report.findings), _FINDINGS),
        *([Spacer(0, 2 * mm), box] if warnings else []),
    )


def _measurements(report: ReportFacts, text: PdfText) -> list[Flowable]:
    rows = facts.measurement_rows(report.measurements)
    if not rows:
        return []
    head = [
        Paragraph("Region", _LABEL),
        *(
            Paragraph(label, _LABEL_RIGHT)
            for label in ("Volume (ml)", f"Longest diameter {facts.TIMES} perpendicular (mm)", "Model confidence")
        ),
    ]
    body = [
        [
            _Marked(row.swatch, Paragraph(text.markup(row.label), _BODY)),
            *(Paragraph(text.markup(value), _RIGHT) for value in (row.volume, row.diameters, row.confidence)),
        ]
        for row in rows
    ]
    table = Table([head, *body], [WIDTH * share for share in (0.36, 0.14, 0.34, 0.16)], style=_ruled())
    return _section("Measurements", table)


def _images(report: ReportFacts, text: PdfText) -> list[Flowable]:
    if not report.images:
        return []
    first, *others = [_image_row(row, text) for row in facts.image_rows(report.images)]
    hint = Paragraph(facts.CONVENTION, _LABEL)
    return [*_section("Key images", *_legend(report, text), first), *others, hint]


def _legend(report: ReportFacts, text: PdfText) -> list[Flowable]:
    rows = [row for row in facts.measurement_rows(report.measurements) if row.swatch]
    cells = [_Marked(row.swatch, Paragraph(text.markup(row.label), _SMALL)) for row in rows]
    return [Table([cells], [WIDTH / len(cells)] * len(cells), style=_plain()), Spacer(0, 1 * mm)] if cells else []


def _image_row(row: Sequence[KeyImage], text: PdfText) -> Flowable:
    gap = 4 * mm
    side = (WIDTH - 2 * gap) / 3
    cells = [
        [Image(io.BytesIO(to_jpeg(image.png)), side, side), Paragraph(text.markup(image.caption), _LABEL)]
        for image in row
    ]
    return Table(
        [cells],
        [side + gap] * len(cells),
        hAlign="LEFT",
        style=_plain(("ALIGN", (0, 0), (-1, -1), "LEFT"), ("BOTTOMPADDING", (0, 0), (-1, -1), 5)),
    )


def _series(report: ReportFacts, text: PdfText) -> list[Flowable]:
    if not report.series:
        return []
    head = [Paragraph(label, _LABEL) for label in ("Used as", "Series", "Why")]
    body = [[Paragraph(text.markup(value), _SMALL) for value in row] for row in facts.series_rows(report.series)]
    table = Table([head, *body], [WIDTH * share for share in (0.12, 0.3, 0.58)], style=_ruled(), repeatRows=1)
    return [CondPageBreak(35 * mm), *_heading("Series"), table]


def _provenance(report: ReportFacts, text: PdfText) -> list[Flowable]:
    rows = [
        [Paragraph(label, _LABEL), Paragraph(text.markup(value), _SMALL)]
        for label, value in facts.provenance_rows(report)
    ]
    return _section("How this was made", Table(rows, [WIDTH * 0.2, WIDTH * 0.8], style=_plain()))


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
            self.canv.setStrokeColor(_MUTED)
            self.canv.setLineWidth(0.4)
            self.canv.rect(0, self.height - 9, 7, 7, fill=1)
        self._paragraph.drawOn(self.canv, self.INDENT, 0)


def _section(heading: str, *content: Flowable) -> list[Flowable]:
    return [KeepTogether([*_heading(heading), *content])]


def _heading(heading: str) -> list[Flowable]:
    line = Table([[Paragraph(heading, _HEADING)]], [WIDTH], style=_plain(("LINEBELOW", (0, 0), (-1, -1), 0.5, _RULE)))
    return [Spacer(0, 3.2 * mm), line, Spacer(0, 1.5 * mm)]


def _plain(*commands: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """A table that only arranges."""
    sides = ("LEFTPADDING", "RIGHTPADDING", "TOPPADDING", "BOTTOMPADDING")
    return [*((side, (0, 0), (-1, -1), 1.5 if side == "BOTTOMPADDING" else 0) for side in sides), *commands]


def _ruled() -> list[tuple[Any, ...]]:
    """A table of values."""
    return [
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, _INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, _RULE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ("LEFTPADDING", (0, 0), (-1, -1), 4),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
    ]
