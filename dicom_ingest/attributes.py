"""Attribute values of a dataset as Python values; malformed ones become named errors or None, never exceptions."""

import math
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_ingest.errors import BrokenInstanceError, UnsupportedInstanceError


def text(instance: Dataset, keyword: str) -> str:
    r"""The value as text, several joined with a backslash; empty when the attribute is absent or empty."""
    return "\\".join(str(value).strip() for value in _values(instance, keyword))


def texts(instance: Dataset, keyword: str) -> tuple[str, ...]:
    """Each value as text, upper case."""
    return tuple(str(value).strip().upper() for value in _values(instance, keyword))


def number(instance: Dataset, keyword: str) -> float | None:
    """The first value as a finite number; None when there is none."""
    values = _values(instance, keyword)
    return _finite(values[0]) if values else None


def required_numbers(instance: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """The value as numbers.

    Raises:
        UnsupportedInstanceError: The attribute is absent or empty.
        BrokenInstanceError: It does not hold that many finite numbers.
    """
    values = _values(instance, keyword)
    if not values:
        raise UnsupportedInstanceError(
            f"Instance {instance.SOPInstanceUID} has no {keyword}, without which its place is unknown; "
            "send the original series."
        )
    numbers = [_finite(value) for value in values]
    finite = tuple(each for each in numbers if each is not None)
    if len(finite) != count or len(numbers) != count:
        raise BrokenInstanceError(
            f"Expected {count} finite numbers in {keyword} of instance {instance.SOPInstanceUID}, "
            f"got {len(values)} values; repair the instance in the archive."
        )
    return finite


def required_count(instance: Dataset, keyword: str) -> int:
    """The value as a positive integer.

    Raises:
        UnsupportedInstanceError: The attribute is absent or empty.
        BrokenInstanceError: It is not one positive integer.
    """
    (value,) = required_numbers(instance, keyword, 1)
    if value < 1 or value != int(value):
        raise BrokenInstanceError(
            f"Expected a positive integer in {keyword} of instance {instance.SOPInstanceUID}, got {value:g}; "
            "repair the instance in the archive."
        )
    return int(value)


def _values(instance: Dataset, keyword: str) -> Sequence[object]:
    value = instance.get(keyword)
    if value is None or (isinstance(value, str | bytes) and not value.strip()):
        return ()
    return tuple(value) if isinstance(value, MultiValue | list | tuple) else (value,)


def _finite(value: object) -> float | None:
    try:
        converted = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return converted if math.isfinite(converted) else None
