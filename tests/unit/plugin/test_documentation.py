"""The pages of docs/ name what the code has."""

import re
from pathlib import Path

import pytest

from plugin.services.values import AnalysisState

ROOT = Path(__file__).parents[3]
VARIABLES = sorted(set(re.findall(r'"(QFL_[A-Z_]+)"', (ROOT / "plugin" / "settings.py").read_text())))


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_documented(variable: str) -> None:
    assert f"`{variable}`" in (ROOT / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize("state", list(AnalysisState))
def test_every_state_is_documented(state: AnalysisState) -> None:
    assert state.replace("-", " ") in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/configuration.md", "docs/adr/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
