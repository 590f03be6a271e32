"""Which series a result came from, in words for a reader."""

from collections.abc import Iterator

from dicom_ingest.model import Selection
from plugin.services.values import SeriesUse


def unused_contrasts(selection: Selection) -> Iterator[str]:
    """Why a contrast is missing although the study may hold something like it."""
    for ignored in selection.ignored:
        if "frame of reference" in ignored.reason.lower():
            yield f"{ignored.series.header.get('SeriesDescription', 'A series')} was not used: {ignored.reason}"


def series_uses(selection: Selection) -> tuple[SeriesUse, ...]:
    """Every series, what it was taken for, and why; the used ones first."""
    used = [
        SeriesUse(
            chosen.series.series_instance_uid,
            str(chosen.series.header.get("SeriesDescription", "") or ""),
            contrast.value,
            chosen.reason,
        )
        for contrast, chosen in selection.chosen.items()
    ]
    ignored = [
        SeriesUse(
            one.series.series_instance_uid, str(one.series.header.get("SeriesDescription", "") or ""), None, one.reason
        )
        for one in selection.ignored
    ]
    return (*used, *ignored)
