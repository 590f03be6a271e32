"""What every PDF of the plugin shares: page, styles, headings and tables."""

from typing import Any, Final

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, KeepTogether, Paragraph, Spacer, Table

from plugin.services.pdf_text import BOLD, REGULAR, PdfText

MARGIN: Final = 15 * mm
WIDTH: Final = A4[0] - 2 * MARGIN
"""Of the text."""

FRAME_PADDING: Final = 6
"""Reportlab leaves this within the margins."""

INK, MUTED, RULE, SOFT = HexColor("#17242f"), HexColor("#566573"), HexColor("#d5dde3"), HexColor("#f4f7f9")
ACCENT, AMBER, AMBER_SOFT = HexColor("#0d5266"), HexColor("#b97700"), HexColor("#fff6e2")

BODY = ParagraphStyle("body", fontName=REGULAR, fontSize=8.5, leading=11.5, textColor=INK, splitLongWords=1)
SMALL = ParagraphStyle("small", BODY, fontSize=7.5, leading=10)
LABEL = ParagraphStyle("label", BODY, fontSize=6.8, leading=8.8, textColor=MUTED)
LABEL_RIGHT = ParagraphStyle("label right", LABEL, alignment=TA_RIGHT)
STRONG = ParagraphStyle("strong", BODY, fontName=BOLD)
ORGANISATION = ParagraphStyle("organisation", STRONG, fontSize=9, textColor=ACCENT)
TITLE = ParagraphStyle("title", STRONG, fontSize=16, leading=20)
HEADING = ParagraphStyle("heading", STRONG, fontSize=9, leading=12, textColor=ACCENT)


class PagedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
    """Writes on each page whose it is and which of how many, known only at the end."""

    def __init__(self, *args: Any, foot: str, identity: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self._foot, self._identity = foot, identity
        self._pages: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        """Keep the page until their number is known."""
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Write all pages."""
        for number, page in enumerate(self._pages, start=1):
            self.__dict__.update(page)
            self._draw_edges(number, len(self._pages))
            super().showPage()
        super().save()

    def _draw_edges(self, number: int, count: int) -> None:
        self.setStrokeColor(ACCENT)
        self.setLineWidth(3)
        self.line(0, A4[1] - 1.5, A4[0], A4[1] - 1.5)
        self.setStrokeColor(RULE)
        self.setLineWidth(0.5)
        self.line(MARGIN, 12 * mm, A4[0] - MARGIN, 12 * mm)
        text = PdfText()
        if number > 1:
            self._write(text.markup(self._identity), A4[1] - 8.5 * mm, LABEL)
        self._write(text.markup(self._foot), 7.5 * mm, LABEL)
        self._write(f"Page {number} of {count}", 7.5 * mm, LABEL_RIGHT)

    def _write(self, markup: str, y: float, style: ParagraphStyle) -> None:
        paragraph = Paragraph(markup, style)
        _, height = paragraph.wrapOn(self, WIDTH, 20 * mm)
        paragraph.drawOn(self, MARGIN, y + style.leading - height)


def section(title: str, *content: Flowable) -> list[Flowable]:
    """A heading and what stands below it, on one page."""
    return [KeepTogether([*heading(title), *content])]


def heading(text: str) -> list[Flowable]:
    """A heading over a line; the text is markup."""
    line = Table([[Paragraph(text, HEADING)]], [WIDTH], style=plain(("LINEBELOW", (0, 0), (-1, -1), 0.5, RULE)))
    return [Spacer(0, 3.2 * mm), line, Spacer(0, 1.5 * mm)]


def plain(*commands: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """A table that only arranges."""
    sides = ("LEFTPADDING", "RIGHTPADDING", "TOPPADDING", "BOTTOMPADDING")
    return [*((side, (0, 0), (-1, -1), 1.5 if side == "BOTTOMPADDING" else 0) for side in sides), *commands]


def ruled() -> list[tuple[Any, ...]]:
    """A table of values."""
    return [
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ("LEFTPADDING", (0, 0), (-1, -1), 4),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
    ]
