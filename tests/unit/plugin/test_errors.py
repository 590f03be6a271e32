"""The remedy table knows every error of every package."""

from collections.abc import Iterator

import pytest

import plugin.errors
from dicom_ingest.errors import DicomIngestError
from federated.errors import FederatedError
from fhir_adapter.errors import FhirAdapterError
from governance.errors import GovernanceError
from plugin.errors import REMEDIES, PluginError, Treatment, remedy

ROOTS = (PluginError, DicomIngestError, FhirAdapterError, FederatedError, GovernanceError)


def leaves(cls: type[Exception]) -> Iterator[type[Exception]]:
    below = cls.__subclasses__()
    if not below:
        yield cls
    for one in below:
        yield from leaves(one)


@pytest.mark.parametrize("error", [leaf for root in ROOTS for leaf in leaves(root)], ids=lambda cls: cls.__name__)
def test_every_error_has_a_remedy(error: type[Exception]) -> None:
    assert any(cls in REMEDIES for cls in error.__mro__), f"{error.__name__} has no remedy in plugin/errors.py"


def test_an_unforeseen_error_is_our_own_fault() -> None:
    assert remedy(ZeroDivisionError()) == remedy(plugin.errors.WorkerLostError())
    assert remedy(ZeroDivisionError()).treatment is Treatment.FAIL


def test_the_nearest_class_decides() -> None:
    class OwnError(plugin.errors.WrongSecretError):
        """A leaf below a leaf."""

    assert remedy(OwnError()).http_status == 401
