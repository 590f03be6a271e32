"""Which contrast an MR series shows, read from its header by tables of rules that score.

Names are free text that every site writes its own way; timing is what the scanner did. A name weighs more than timing,
except an inversion time, which settles what is FLAIR. Where both speak and contradict each other nothing is recognised.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.uid import UID, MRImageStorage

from dicom_ingest.attributes import number, text, texts
from dicom_ingest.model import MrContrast


@dataclass(frozen=True)
class Recognition:
    """What a header says.

    Attributes:
        contrast: None when the series is of no use here.
        points: How much evidence there is; larger is more.
        reason: In words for a radiologist.
    """

    contrast: MrContrast | None
    points: int
    reason: str


class _Weighting(StrEnum):
    T1 = "T1"
    T2 = "T2"
    FLAIR = "FLAIR"


_DESCRIPTION = "Series description"
_PROTOCOL = "Protocol name"
_DESCRIPTION_POINTS = 4
_PROTOCOL_POINTS = 3
_NAMED_PHASE_POINTS = 3
_AGENT_POINTS = 2


def recognise(header: Dataset) -> Recognition:
    """Say which contrast a series shows, and which evidence says so.

    Args:
        header: The attributes of one of its instances, of modality MR.
    """
    excluded = _excluded_by_kind(header) or _excluded_by_name(header)
    if excluded:
        return Recognition(None, 0, excluded)
    names = _name_evidence(header)
    timing = _timing_evidence(header)
    scores = _add_up(names, timing)
    if not scores:
        return Recognition(None, 0, f"{_quoted(header)} and timing name none of T1, T2 and FLAIR.")
    weighting = max(scores, key=lambda each: scores[each])
    if timing and weighting not in timing.points:
        return Recognition(None, 0, f"{_sentence(names)} but {_sentence(timing)}: they contradict each other.")
    phase = _phase(header) if weighting is _Weighting.T1 else _Phase(MrContrast(weighting), 0, "")
    words = [_sentence(names), _sentence(timing), phase.words]
    reason = "; ".join(word for word in words if word)
    return Recognition(phase.contrast, scores[weighting] + phase.points, f"{reason}.")


# --- What is not a series for segmentation -------------------------------------------------------------------------


def _word(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Z0-9])(?:{pattern})(?![A-Z0-9])")


_EXCLUDED_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a localizer", _word(r"LOCALI[SZ]ER|LOC|SCOUT|SURVEY|SMARTBRAIN|AAHEAD|3 ?P(LANE|L)|PILOT")),
    ("a calibration", _word(r"CAL|CALIBRATION|REF(ERENCE)? SCAN|SHIM|FIELD ?MAP(PING)?|B[01] ?MAP")),
    ("the spine or neck", _word(r"[CTL]? ?SPINE|CERVICAL|THORACIC|LUMBAR|NECK|HWS|BWS|LWS")),
    ("only a part of the head", _word(r"ORBITS?|IACS?|PITUITARY|SELLA|TMJ|SINUS(ES)?|TEMPORAL BONES?")),
    (
        "diffusion",
        _word(r"DWI|DTI|DKI|DIFF[A-Z]*|E?ADC|TRACEW?|TENSOR|B ?\d{3,4}|APPARENT.*|COLFA|FA ?MAP|ANISO[A-Z]*"),
    ),
    ("perfusion", _word(r"PERF[A-Z]*|DSC|DCE|PWI|P?C?ASL|R?CB[FV]|MTT|TTP|TMAX|GBP|PBP|DYN[A-Z]*|KTRANS")),
    ("angiography", _word(r"MRA|MRV|TOF|ANGIO[A-Z]*|VENO[A-Z]*|PC3D|3DPC|INHANCE|TRICKS|CAROTIDS?|COW")),
    ("susceptibility or T2*", _word(r"SWI|SWAN|SWIP|QSM|MIN ?IP|HEMO|VEN BOLD|MEDIC|MERGE")),
    ("susceptibility or T2*", re.compile(r"T2W? ?\*|T2W? ?STAR|T2.* (?:GRE|FFE|GRADIENT|FL[23]D)")),
    ("functional imaging", _word(r"FMRI|BOLD|REST(ING)?|EP2D|EPI")),
    ("spectroscopy", _word(r"MRSI?|CSI|SVS|PRESS|SPECTRO[A-Z]*")),
    ("a subtraction", _word(r"SUBS?|SUBTR[A-Z]*")),
    ("a projection", _word(r"MIPS?|PROJ[A-Z]*|VRT|3D ?VR")),
    ("a computed map", _word(r"MAPS?|MAPPING|SYN(THETIC)?|MAGIC|INV ?[12]")),
    ("proton density", _word(r"PDW?|PROTON|DUAL ECHO")),
    ("a sequence that is not used here", _word(r"STIR|CISS|FIESTA[A-Z]*|TRUFI[A-Z]*|TRUEFISP|B ?TFE|CINE|CSF")),
)
"""What the name tells, and the words that tell it, as whole words of the normalised name."""

_EXCLUDED_IMAGE_TYPES = {
    "LOCALIZER": "a localizer",
    "ADC": "diffusion",
    "DIFFUSION": "diffusion",
    "TRACEW": "diffusion",
    "FA": "diffusion",
    "PERFUSION": "perfusion",
    "ASL": "perfusion",
    "FMRI": "functional imaging",
    "MOSAIC": "functional imaging",
    "SWI": "susceptibility or T2*",
    "MINIP": "susceptibility or T2*",
    "MNIP": "susceptibility or T2*",
    "P": "phase images",
    "MIP": "a projection",
    "PROJECTION IMAGE": "a projection",
    "SUBTRACT": "a subtraction",
    "SUBTRACTION": "a subtraction",
    "SUB": "a subtraction",
    "MAP": "a computed map",
    "T1 MAP": "a computed map",
    "T2 MAP": "a computed map",
    "R2_MAP": "a computed map",
}
_GRADIENT_NAME = _word(r"F?GRE|FFE|GRADIENT( ECHO)?")
_T2_STAR_ECHO_MS = 12


def _excluded_by_kind(header: Dataset) -> str | None:
    sop_class = text(header, "SOPClassUID")
    if sop_class and sop_class != MRImageStorage:
        return f"Not classic MR images but {UID(sop_class).name}."
    for value in texts(header, "ImageType"):
        if value in _EXCLUDED_IMAGE_TYPES:
            return f"Image type {value} marks {_EXCLUDED_IMAGE_TYPES[value]}."
    if "EP" in texts(header, "ScanningSequence"):
        return "Echo-planar readout: diffusion, perfusion or functional imaging."
    echo_ms = number(header, "EchoTime")
    if "GR" in texts(header, "ScanningSequence") and echo_ms is not None and echo_ms >= _T2_STAR_ECHO_MS:
        return f"Gradient echo with TE {echo_ms:g} ms: susceptibility or T2*."
    return None


def _excluded_by_name(header: Dataset) -> str | None:
    for label, value in _names(header):
        name = _normalised(value)
        for words, pattern in _EXCLUDED_NAMES:
            if pattern.search(name):
                return f"{label} '{value}' names {words}."
        if _GRADIENT_NAME.search(name) and _named_weighting(name) is not _Weighting.T1:
            return f"{label} '{value}' names a gradient echo without T1 weighting."
        if _named_weighting(name):
            # Only a silent description is worth the protocol's name, which may be that of the whole examination.
            break
    return None


# --- Names -----------------------------------------------------------------------------------------------------------

_T1_NAME = re.compile(r"T1(?!\d)")
_T2_NAME = re.compile(r"T2(?!\d)")
_FLAIR_NAME = re.compile(r"FLAIR|DARK ?FL|(?<![A-Z])TIRM")
_T1_SEQUENCE_NAME = _word(r"MP ?2? ?RAGE|F?SPGR|BRAVO|3D TFE|VIBE|FLASH|THRIVE|LAVA|TFL3D")


def _named_weighting(name: str) -> _Weighting | None:
    t1, t2, flair = (bool(pattern.search(name)) for pattern in (_T1_NAME, _T2_NAME, _FLAIR_NAME))
    if t1 and t2:
        return None
    if t1:
        # T1 FLAIR is a T1-weighted inversion recovery.
        return _Weighting.T1
    if flair:
        return _Weighting.FLAIR
    if t2:
        return _Weighting.T2
    return _Weighting.T1 if _T1_SEQUENCE_NAME.search(name) else None


@dataclass(frozen=True)
class _Evidence:
    points: dict[_Weighting, int]
    words: str


def _name_evidence(header: Dataset) -> _Evidence | None:
    for (label, value), points in zip(_names(header), (_DESCRIPTION_POINTS, _PROTOCOL_POINTS), strict=False):
        weighting = _named_weighting(_normalised(value))
        if weighting:
            return _Evidence({weighting: points}, f"{label} '{value}' names {weighting}")
    return None


def _names(header: Dataset) -> tuple[tuple[str, str], ...]:
    return (
        (_DESCRIPTION, text(header, "SeriesDescription")),
        (_PROTOCOL, text(header, "ProtocolName")),
    )


def _normalised(name: str) -> str:
    return re.sub(r"[\s_\-./\\,;:()\[\]]+", " ", name.upper()).strip()


def _quoted(header: Dataset) -> str:
    description = text(header, "SeriesDescription")
    return f"Series description '{description}'" if description else "Without a series description, protocol name"


# --- Timing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Timing:
    """Milliseconds; an absent inversion time is 0."""

    echo: float
    repetition: float
    inversion: float
    is_gradient: bool
    is_inversion_recovery: bool

    @property
    def words(self) -> str:
        inversion = f", TI {self.inversion:g} ms" if self.inversion else ""
        return f"TE {self.echo:g} ms, TR {self.repetition:g} ms{inversion}"


_TIMING_RULES: tuple[tuple[str, Callable[[_Timing], bool], dict[_Weighting, int]], ...] = (
    (
        "FLAIR",
        lambda t: t.echo >= 60 and t.repetition >= 3500 and t.inversion >= 1500,
        {_Weighting.FLAIR: 5},
    ),
    (
        "FLAIR",
        lambda t: t.echo >= 60 and t.repetition >= 3500 and t.is_inversion_recovery and not t.inversion,
        {_Weighting.FLAIR: 2},
    ),
    (
        "T1 inversion recovery",
        lambda t: t.echo <= 35 and 1100 < t.repetition <= 4500 and 400 <= t.inversion <= 1300 and not t.is_gradient,
        {_Weighting.T1: 5},
    ),
    (
        "T2",
        lambda t: t.echo >= 60 and t.repetition >= 1800 and not t.inversion and not t.is_gradient,
        # A FLAIR whose inversion time was not recorded looks like this too.
        {_Weighting.T2: 2, _Weighting.FLAIR: 1},
    ),
    (
        "T1 spin echo",
        lambda t: t.echo <= 35 and t.repetition <= 1100 and not t.is_gradient,
        {_Weighting.T1: 2},
    ),
    (
        "T1 gradient echo",
        lambda t: t.is_gradient and t.echo <= 10 and (t.repetition <= 400 or 300 <= t.inversion <= 1400),
        {_Weighting.T1: 2},
    ),
)
"""What the timing fits, when it does, and how much that says; the first that holds counts."""


def _timing_evidence(header: Dataset) -> _Evidence | None:
    echo, repetition = number(header, "EchoTime"), number(header, "RepetitionTime")
    if not echo or not repetition:
        return None
    sequence = texts(header, "ScanningSequence")
    timing = _Timing(
        echo=echo,
        repetition=repetition,
        inversion=number(header, "InversionTime") or 0.0,
        is_gradient="GR" in sequence or _is_gradient(text(header, "SequenceName").upper()),
        is_inversion_recovery="IR" in sequence,
    )
    for words, holds, points in _TIMING_RULES:
        if holds(timing):
            return _Evidence(points, f"{timing.words} fit {words}")
    return None


def _is_gradient(sequence_name: str) -> bool:
    # Siemens: *tfl3d1_16ns is MPRAGE, *fl2d1 FLASH; *tse2d1_9 is spin echo.
    return bool(re.match(r"\*?(TFL|FL)[23]D", sequence_name))


def _add_up(*evidence: _Evidence | None) -> dict[_Weighting, int]:
    scores: dict[_Weighting, int] = {}
    for each in evidence:
        for weighting, points in each.points.items() if each else ():
            scores[weighting] = scores.get(weighting, 0) + points
    return scores


def _sentence(evidence: _Evidence | None) -> str:
    return evidence.words if evidence else ""


# --- Before or after contrast ----------------------------------------------------------------------------------------

_AGENT_NAME = (
    r"GAD[A-Z]*|GD|GD ?DTPA|GD ?[A-Z]*TA|KM|CE|MDC|CONTR|CONTRAST[A-Z]*|"
    r"DOTAREM|MAGNEVIST|MULTIHANCE|PROHANCE|OMNISCAN|CLARISCAN|PRIMOVIST"
)
_BOTH_PHASES = _word(r"W (AND )?W ?O|W ?O (AND )?W|PRE (AND |\+ ?)?POST|WITH AND WITHOUT|\+ ?-")
_BEFORE = _word(
    rf"(PRE(?! ?(OP|SURG))|W ?O|WITHOUT|NO|NON|OHNE|SANS|SIN) ?({_AGENT_NAME}|C|CON|IV)?|"
    rf"PRE({_AGENT_NAME})|NONCON[A-Z]*|NATIVE?|(UN|NON ?)ENHANCED|PLAIN"
)
_AFTER = re.compile(
    rf"(?<![A-Z0-9])(?:POST(?! ?(?:FOSSA|OP|SURG|RT|RAD|TREAT|THERAPY|CHEMO|BIOPSY))(?:{_AGENT_NAME}|C)?|{_AGENT_NAME}|"
    r"ENHANCED|INJ|AFTER|NACH|T1W? ?(?:SE|TSE|FSE)? ?(?:CE|C|GD|GAD|KM)|W(?:ITH)? ?(?:C|CON|IV))(?![A-Z0-9])|"
    r"\+ ?(?:C|GD|GAD|KM)(?![A-Z])|(?<![A-Z])C ?\+|T1W?\+"
)
_NO_AGENT = re.compile(r"(NO|NONE|N|NIL|NULL|0|N/?A|UNKNOWN)|(NO|NON|WITHOUT|W/O)\b.*")


@dataclass(frozen=True)
class _Phase:
    contrast: MrContrast
    points: int
    words: str


def _phase(header: Dataset) -> _Phase:
    """Tell T1 after contrast from T1 before it: what is named decides, else what was recorded as given."""
    named = _named_phase(header)
    agent = _recorded_agent(header)
    if named is MrContrast.T1:
        return _Phase(named, _NAMED_PHASE_POINTS, "named as before contrast")
    if named is MrContrast.T1CE:
        points = _NAMED_PHASE_POINTS + (_AGENT_POINTS if agent else 0)
        return _Phase(named, points, f"named as with contrast{f', {agent}' if agent else ''}")
    if agent:
        return _Phase(MrContrast.T1CE, _AGENT_POINTS, agent)
    return _Phase(MrContrast.T1, 0, "no contrast agent recorded")


def _named_phase(header: Dataset) -> MrContrast | None:
    for label, value in _names(header):
        name = _normalised(value)
        # A protocol named for the whole examination ("BRAIN W CONTRAST") says nothing of one series.
        is_examination = label == _PROTOCOL and not _named_weighting(name)
        if is_examination or _BOTH_PHASES.search(name):
            continue
        rest, before = _BEFORE.subn(" ", name)
        after = bool(_AFTER.search(rest))
        if bool(before) != after:
            return MrContrast.T1 if before else MrContrast.T1CE
    return None


def _recorded_agent(header: Dataset) -> str:
    agent = text(header, "ContrastBolusAgent")
    if agent and not _NO_AGENT.fullmatch(agent.upper()):
        return f"contrast agent given ({agent})"
    if not agent and (header.get("ContrastBolusAgentSequence") or (number(header, "ContrastBolusVolume") or 0) > 0):
        return "contrast agent given"
    return ""
