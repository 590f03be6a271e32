import io
import re
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from PIL import Image, ImageChops

from plugin.services.report_document import (
    KeyImage,
    ReportFacts,
    build_report_html,
    build_report_pdf,
    findings_sentence,
)
from plugin.services.values import Measurement, Patient, SeriesUse
from tests.pdf_text import pdf_text

VOID = {"meta", "img", "br", "hr", "link", "input"}
BANNERS = (
    "Preliminary - produced by an AI model, not yet reviewed by a radiologist",
    "Research use only. Not a medical device; not for primary diagnosis.",
)
HOSTILE = '<script>alert(1)</script>"\'><img src=x onerror=alert(1)></dd>{{ 7*7 }}<font color="red">'


def png(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (grey, grey, grey)).save(buffer, "PNG")
    return buffer.getvalue()


WHOLE = Measurement("whole-tumour", "Whole tumour", 84.21, 72.4, 51.2, 0.934, (240, 240, 240))
ENHANCING = Measurement("enhancing", "Enhancing tumour", 21.3, 48.2, 36.1, 0.951, (255, 70, 70))
OEDEMA = Measurement("oedema", "Oedema", 0.02, None, None, None, (255, 214, 64))

REPORT = ReportFacts(
    organisation="Example University Hospital",
    patient=Patient("Lindqvist^Anna^Maria", "MRN-48213", "19580412", "F"),
    accession_number="ACC-118204",
    study_date="20261118",
    study_description="MR brain with contrast",
    study_instance_uid="1.2.826.0.1.99.1",
    analysis_id="0f5c1d2e",
    issued=datetime(2026, 11, 18, 14, 5, tzinfo=UTC),
    model_name="Hybrid U-Net",
    model_version="sha256:" + "9f86d081" * 8,
    software_version="0.1.0",
    findings=findings_sentence((WHOLE, ENHANCING), True),
    measurements=(WHOLE, OEDEMA, ENHANCING),
    warnings=("No T2 was found.",),
    series=(
        SeriesUse("1.2.3", "DWI b1000", None, "Diffusion-weighted."),
        SeriesUse("1.2.4", "Ax T1 +C", "T1ce", "T1-weighted after contrast agent."),
    ),
    images=tuple(
        KeyImage(contrast, plane, png(20 * i + j))
        for i, contrast in enumerate(("T1ce", "FLAIR"))
        for j, plane in enumerate(("axial", "coronal", "sagittal"))
    ),
)


