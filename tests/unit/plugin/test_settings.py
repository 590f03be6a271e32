"""Settings from the environment: checked, frozen, and silent about secrets."""

from pathlib import Path

import pytest

from plugin.errors import SettingsError
from plugin.settings import load_settings


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
