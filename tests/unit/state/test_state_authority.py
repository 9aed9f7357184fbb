"""Certificates: their profile, and that the verifiers of the field take them."""

import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from netmgr.errors import HostFailed
from netmgr.keys.authority import MAX_LEAVES, Authority, Leaf
from netmgr.secret import Secret

NOW = time.time()
NAME = "api.example.com"
LONG = ".".join(["a" * 60] * 4)  # no common name holds it
DAY_S = 86400.0
KEYSTORE = "-keystore trust.p12 -storepass changeit -storetype PKCS12"
TRUSTSTORE = "-Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("netmgr", "agent-7", NOW)


def certificate(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def server_context(leaf: Leaf) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(leaf.chain_pem + leaf.key_pem.reveal())
        file.flush()
        context.load_cert_chain(file.name)
    return context


@contextmanager
def tls_server(leaf: Leaf) -> Iterator[int]:
    """One TLS server on loopback that greets every client; its port."""
    context = server_context(leaf)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.settimeout(10)
            try:
                with context.wrap_socket(client, server_side=True) as tls:
                    tls.recv(1024)
                    tls.sendall(b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            except OSError:
                client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(15)


class TestProfile:
    def test_the_authority_can_sign_leaves_and_nothing_else(self, authority: Authority) -> None:
        found = certificate(authority.certificate_pem)
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = found.extensions.get_extension_for_class(x509.KeyUsage)
        assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (
            True,
            True,
            0,
        )
        assert usage.critical
        assert usage.value.key_cert_sign
        assert not usage.value.digital_signature

    @pytest.mark.parametrize("name", [NAME, LONG, "203.0.113.7"])
    def test_a_leaf_says_its_name_once(self, authority: Authority, name: str) -> None:
        leaf = certificate(authority.sign_leaf(name, NOW).chain_pem)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        (only,) = names.value
        assert only.value == (ip_address(name) if name[0] == "2" else name)
        assert names.critical is (not list(leaf.subject))
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]

    def test_key_identifiers_lead_from_leaf_to_authority(self, authority: Authority) -> None:
        leaf = certificate(authority.sign_leaf(NAME, NOW).chain_pem)
        own = certificate(authority.certificate_pem)
        issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        subject = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert issuer.key_identifier == subject.digest

    def test_a_leaf_is_backdated_and_lives_397_days_in_all(self, authority: Authority) -> None:
        leaf = authority.sign_leaf(NAME, NOW)
        found = certificate(leaf.chain_pem)
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
        assert NOW - 3601 <= begins.timestamp() <= NOW - 3600
        assert (ends - begins).days == 397
        assert leaf.expires == ends.timestamp()

    def test_a_leaf_of_the_future_is_not_used(self, authority: Authority) -> None:
        later = authority.sign_leaf(NAME, NOW + 2 * 365 * 86400)
        now = authority.sign_leaf(NAME, NOW)
        assert now.begins < NOW < later.begins
        assert authority.sign_leaf(NAME, NOW) is now

    def test_serial_numbers_differ(self, authority: Authority) -> None:
        serials = {
            certificate(authority.sign_leaf(f"h{n}.example", NOW).chain_pem).serial_number
            for n in range(20)
        }
        assert len(serials) == 20
        assert min(serials) > 2**64

    def test_sandboxes_have_authorities_of_their_own(self, authority: Authority) -> None:
        other = Authority.create("netmgr", "agent-7", NOW)
        leaf = certificate(other.sign_leaf(NAME, NOW).chain_pem)
        with pytest.raises(Exception, match=r"^$|signature"):
            leaf.verify_directly_issued_by(certificate(authority.certificate_pem))

    def test_a_long_sandbox_name_fits(self) -> None:
        Authority.create("i" * 16, "s" * 63, NOW).sign_leaf(NAME, NOW)


class TestCache:
    def test_a_name_is_signed_once(self, authority: Authority) -> None:
        assert authority.sign_leaf(NAME, NOW) is authority.sign_leaf(NAME, NOW + 1)

    def test_a_leaf_near_its_end_is_signed_anew(self) -> None:
        authority = Authority.create("netmgr", "a", NOW)
        first = authority.sign_leaf(NAME, NOW)
        later = authority.sign_leaf(NAME, NOW + 368 * DAY_S)
        assert later.expires > first.expires

    def test_a_leaf_never_outlives_its_authority(self) -> None:
        authority = Authority.create("netmgr", "a", NOW)
        ends = certificate(authority.certificate_pem).not_valid_after_utc.timestamp()
        assert authority.sign_leaf(NAME, ends - 40 * DAY_S).expires == ends

    def test_the_oldest_leaf_goes(self) -> None:
        authority = Authority.create("netmgr", "a", NOW)
        first = authority.sign_leaf("h0.example", NOW)
        for number in range(1, MAX_LEAVES + 1):
            authority.sign_leaf(f"h{number}.example", NOW)
        assert authority.sign_leaf("h0.example", NOW) is not first

    def test_threads_share_one_key_and_one_cache(self) -> None:
        authority = Authority.create("netmgr", "a", NOW)
        names = [f"h{number % 10}.example" for number in range(400)]
        with ThreadPoolExecutor(8) as threads:
            leaves = list(threads.map(lambda name: authority.sign_leaf(name, NOW), names))
        assert len({leaf.chain_pem for leaf in leaves}) == 10
        for leaf in leaves[:10]:
            server_context(leaf)  # refuses a key that is not the certificate's


class TestStored:
    def test_it_comes_back_from_what_it_gave(self, authority: Authority) -> None:
        again = Authority.load(authority.certificate_pem, authority.key_pem)
        leaf = certificate(again.sign_leaf(NAME, NOW).chain_pem)
        leaf.verify_directly_issued_by(certificate(authority.certificate_pem))

    def test_its_key_does_not_print(self, authority: Authority) -> None:
        assert "PRIVATE" not in f"{authority.key_pem} {authority.sign_leaf(NAME, NOW)!r}"

    @pytest.mark.parametrize("what", ["certificate", "key", "pair"])
    def test_what_is_damaged_is_refused(self, authority: Authority, what: str) -> None:
        pem, key = authority.certificate_pem, authority.key_pem
        if what == "certificate":
            pem = pem.replace("MII", "MIX", 1)
        elif what == "key":
            key = Secret("-----BEGIN PRIVATE KEY-----\n")
        else:
            key = Authority.create("netmgr", "b", NOW).key_pem
        with pytest.raises(HostFailed, match="certificate authority"):
            Authority.load(pem, key)


class TestVerifiers:
    """Each program verifies as it comes, told nothing but the authority."""

    @pytest.fixture
    def files(self, authority: Authority, tmp_path: Path) -> Path:
        (tmp_path / "ca.pem").write_text(authority.certificate_pem)
        for number, name in enumerate((NAME, LONG, "127.0.0.1")):
            (tmp_path / f"leaf{number}.pem").write_text(authority.sign_leaf(name, NOW).chain_pem)
        return tmp_path

    @pytest.mark.parametrize(
        ("leaf", "who"),
        [
            ("leaf0.pem", ["-verify_hostname", NAME]),
            ("leaf1.pem", ["-verify_hostname", LONG]),
            ("leaf2.pem", ["-verify_ip", "127.0.0.1"]),
        ],
    )
    def test_openssl_strict(self, files: Path, leaf: str, who: list[str]) -> None:
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *who]
        done = subprocess.run(
            [*command, "-CAfile", "ca.pem", leaf],
            cwd=files,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize("name", [NAME, LONG, "127.0.0.1"])
    def test_python_strict(self, authority: Authority, name: str) -> None:
        context = ssl.create_default_context(cadata=authority.certificate_pem)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        with (
            tls_server(authority.sign_leaf(name, NOW)) as port,
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as client,
        ):
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(4) == b"HTTP"

    def test_python_refuses_another_name(self, authority: Authority) -> None:
        context = ssl.create_default_context(cadata=authority.certificate_pem)
        with (
            tls_server(authority.sign_leaf(NAME, NOW)) as port,
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"),
        ):
            context.wrap_socket(plain, server_hostname="other.example")

    @pytest.mark.skipif(shutil.which("go") is None, reason="needs go")
    def test_go(self, files: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        (files / "verify.go").write_text(GO)
        cache = Path(tempfile.gettempdir()) / "netmgr-test-go-cache"
        done = subprocess.run(
            ["go", "run", "verify.go"],
            cwd=files,
            env={
                "PATH": "/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin",
                "HOME": str(files),
                "GOCACHE": str(cache),
                "GOFLAGS": "-mod=mod",
                "GOTOOLCHAIN": "local",
                "GOPROXY": "off",
            },
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @pytest.mark.skipif(shutil.which("keytool") is None, reason="needs a JDK")
    def test_java(self, authority: Authority, files: Path) -> None:
        imported = subprocess.run(
            f"keytool -importcert -noprompt -alias ca -file ca.pem {KEYSTORE}".split(),
            cwd=files,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert imported.returncode == 0, imported.stdout
        (files / "Verify.java").write_text(JAVA)
        with tls_server(authority.sign_leaf("localhost", NOW)) as port:
            done = subprocess.run(
                f"java {TRUSTSTORE} Verify.java {port}".split(),
                cwd=files,
                capture_output=True,
                text=True,
                timeout=110,
                check=False,
            )
        assert done.returncode == 0, done.stderr


GO = f"""
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
)

func main() {{
	ca, _ := os.ReadFile("ca.pem")
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {{
		fmt.Fprintln(os.Stderr, "authority not taken")
		os.Exit(1)
	}}
	for file, name := range map[string]string{{
		"leaf0.pem": "{NAME}", "leaf1.pem": "{LONG}", "leaf2.pem": "127.0.0.1",
	}} {{
		data, _ := os.ReadFile(file)
		block, _ := pem.Decode(data)
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err == nil {{
			_, err = leaf.Verify(x509.VerifyOptions{{DNSName: name, Roots: roots}})
		}}
		if err != nil {{
			fmt.Fprintln(os.Stderr, file, err)
			os.Exit(1)
		}}
	}}
}}
"""

JAVA = """
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class Verify {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest request =
            HttpRequest.newBuilder(URI.create("https://localhost:" + args[0] + "/")).build();
        String body = client.send(request, HttpResponse.BodyHandlers.ofString()).body();
        if (!body.equals("hello")) System.exit(1);
    }
}
"""
