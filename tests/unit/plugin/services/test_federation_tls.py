import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from federated.errors import ProvisioningError
from plugin.services.federation_tls import (
    certificate_hosts,
    check_certificate,
    expires_at,
    host_and_port,
    make_authority,
    make_server_certificate,
    make_tls_key,
    normal_host,
)

NOW = datetime.now(UTC).replace(microsecond=0)
CA_KEY, KEY = make_tls_key(), make_tls_key()
CA = make_authority("brain-tumours", CA_KEY, now=NOW)
HOSTS = ["qfl.example", "127.0.0.1", "::1"]


def server(hosts=tuple(HOSTS), now=NOW):
    return make_server_certificate(hosts, KEY, ca_pem=CA, ca_key_pem=CA_KEY, now=now)


def handshake(tmp_path, certificate, ca, host):
    """A TLS handshake in memory, by Python's ssl."""
    for name, data in (("ca", ca), ("crt", certificate), ("key", KEY)):
        (tmp_path / name).write_bytes(data)
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca"))
    trust.verify_flags |= ssl.VERIFY_X509_STRICT
    serve = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serve.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(to_client, to_server, server_hostname=host)
    host_side = serve.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, host_side]
    for _ in range(10):
        waiting = [side for side in waiting if not has_finished(side)]
    assert not waiting
    return client.version()


def has_finished(side):
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.mark.parametrize("host", HOSTS)
def test_a_client_that_believes_the_authority_only_reaches_the_server_by_each_host(tmp_path, host):
    assert handshake(tmp_path, server(), CA, host) == "TLSv1.3"


def test_a_client_refuses_another_host_and_another_authority(tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, server(), CA, "elsewhere.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, server(), make_authority("brain-tumours", make_tls_key(), now=NOW), "qfl.example")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_openssl_agrees(tmp_path):
    (tmp_path / "ca.crt").write_bytes(CA)
    (tmp_path / "server.crt").write_bytes(server())
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "qfl.example"]
    found = subprocess.run(
        [*command, "-CAfile", tmp_path / "ca.crt", tmp_path / "server.crt"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


def test_a_certificate_says_whom_it_is_for_and_until_when():
    assert certificate_hosts(server()) == HOSTS
    assert certificate_hosts(CA) == []
    assert expires_at(server()) == NOW + timedelta(days=397)
    assert expires_at(CA) == NOW + timedelta(days=3650)


def test_a_server_certificate_ends_with_its_authority():
    late = NOW + timedelta(days=3600)
    assert expires_at(server(now=late)) == expires_at(CA)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param(NOW + timedelta(days=398), "expired on .* renew it", id="expired"),
        pytest.param(NOW - timedelta(days=1), "valid from .* clock", id="not yet valid"),
    ],
)
def test_a_certificate_out_of_its_time_is_refused(now, said):
    check_certificate(server(), "certificate", "renew it.", now=NOW)
    with pytest.raises(ProvisioningError, match=said):
        check_certificate(server(), "certificate", "renew it.", now=now)


@pytest.mark.parametrize("host", ["", "https://a.example", "a.example:443", "a b", "-a.example", "*.example", "a" * 64])
def test_a_host_is_a_name_or_an_address(host):
    with pytest.raises(ProvisioningError, match="host name or IP address"):
        server([host])


def test_a_server_has_a_host():
    with pytest.raises(ProvisioningError, match="at least one host"):
        server([])


def test_what_is_no_certificate_or_key_is_refused():
    with pytest.raises(ProvisioningError, match="certificate in PEM"):
        expires_at(b"none")
    with pytest.raises(ProvisioningError, match="private TLS key"):
        make_authority("brain-tumours", b"none", now=NOW)


def test_hosts_have_one_form():
    assert normal_host("QFL.Example") == "qfl.example"
    assert normal_host("[0:0::1]") == "::1"
    assert host_and_port("::1", 9443) == "[::1]:9443"
    assert host_and_port("qfl.example", 9443) == "qfl.example:9443"
