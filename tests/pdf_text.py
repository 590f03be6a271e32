"""What a reader of a PDF sees as text."""

import io

from pypdf import PdfReader


def pdf_text(document: bytes) -> str:
    """The text of all pages and of what describes the document, words one space apart."""
    reader = PdfReader(io.BytesIO(document))
    described = (str(value) for value in (reader.metadata or {}).values())
    return " ".join(" ".join([*(page.extract_text() for page in reader.pages), *described]).split())
