import hashlib
import io
import zipfile

import pytest

from federated.engine.app_bundle import app_digest, build_bundle
from federated.errors import ProvisioningError


def test_the_same_bytes_whenever_it_is_built():
    assert build_bundle() == build_bundle()
    assert app_digest() == hashlib.sha256(build_bundle()).hexdigest()


def test_its_digest_changes_only_on_purpose():
    assert app_digest() == "01681f0250a1678960428f083cb9423322e2e7e552c97bc719583893d3f2fdd6", (
        "sites of the last release will refuse runs: is that meant?"
    )


def test_another_app_has_another_digest():
    assert app_digest("somewhere.else:app") != app_digest()


def test_holds_no_code_but_a_name():
    with zipfile.ZipFile(io.BytesIO(build_bundle())) as bundle:
        assert sorted(bundle.namelist()) == [".info/CONTENT", "pyproject.toml", "qfl_rounds.py"]
        assert "from plugin.fl_apps import server_app as server" in bundle.read("qfl_rounds.py").decode()
        assert {entry.compress_type for entry in bundle.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("name", ["", "plugin.fl_apps", "os:system('x')", "a.b:c\nimport os", ".a:b", "a:b.c"])
def test_refuses_what_is_no_name(name):
    with pytest.raises(ProvisioningError):
        build_bundle(name)
