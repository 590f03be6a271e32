"""The pages of docs/ name what the code has."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_ingest.errors import DicomIngestError
from federated.errors import FederatedError
from fhir_adapter.errors import FhirAdapterError
from governance.errors import GovernanceError
from plugin.errors import LeaseLostError, PluginError, Treatment, remedy
from plugin.services.values import AnalysisState
from plugin.settings import load_settings

ROOT = Path(__file__).parents[3]
VARIABLES = sorted(set(re.findall(r'"(QFL_[A-Z_]+)"', (ROOT / "plugin" / "settings.py").read_text())))


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_documented(variable: str) -> None:
    assert f"`{variable}`" in (ROOT / "docs" / "configuration.md").read_text()


def test_every_documented_setting_exists() -> None:
    named = re.findall(r"QFL_[A-Z_]+[A-Z]", (ROOT / "docs" / "configuration.md").read_text())
    assert {name.removesuffix("_FILE") for name in named} == set(VARIABLES)


def test_the_example_is_a_usable_configuration(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "configuration.md").read_text(), re.DOTALL)
    environ = dict(line.partition("=")[::2] for line in shlex.split(block))
    for name, value in environ.items():
        if name.endswith("_FILE"):
            secret = tmp_path / Path(value).name
            secret.write_text("secret\n")
            environ[name] = str(secret)
    settings = load_settings({**environ, "QFL_DATA_DIR": str(tmp_path)})
    assert (settings.fhir.token, settings.archive.password, settings.web.secret_key) == ("secret",) * 3
    assert len(settings.archive.allowed_urls) == 2
    assert settings.web.is_https


def errors_of_analyses() -> Iterator[type[Exception]]:
    waiting: list[type[Exception]] = [PluginError, DicomIngestError, FhirAdapterError, FederatedError, GovernanceError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        is_ending = remedy(error.__new__(error)).treatment is not Treatment.REFUSE and error is not LeaseLostError
        if is_ending and not error.__subclasses__():
            yield error


@pytest.mark.parametrize("error", sorted(errors_of_analyses(), key=lambda error: error.__name__))
def test_every_reason_is_documented(error: type[Exception]) -> None:
    assert f"`{error.__name__}`" in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("state", list(AnalysisState))
def test_every_state_is_documented(state: AnalysisState) -> None:
    assert state.replace("-", " ") in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/configuration.md", "docs/operations.md", "docs/adr/README.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
