"""Figures of a federated run in words, the same on the terminal, on the pages and in the report."""

from federated.rounds.run_view import RunView

NOTHING = "-"
_PREFIXES = (("G", 1e9), ("M", 1e6), ("k", 1e3))
_MINUTES_FROM_S = 600


def number(value: float | None) -> str:
    """Three digits or more; a dash for what is not known."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def dice(value: float | None) -> str:
    """Three decimals."""
    return NOTHING if value is None else f"{value:.3f}"


def amount(value: float | None, unit: str) -> str:
    """With a unit of a fitting size: 6.4 MB, 541 J, 12.5 s, 31 min."""
    if value is None:
        return NOTHING
    if unit == "s":
        return f"{value:.1f} s" if value < _MINUTES_FROM_S else f"{value / 60:,.0f} min"
    for prefix, size in _PREFIXES:
        if value >= size:
            return f"{value / size:,.1f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def energy_words(view: RunView) -> str:
    """How far a run's joules can be believed."""
    if not view.energy_sources:
        return "source not told"
    return "an estimate" if any(source.startswith("estimate") for source in view.energy_sources) else "measured"
