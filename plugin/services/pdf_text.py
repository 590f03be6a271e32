"""Text of any script as reportlab paragraph markup.

The embedded font has Latin, Greek and Cyrillic letters. East Asian text falls back to the predefined CID fonts, which
most PDF viewers bring and some do not. What neither has, and what is written from right to left, becomes "?". Either
way the document must be able to say so: a name may not go missing in silence.
"""

import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

REGULAR: Final = "DejaVuSans"
BOLD: Final = "DejaVuSans-Bold"
_FONTS: Final = Path(__file__).parent / "fonts"

_CHINESE: Final = "STSong-Light"
_JAPANESE: Final = "HeiseiKakuGo-W5"
_KOREAN: Final = "HYGothic-Medium"

_KANA: Final = range(0x3040, 0x3100)
_HANGUL: Final = range(0xAC00, 0xD7A4)
_IN_CID_FONTS: Final = (
    range(0x3000, 0x3040),
    _KANA,
    range(0x4E00, 0x9FA6),  # CJK unified ideographs
    _HANGUL,
    range(0xFF01, 0xFF5F),  # full-width forms
)


class PdfText:
    """Turns text into markup, and remembers whether the embedded font had all of it.

    Attributes:
        is_complete: False when a character depends on the viewer's fonts, lost its accent or became "?".
    """

    def __init__(self) -> None:
        self.is_complete = True
        self._embedded = register_fonts()

    def markup(self, text: str) -> str:
        """Text as paragraph markup: escaped, without control characters, each run in a font that has it."""
        fallback = _east_asian_font(text)
        characters = [written for character in _one_line(text) for written in self._written(character)]
        runs = groupby(characters, key=lambda character: ord(character) in self._embedded)
        return "".join(
            escape("".join(run)) if is_embedded else f'<font name="{fallback}">{escape("".join(run))}</font>'
            for is_embedded, run in runs
        )

    def _written(self, character: str) -> str:
        """The character, if a font has it; else what comes closest."""
        if ord(character) in self._embedded:
            return character
        self.is_complete = False
        if _is_in_cid_fonts(character):
            return character
        plain = [c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c)]
        return "".join(c if ord(c) in self._embedded or _is_in_cid_fonts(c) else "?" for c in plain)


@cache
def register_fonts() -> frozenset[int]:
    """Make the fonts known to reportlab.

    Returns:
        The code points of the embedded font that can be set from left to right, one after the other.
    """
    faces = [TTFont(name, str(_FONTS / f"{name}.ttf")) for name in (REGULAR, BOLD)]
    for face in (*faces, *(UnicodeCIDFont(name) for name in (_CHINESE, _JAPANESE, _KOREAN))):
        pdfmetrics.registerFont(face)
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)
    covered = frozenset.intersection(*(frozenset(face.face.charToGlyph) for face in faces))
    return frozenset(code for code in covered if unicodedata.bidirectional(chr(code)) not in {"R", "AL"})


def _one_line(text: str) -> str:
    """Composed, without control, formatting (such as right-to-left override) and surrogate characters."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Cs"} else c for c in composed)


def _east_asian_font(text: str) -> str:
    """Ideographs look different in each language; kana and hangul tell which it is."""
    codes = [ord(character) for character in text]
    if any(code in _KANA for code in codes):
        return _JAPANESE
    return _KOREAN if any(code in _HANGUL for code in codes) else _CHINESE


def _is_in_cid_fonts(character: str) -> bool:
    return any(ord(character) in part for part in _IN_CID_FONTS)