class Page(HTMLParser):
    """Reads a page strictly: every element that opens must close, in order."""

    def __init__(self, document: bytes):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(document.decode("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def text_of(form: str, report: ReportFacts) -> str:
    return Page(build_report_html(report)).text if form == "html" else pdf_text(build_report_pdf(report))


@pytest.mark.parametrize("form", ["html", "pdf"])
def test_says_everything_a_reader_needs(form):
    text = text_of(form, REPORT)
    for expected in (
        *BANNERS,
        "PRELIMINARY",
        "Example University Hospital",
        "Lindqvist, Anna Maria",
        "MRN-48213",
        "1958-04-12",
        "female",
        "ACC-118204",
        "2026-11-18 14:05 UTC",
        "MR brain with contrast",
        "whole tumour 84.2 ml; enhancing part 21.3 ml, longest diameter 48 x 36 mm.",
        "No T2 was found.",
        "84.2 72 \N{MULTIPLICATION SIGN} 51 93 %",
        "< 0.1 \N{EN DASH} \N{EN DASH}",
        "T1ce, axial",
        "FLAIR, sagittal",
        "T1-weighted after contrast agent.",
        "not used DWI b1000",
        "Hybrid U-Net",
        REPORT.model_version,
        "1.2.826.0.1.99.1",
        "0f5c1d2e",
    ):
        assert expected in text
    assert text.index("Ax T1 +C") < text.index("DWI b1000")  # the used series first


@pytest.mark.parametrize("form", ["html", "pdf"])
def test_says_what_is_not_known(form):
    bare = replace(
        REPORT,
        patient=Patient("", "", "", ""),
        accession_number=None,
        study_date=None,
        study_description=None,
        measurements=(),
        warnings=(),
        series=(),
        images=(),
    )
    text = text_of(form, bare)
    assert text.count("\N{EN DASH}") == 7  # all of the identity but the time of the report
    assert "None" not in text
    for heading in ("Measurements", "Key images", "Series"):
        assert f" {heading} " not in text


def test_html_refers_to_nothing_outside_and_runs_nothing():
    document = build_report_html(REPORT)
    page = Page(document)
    assert document.startswith(b"<!DOCTYPE html>")
    assert not {"script", "link", "iframe", "object", "form", "base", "a"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"{tag} {name}"
        assert name not in {"href", "srcset", "action", "poster"}
        assert name != "src" or value.startswith("data:image/jpeg;base64,")
    for forbidden in (b"http://", b"https://", b"url(", b"@import"):
        assert forbidden not in document


def test_html_holds_the_pictures_in_order_and_small():
    sources = [
        value for tag, name, value in Page(build_report_html(REPORT)).attributes if (tag, name) == ("img", "src")
    ]
    shown = [Image.open(io.BytesIO(b64decode(source.partition(",")[2]))) for source in sources]
    given = [Image.open(io.BytesIO(image.png)) for image in REPORT.images]
    assert [picture.format for picture in shown] == ["JPEG"] * len(given)
    for picture, original in zip(shown, given, strict=True):
        assert ImageChops.difference(picture.convert("RGB"), original.convert("RGB")).getextrema() <= ((0, 6),) * 3


def test_html_shows_the_segment_colours_but_none_for_unions():
    styles = {value for _, name, value in Page(build_report_html(REPORT)).attributes if name == "style"}
    assert styles == {"background:#ffd640", "background:#ff4646"}


HOSTILE_REPORT = replace(
    REPORT,
    organisation=HOSTILE,
    patient=Patient(HOSTILE, HOSTILE, HOSTILE, HOSTILE),
    accession_number=HOSTILE,
    study_date=HOSTILE,
    study_description=HOSTILE,
    model_name=HOSTILE,
    findings=HOSTILE,
    measurements=(replace(WHOLE, label=HOSTILE), replace(ENHANCING, label=HOSTILE)),
    warnings=(HOSTILE,),
    series=(SeriesUse("1.2", HOSTILE, HOSTILE, HOSTILE),),
    images=(KeyImage(HOSTILE, HOSTILE, png(0)),),
)


def test_html_escapes_whatever_names_hold():
    page = Page(build_report_html(HOSTILE_REPORT))
    assert "script" not in page.tags
    assert page.tags.count("img") == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert "{{ 7*7 }}" in page.text


def test_pdf_escapes_whatever_names_hold():
    text = pdf_text(build_report_pdf(HOSTILE_REPORT)).replace(" ", "")
    assert text.count("<script>alert(1)</script>") >= 10


@pytest.mark.parametrize(
    ("name", "in_pdf"),
    [
        pytest.param("Müller^Zoë", "Müller, Zoë", id="Western European"),
        pytest.param("Łukasz^Ćwikła", "Łukasz, Ćwikła", id="Polish"),
        pytest.param("Wąż^Jiří", "Wąż, Jiří", id="Czech"),
        pytest.param("Иванов^Иван", "Иванов, Иван", id="Cyrillic"),
        pytest.param("Παπαδόπουλος", "Παπαδόπουλος", id="Greek"),
        pytest.param("Mu\u0308ller^Zoe\u0308", "Müller, Zoë", id="decomposed"),
        pytest.param("a\u202eb\x00c", "a b c", id="control characters"),
    ],
)
def test_pdf_writes_latin_greek_and_cyrillic_names_as_they_are(name, in_pdf):
    named = replace(REPORT, patient=replace(REPORT.patient, name=name))
    text = pdf_text(build_report_pdf(named))
    assert in_pdf in text
    assert "HTML form of this report" not in text


@pytest.mark.parametrize(
    ("name", "font"),
    [
        pytest.param("Yamada^Tarou=山田^太郎=やまだ^たろう", b"HeiseiKakuGo-W5", id="Japanese"),
        pytest.param("Wang^XiaoDong=王^小东", b"STSong-Light", id="Chinese"),
        pytest.param("Hong^Gildong=洪^吉洞=홍^길동", b"HYGothic-Medium", id="Korean"),
    ],
)
def test_pdf_writes_other_scripts_in_fonts_of_the_viewer_and_says_so(name, font):
    named = replace(REPORT, patient=replace(REPORT.patient, name=name))
    document = build_report_pdf(named)
    assert font in document
    assert "HTML form of this report" in pdf_text(document)


@pytest.mark.parametrize("name", ["שלום^עולם", "محمد"])
def test_pdf_says_so_when_it_cannot_write_a_name(name):
    named = replace(REPORT, patient=replace(REPORT.patient, name=name))
    assert "HTML form of this report" in pdf_text(build_report_pdf(named))


@pytest.mark.parametrize(
    "name", ["שלום^עולם", "محمد", "😀", "\ud800", "नमस्ते", "", "^^^^", "=", "A" * 400, "\x00\x1b\x7f\x85"]
)
@pytest.mark.parametrize("build", [build_report_html, build_report_pdf])
def test_no_name_breaks_a_document(build, name):
    assert build(replace(REPORT, patient=replace(REPORT.patient, name=name)))


def test_html_keeps_every_script():
    for name in ("山田", "שלום", "Παπαδόπουλος", "Wąż"):
        assert name in Page(build_report_html(replace(REPORT, patient=replace(REPORT.patient, name=name)))).text


def test_pdf_is_a4_with_two_pages_at_most_and_names_the_patient_on_each():
    document = build_report_pdf(REPORT)
    assert document.startswith(b"%PDF-")
    sizes = re.findall(rb"/MediaBox \[ 0 0 (\d+)[.\d]* (\d+)[.\d]* \]", document)
    assert 1 <= len(sizes) <= 2
    assert set(sizes) == {(b"595", b"841")}
    text = pdf_text(document)
    assert text.count("MRN-48213") == len(sizes)
    assert f"Page 1 of {len(sizes)}" in text


@pytest.mark.parametrize("build", [build_report_html, build_report_pdf])
def test_same_facts_give_the_same_bytes(build):
    first = build(REPORT)
    build(HOSTILE_REPORT)
    assert build(REPORT) == first


def test_pdf_does_not_tell_when_it_was_written():
    assert b"D:20000101" in build_report_pdf(REPORT)


@pytest.mark.parametrize(
    ("measurements", "tumour_found", "expected"),
    [
        pytest.param(
            (WHOLE, ENHANCING),
            True,
            "Suspected intra-axial tumour: whole tumour 84.2 ml; enhancing part 21.3 ml, longest diameter 48 x 36 mm.",
            id="enhancing",
        ),
        pytest.param(
            (WHOLE, replace(ENHANCING, volume_ml=0.0, long_axis_mm=None, short_axis_mm=None)),
            True,
            "Suspected intra-axial tumour: whole tumour 84.2 ml, longest diameter 72 x 51 mm; no enhancing part.",
            id="not enhancing",
        ),
        pytest.param(
            (replace(WHOLE, volume_ml=0.01, long_axis_mm=2.0, short_axis_mm=None),),
            True,
            "Suspected intra-axial tumour: whole tumour < 0.1 ml, longest diameter 2 mm.",
            id="tiny",
        ),
        pytest.param((), True, "Suspected intra-axial tumour.", id="nothing measured"),
        pytest.param(
            (replace(WHOLE, volume_ml=0.0),),
            False,
            "No region suspicious for an intra-axial tumour was found by the model.",
            id="none",
        ),
    ],
)
def test_findings_are_one_sentence(measurements, tumour_found, expected):
    assert findings_sentence(measurements, tumour_found) == expected
