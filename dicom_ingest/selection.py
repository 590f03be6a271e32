"""Which series of a study stand for T1, T1ce, T2 and FLAIR."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_ingest.attributes import number, text, texts
from dicom_ingest.errors import MissingReferenceSeriesError, NotMagneticResonanceError
from dicom_ingest.model import ChosenSeries, IgnoredSeries, MrContrast, Selection, Series
from dicom_ingest.mr_contrast import Recognition, recognise

_MIN_INSTANCES = 3
_NAMES = {
    MrContrast.T1: "T1 before contrast",
    MrContrast.T1CE: "T1 after contrast",
    MrContrast.T2: "T2",
    MrContrast.FLAIR: "FLAIR",
}


@dataclass(frozen=True, eq=False)
class _Candidate:
    series: Series
    contrast: MrContrast
    recognition: Recognition


def choose_series(series: Sequence[Series]) -> Selection:
    """Choose one series per contrast; T1 after contrast is the reference, and the others must share its frame.

    The choice depends on the series alone, not on their order.

    Returns:
        The chosen series, and every other one with the reason why it was not used.

    Raises:
        NotMagneticResonanceError: No series is of modality MR.
        MissingReferenceSeriesError: No series is recognised as T1 after contrast.
    """
    if all(each.modality != "MR" for each in series):
        modalities = ", ".join(sorted({each.modality or "none" for each in series})) or "no series"
        raise NotMagneticResonanceError(f"Expected MR series, the study has {modalities}; send a brain MRI study.")
    candidates, reasons = _recognise_all(series)
    candidates.sort(key=_rank)
    reference = next((each for each in candidates if each.contrast is MrContrast.T1CE), None)
    if reference is None:
        raise MissingReferenceSeriesError(_no_reference(series))
    chosen: dict[MrContrast, _Candidate] = {MrContrast.T1CE: reference}
    for candidate in candidates:
        rival = chosen.get(candidate.contrast)
        if candidate is reference:
            continue
        if rival is not None:
            reasons[candidate.series.series_instance_uid] = _why_not_preferred(candidate, rival)
        elif not _share_frame(candidate.series, reference.series):
            reasons[candidate.series.series_instance_uid] = (
                f"Recognised as {_NAMES[candidate.contrast]}, but its frame of reference is not that of the "
                f"{_NAMES[MrContrast.T1CE]} series: it would need registration first."
            )
        else:
            chosen[candidate.contrast] = candidate
    return Selection(
        chosen={
            contrast: ChosenSeries(chosen[contrast].series, contrast, chosen[contrast].recognition.reason)
            for contrast in MrContrast
            if contrast in chosen
        },
        ignored=tuple(
            IgnoredSeries(each, reasons[each.series_instance_uid])
            for each in series
            if each.series_instance_uid in reasons
        ),
    )


def _recognise_all(series: Sequence[Series]) -> tuple[list[_Candidate], dict[str, str]]:
    candidates, reasons = [], {}
    for each in series:
        if each.modality != "MR":
            reasons[each.series_instance_uid] = f"Not MR but {each.modality or 'without a modality'}."
            continue
        recognition = recognise(each.header)
        if recognition.contrast is None:
            reasons[each.series_instance_uid] = recognition.reason
        elif each.number_of_instances < _MIN_INSTANCES and recognition.contrast is not MrContrast.T1CE:
            # The reference is kept, so that what is said of the study is that it is incomplete, not that it is missing.
            reasons[each.series_instance_uid] = (
                f"Recognised as {_NAMES[recognition.contrast]}, but it has only {each.number_of_instances} image(s)."
            )
        else:
            candidates.append(_Candidate(each, recognition.contrast, recognition))
    return candidates, reasons


_PREFERENCES = (
    "enough images",
    "more evidence",
    "acquired in 3D",
    "more images",
    "original, not derived",
    "the lower series number",
    "the lower series UID",
)


def _rank(candidate: _Candidate) -> tuple[float | str, ...]:
    """Smaller is better; one value for each of _PREFERENCES."""
    header = candidate.series.header
    series_number = number(header, "SeriesNumber")
    return (
        candidate.series.number_of_instances < _MIN_INSTANCES,
        -candidate.recognition.points,
        "3D" not in texts(header, "MRAcquisitionType"),
        -candidate.series.number_of_instances,
        "ORIGINAL" not in texts(header, "ImageType"),
        math.inf if series_number is None else series_number,
        candidate.series.series_instance_uid,
    )


def _why_not_preferred(candidate: _Candidate, rival: _Candidate) -> str:
    because = next(
        (
            words
            for words, mine, theirs in zip(_PREFERENCES, _rank(candidate), _rank(rival), strict=True)
            if mine != theirs
        ),
        "listed once already",
    )
    return f"Recognised as {_NAMES[candidate.contrast]}, but {_title(rival.series)} was preferred: {because}."


def _share_frame(one: Series, other: Series) -> bool:
    frame = text(one.header, "FrameOfReferenceUID")
    return bool(frame) and frame == text(other.header, "FrameOfReferenceUID")


def _title(series: Series) -> str:
    return f"series {text(series.header, 'SeriesNumber') or '?'} '{text(series.header, 'SeriesDescription')}'"


def _no_reference(series: Sequence[Series]) -> str:
    seen = ", ".join(f"'{text(each.header, 'SeriesDescription')}'" for each in series if each.modality == "MR")
    return (
        f"Expected a T1-weighted series after contrast, got MR series {seen}; "
        "send it, or name it so (e.g. 'AX T1 POST')."
    )
