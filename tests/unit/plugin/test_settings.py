"""Settings from the environment: checked, frozen, and silent about secrets."""

from decimal import Decimal
from pathlib import Path

import pytest

from federated.quantum.policy import Price
from plugin.errors import SettingsError
from plugin.settings import load_quantum_settings, load_settings


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "QFL_FHIR_URL": "https://ehr.test/fhir/",
        "QFL_ARCHIVE_URL": "https://pacs.test/dicom-web",
        "QFL_DATA_DIR": str(tmp_path / "data"),
    }


def test_defaults_need_only_the_two_servers(environ: dict[str, str], tmp_path: Path) -> None:
    settings = load_settings(environ)
    assert settings.fhir.base_url == "https://ehr.test/fhir"
    assert settings.database_url == f"sqlite:///{tmp_path}/data/qfl.db"
    assert settings.work.broker_url == "filesystem://"
    assert settings.web.notification_url == settings.web.public_url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("QFL_FHIR_URL", "", id="missing"),
        pytest.param("QFL_FHIR_URL", "ftp://ehr.test", id="scheme"),
        pytest.param("QFL_ARCHIVE_URL", "https://user:secret@pacs.test", id="credentials-in-url"),
        pytest.param("QFL_HTTP_PORT", "eighty", id="number"),
        pytest.param("QFL_LEASE", "-1", id="negative"),
        pytest.param("QFL_FHIR_TOKEN_FILE", "/does/not/exist", id="secret-file"),
    ],
)
def test_a_wrong_value_is_refused_by_name(environ: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings({**environ, name: value})
    assert "secret@" not in str(caught.value)


def test_secrets_come_from_files_and_are_not_shown(environ: dict[str, str], tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret-token\n")
    settings = load_settings({**environ, "QFL_FHIR_TOKEN_FILE": str(secret), "QFL_SECRET_KEY": "s3cret-key"})
    assert settings.fhir.token == "s3cret-token"
    assert "s3cret" not in repr(settings)


def test_the_session_key_is_made_once_and_kept_private(environ: dict[str, str], tmp_path: Path) -> None:
    first, second = load_settings(environ).web.secret_key, load_settings(environ).web.secret_key
    assert first == second
    assert len(first) >= 48
    assert (tmp_path / "data" / "secret-key").stat().st_mode & 0o077 == 0


WORKSPACE = {
    "QFL_AZURE_QUANTUM_RESOURCE_ID": "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg"
    "/providers/Microsoft.Quantum/Workspaces/qfl",
    "QFL_AZURE_QUANTUM_LOCATION": "eastus",
    "QFL_AZURE_QUANTUM_TARGET": "quantinuum.sim.h2-1e",
}


def test_by_default_no_circuit_may_leave_the_site(environ: dict[str, str]) -> None:
    quantum = load_settings(environ).quantum
    assert quantum.workspace is None
    assert not quantum.policy.egress_allowed
    assert not quantum.policy.fallback_allowed
    assert quantum.policy.allowed_targets == ()
    assert quantum.policy.max_cost == 0


def test_the_quantum_part_needs_neither_ehr_nor_pacs(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("s3cret\n")
    quantum = load_quantum_settings(
        {
            **WORKSPACE,
            "QFL_DATA_DIR": str(tmp_path),
            "QFL_AZURE_QUANTUM_KEY_FILE": str(key),
            "QFL_QUANTUM_ALLOW_EGRESS": "yes",
            "QFL_QUANTUM_PERMISSION": "board 7/2026",
            "QFL_QUANTUM_PRICES": "ionq.simulator=free quantinuum.sim.h2-1e=job:5,two_qubit:0.002",
            "QFL_QUANTUM_MAX_COST": "12.50",
        }
    )
    assert quantum.workspace is not None
    assert quantum.workspace.key == "s3cret"
    assert "s3cret" not in repr(quantum)
    assert quantum.folder == tmp_path / "quantum"
    assert quantum.policy.prices == {
        "ionq.simulator": Price(),
        "quantinuum.sim.h2-1e": Price(job=Decimal(5), two_qubit=Decimal("0.002")),
    }
    assert quantum.policy.max_cost == Decimal("12.50")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("QFL_AZURE_QUANTUM_RESOURCE_ID", "qfl", id="resource-id"),
        pytest.param("QFL_AZURE_QUANTUM_LOCATION", "", id="location"),
        pytest.param("QFL_AZURE_QUANTUM_TARGET", "", id="target"),
        pytest.param("QFL_AZURE_QUANTUM_ENDPOINT", "http://eastus.quantum.azure.com", id="key-in-the-clear"),
        pytest.param("QFL_QUANTUM_ALLOW_EGRESS", "perhaps", id="yes-or-no"),
        pytest.param("QFL_QUANTUM_PRICES", "ionq.simulator", id="price-missing"),
        pytest.param("QFL_QUANTUM_PRICES", "ionq.simulator=job:1,rent:2", id="price-part"),
        pytest.param("QFL_QUANTUM_PRICES", "ionq.simulator=job:cheap", id="price-amount"),
        pytest.param("QFL_QUANTUM_PRICES", "ionq.simulator=free ionq.simulator=free", id="price-twice"),
        pytest.param("QFL_QUANTUM_MAX_SHOTS", "0", id="no-shots"),
        pytest.param("QFL_QUANTUM_MAX_COST", "-1", id="cost"),
    ],
)
def test_a_wrong_quantum_setting_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_quantum_settings({**WORKSPACE, name: value})


def test_egress_without_a_named_permission_is_refused() -> None:
    with pytest.raises(SettingsError, match="QFL_QUANTUM_PERMISSION"):
        load_quantum_settings({"QFL_QUANTUM_ALLOW_EGRESS": "yes"})


def test_without_a_coordinators_folder_the_pages_show_no_run(environ: dict[str, str], tmp_path: Path) -> None:
    assert load_settings(environ).federation.coordinator is None
    assert load_settings({**environ, "QFL_COORDINATOR_DIR": str(tmp_path)}).federation.coordinator == tmp_path
