"""What programs say when they trust and when they do not, and what the doctor makes of it."""

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr_cli import render, trust_doctor, trust_java
from netmgr_cli.container import inner_id
from netmgr_cli.trust import _examination
from netmgr_cli.trust_probe import MAX_OUTPUT, Databases, choose_database, find, run
from netmgr_cli.trust_programs import ABSENT, HOST, MARK, PROGRAMS, Program, Verdict, judge, remedy

BY_NAME = {program.name: program for program in PROGRAMS}
BOX: dict[str, Any] = {
    "name": "demo",
    "attached": False,
    "netns": "/run/netns/x",
    "files": {"ca_bundle": "/r/b.pem", "java_truststore": None, "nss_database": None},
    "env": {"CURL_CA_BUNDLE": "/r/b.pem", "NODE_EXTRA_CA_CERTS": "/r/ca.pem"},
}

# As the real programs said it.
SAID = [
    ("curl", 0, "", Verdict.TRUSTS),
    ("curl", 60, "curl: (60) SSL certificate problem: unable to get local issuer certificate",
     Verdict.DISTRUSTS),
    ("curl", 28, "curl: (28) Connection timed out after 10001 milliseconds", Verdict.UNCLEAR),
    ("wget", 8, "", Verdict.TRUSTS),
    ("wget", 5, "", Verdict.UNCLEAR),
    ("wget", 1, "wget: note: TLS certificate validation not implemented", Verdict.UNCHECKED),
    ("wget", 1, "wget: server returned error: HTTP/1.1 403 Forbidden", Verdict.TRUSTS),
    ("git", 128, "fatal: unable to access 'https://x/': The requested URL returned error: 403",
     Verdict.TRUSTS),
    ("git", 128, "fatal: unable to access 'https://x/': server certificate verification failed. "
     "CAfile: none CRLfile: none", Verdict.DISTRUSTS),
    ("openssl", 0, "Verification: OK", Verdict.TRUSTS),
    ("openssl", 1, "verify error:num=20:unable to get local issuer certificate", Verdict.DISTRUSTS),
    ("python ssl", 0, MARK, Verdict.TRUSTS),
    ("python ssl", 1, "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED]",
     Verdict.DISTRUSTS),
    ("python requests", 1, ABSENT, Verdict.ABSENT),
    ("node", 1, "UNABLE_TO_VERIFY_LEAF_SIGNATURE unable to verify", Verdict.DISTRUSTS),
    ("go", 1, "reading https://inference.local/x: 403 Forbidden", Verdict.TRUSTS),
    ("go", 1, "tls: failed to verify certificate: x509: certificate signed by unknown authority",
     Verdict.DISTRUSTS),
    ("java", 1, "javax.net.ssl.SSLHandshakeException: PKIX path building failed: x",
     Verdict.DISTRUSTS),
    ("nss", 0, "subject DN: CN=inference.local,O=netmgr", Verdict.TRUSTS),
    ("nss", 254, "authentication of server cert failed: SEC_ERROR_UNKNOWN_ISSUER: Peer's "
     "Certificate issuer is not recognized.", Verdict.DISTRUSTS),
    ("curl", None, "", Verdict.UNCLEAR),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status", "output", "verdict"), SAID)
def test_what_they_say_is_understood(
    name: str, status: int | None, output: str, verdict: Verdict
) -> None:
    found, detail = judge(BY_NAME[name], status, output)
    assert found is verdict
    assert bool(detail) == (verdict in (Verdict.DISTRUSTS, Verdict.UNCLEAR, Verdict.UNCHECKED))


@given(st.sampled_from(PROGRAMS), st.none() | st.integers(0, 255), st.text())
def test_whatever_they_say_is_a_verdict_of_bounded_length(
    program: Program, status: int | None, output: str
) -> None:
    verdict, detail = judge(program, status, output)
    assert isinstance(verdict, Verdict)
    assert len(detail) <= 200
    assert "\n" not in detail


@pytest.mark.parametrize(
    ("name", "output", "advice"),
    [
        ("curl", "", ["CURL_CA_BUNDLE=/r/b.pem"]),
        ("node", "", ["NODE_EXTRA_CA_CERTS=/r/ca.pem"]),
        ("java", "", ["netmgr trust stores demo java"]),
        ("nss", "", ["netmgr trust stores demo nss"]),
        ("python certifi", "/v/certifi/cacert.pem\nTraceback", ["mount /r/b.pem over "
                                                                "/v/certifi/cacert.pem"]),
        ("python certifi", "Traceback", []),
    ],
)  # fmt: skip
def test_what_would_help_is_said(name: str, output: str, advice: list[str]) -> None:
    assert remedy(BY_NAME[name], BOX, output) == advice


def test_the_table_says_who_trusts_and_what_to_set() -> None:
    bad = {"name": "node", "path": "/n", "verdict": "does_not_trust", "detail": "\x1b[1mno",
           "remedy": ["NODE_EXTRA_CA_CERTS=/r/ca.pem"]}  # fmt: skip
    good = {"name": "curl", "path": "/c", "verdict": "trusts", "detail": "", "remedy": []}
    programs = [{**item, "where": "a container"} for item in (good, bad)]
    title, grid, text = _examination({"where": "a container", "programs": programs})
    assert title == render.Title("In a container")
    assert isinstance(grid, render.Grid)
    assert grid.rows == (("curl", "yes", "/c"), ("node", "NO", "/n"))
    assert text == render.Text("node: \\x1b[1mno\n  set: NODE_EXTRA_CA_CERTS=/r/ca.pem")


def test_every_program_has_a_name_of_its_own() -> None:
    assert len(BY_NAME) == len(PROGRAMS)


@pytest.mark.parametrize(("outer", "inner"), [(1000, 0), (100000, 1), (165535, 65536)])
def test_ids_are_called_as_inside(outer: int, inner: int) -> None:
    assert inner_id(outer, ((0, 1000, 1), (1, 100000, 65536))) == inner


def test_an_id_that_has_no_name_inside() -> None:
    with pytest.raises(StopIteration):
        inner_id(7, ((0, 1000, 1),))


def test_a_program_that_never_ends_and_never_stops_talking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("netmgr_cli.trust_probe.PROGRAM_S", 0.5)
    status, output = run(["sh", "-c", "yes & yes"], {"PATH": os.defpath})
    assert (status, len(output)) == (None, MAX_OUTPUT)


def test_a_program_that_cannot_be_executed(tmp_path: Path) -> None:
    path = tmp_path / "curl"
    path.write_text("no program")
    path.chmod(0o755)
    assert find(BY_NAME["curl"], {"PATH": str(tmp_path)}) == str(path)
    assert run([str(path)], {})[0] == 127


def test_lines_that_are_none_are_left_out() -> None:
    told = b'{"name": "curl", "path": "/c", "status": 0, "output": ""}\n[1]\n{"name": "x"}\n{"na'
    assert [answer["name"] for answer in trust_doctor._answers(told)] == ["curl"]


def test_a_child_that_fails_silently_is_told() -> None:
    with pytest.raises(trust_doctor.HostFailed, match="status 3"):
        trust_doctor._output_of(lambda: 3)
    assert trust_doctor._output_of(lambda: os.write(1, b"x")) == b"x"


def test_javas_class_is_its_source(tmp_path: Path) -> None:
    """What stands above the class, compiled anew, does the same; without a compiler, too."""
    source = textwrap.dedent(
        str(trust_java.__doc__).partition("javac --release 8 -g:none` of\n")[2]
    )
    (tmp_path / "Probe.java").write_text(source.partition("\nwhose host")[0])
    words = ["javac", "--release", "8", "-g:none", "-d", str(tmp_path / "new"), "Probe.java"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "Probe.class").write_bytes(trust_java.JAVA_PROBE)
    for text in (HOST, MARK):
        assert text.encode() in trust_java.JAVA_PROBE
    said = []
    for place in (tmp_path, tmp_path / "new"):
        ask = ["java", "--limit-modules", "java.base", "-cp", str(place), "Probe"]
        said.append(subprocess.run(ask, capture_output=True, text=True, check=False).stderr)
    assert "UnknownHostException: inference.local" in said[0]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("made", "browsers", "found", "says"),
    [
        (("home", "own"), [], "home", ""),
        (("own",), [], "own", ""),
        ((), [], None, ABSENT),
        (("own",), ["chromium"], None, "no database, unknown CA"),  # where no browser looks
        (("home", "own"), ["chromium"], "home", ""),
    ],
)
def test_which_database_is_asked(
    tmp_path: Path, made: tuple[str, ...], browsers: list[str], found: str | None, says: str
) -> None:
    for name in made:
        (tmp_path / name).mkdir()
        (tmp_path / name / "cert9.db").touch()
    databases = Databases((str(tmp_path / "home"),), (str(tmp_path / "own"),))
    place, said = choose_database(databases, browsers)
    assert place == (None if found is None else str(tmp_path / found))
    assert said.endswith(says)


def test_a_database_that_cannot_be_written_is_none_to_a_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cert9.db").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anything
    databases = Databases((str(tmp_path),), ())
    assert choose_database(databases, []) == (str(tmp_path), "")
    place, said = choose_database(databases, ["chromium"])
    assert (place, "cannot be written" in said) == (None, True)
