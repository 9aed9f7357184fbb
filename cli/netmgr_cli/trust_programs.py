"""Owns: which programs `trust doctor` knows: how each is asked to open a TLS connection, how its
answer is read, and what would make it trust. A table and pure functions; nothing runs here.

Each program is asked the way its users use it, so that its own list of authorities decides. What
the answer's status is does not matter: whoever got one has trusted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from netmgr.keys.injection import JAVA_VARIABLE
from netmgr.model import INFERENCE_NAME
from netmgr_cli.trust_java import JAVA_PROBE

HOST: Final = INFERENCE_NAME
URL: Final = f"https://{HOST}/v1/models"
MARK: Final = "netmgr-trusted"  # what a script of ours prints when it got an answer
ABSENT: Final = "netmgr-absent"  # what it prints where the library is not there
TEMPORARY: Final = "{temporary}"  # stands for a directory that may be written, in words
DATABASE: Final = "{database}"  # stands for the NSS database
WAIT_S: Final = 10  # for a program's own time-out, where it has one
MAX_DETAIL: Final = 200  # characters of a program's complaint


class Verdict(StrEnum):
    """What a program did."""

    TRUSTS = "trusts"
    DISTRUSTS = "does_not_trust"
    UNCHECKED = "does_not_check"  # it takes any certificate
    UNCLEAR = "unclear"  # it failed in another way
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Program:
    """One program, and one way of its to make connections.

    Attributes:
        name: as the table shows it.
        commands: any of these is it.
        words: its arguments.
        variables: what would make it trust, of the sandbox's environment.
        good: exit statuses of one that got an answer, or none: then MARK, or `shows`, says so.
        shows: what only one that got an answer says.
        script: a file to write into TEMPORARY before, and its content.
        env: further variables; TEMPORARY is replaced in them.
    """

    name: str
    commands: tuple[str, ...]
    words: tuple[str, ...]
    variables: tuple[str, ...] = ()
    good: tuple[int, ...] = ()
    shows: str = MARK
    script: tuple[str, bytes] | None = None
    env: Mapping[str, str] | None = None

    @property
    def needs_directory(self) -> bool:
        """Whether it cannot be asked where nothing may be written."""
        return self.script is not None or self.env is not None


_PYTHON: Final = (
    f"import ssl, socket\n"
    f"c = socket.create_connection(({HOST!r}, 443), {WAIT_S})\n"
    f"context.wrap_socket(c, server_hostname={HOST!r}).close()\n"
    f"print({MARK!r})\n"
)
_PYTHON_SSL: Final = "import ssl\ncontext = ssl.create_default_context()\n" + _PYTHON
_PYTHON_CERTIFI: Final = (
    f"try:\n import certifi\nexcept ImportError:\n raise SystemExit({ABSENT!r})\n"
    "import ssl\nprint(certifi.where())\n"
    "context = ssl.create_default_context(cafile=certifi.where())\n" + _PYTHON
)
_PYTHON_REQUESTS: Final = (
    f"try:\n import requests\nexcept ImportError:\n raise SystemExit({ABSENT!r})\n"
    f"requests.get({URL!r}, timeout={WAIT_S})\nprint({MARK!r})\n"
)
_NODE: Final = (
    f"require('https').get('{URL}',()=>{{console.log('{MARK}');process.exit(0)}})"
    f".on('error',e=>{{console.error(e.code,e.message);process.exit(1)}})"
)
_DENO: Final = f"const r=await fetch('{URL}');await r.body?.cancel();console.log('{MARK}')"
_RUBY: Final = f"require 'net/http';Net::HTTP.get_response(URI('{URL}'));puts '{MARK}'"
_PERL: Final = (
    "eval{require IO::Socket::SSL;1} or do{print STDERR '" + ABSENT + "';exit 1};"
    f"IO::Socket::SSL->new(PeerHost=>'{HOST}',PeerPort=>443,Timeout=>{WAIT_S})"
    f" or die $IO::Socket::SSL::SSL_ERROR;print '{MARK}'"
)
_PHP: Final = (
    f"$c=stream_socket_client('ssl://{HOST}:443',$n,$e,{WAIT_S});if(!$c)exit(1);echo '{MARK}';"
)
_REQUEST: Final = f"GET /v1/models HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode()
_GO_ENV: Final = {
    "GOPROXY": f"https://{HOST}",
    "GOFLAGS": "-mod=mod -modcacherw",  # else what it fetched could not be removed
    "GONOSUMDB": "*",
    "GOTOOLCHAIN": "local",
    "GOPATH": f"{TEMPORARY}/go",
    "GOCACHE": f"{TEMPORARY}/go-cache",
    "HOME": TEMPORARY,
}
_CARGO_ENV: Final = {"CARGO_HOME": f"{TEMPORARY}/cargo", "CARGO_NET_RETRY": "0"}
# Who reads an NSS database: where there is none of them, a missing one is nothing amiss.
NSS_READERS: Final = ("chromium", "chromium-browser", "google-chrome", "firefox", "firefox-esr")
# Errors of an answer that was read: the connection was trusted.
_HTTP_ANSWER: Final = r"returned error: \d{3}|not found|status code \d{3}|\b[45]\d\d\b|not valid"

PROGRAMS: Final = (
    Program(
        "curl",
        ("curl",),
        ("-sS", "-o", "/dev/null", "-m", str(WAIT_S), URL),
        ("CURL_CA_BUNDLE", "SSL_CERT_FILE"),
        good=(0,),
    ),
    Program(
        "wget",
        ("wget",),
        ("-q", "-O", "/dev/null", "-T", str(WAIT_S), URL),
        ("SSL_CERT_FILE",),
        good=(0, 8),  # 8: "server issued an error response", wget(1)
        shows=r"HTTP/1\.\d [45]\d\d|server returned error",  # busybox has one status for all
    ),
    Program(
        "git",
        ("git",),
        ("-c", "credential.helper=", "ls-remote", f"https://{HOST}/probe.git"),
        ("GIT_SSL_CAINFO",),
        good=(0,),
        shows=_HTTP_ANSWER,
        env={"GIT_TERMINAL_PROMPT": "0", "HOME": TEMPORARY},
    ),
    Program(
        "openssl",
        ("openssl",),
        ("s_client", "-brief", "-verify_return_error", "-connect", f"{HOST}:443",
         "-servername", HOST),
        ("SSL_CERT_FILE",),
        shows=r"Verification: OK",
    ),
    Program("python ssl", ("python3", "python"), ("-c", _PYTHON_SSL), ("SSL_CERT_FILE",)),
    Program(
        "python requests", ("python3", "python"), ("-c", _PYTHON_REQUESTS), ("REQUESTS_CA_BUNDLE",)
    ),
    Program("python certifi", ("python3", "python"), ("-c", _PYTHON_CERTIFI)),
    Program("node", ("node", "nodejs"), ("-e", _NODE), ("NODE_EXTRA_CA_CERTS",)),
    Program(
        "deno", ("deno",), ("eval", _DENO), ("DENO_CERT",), env={"DENO_DIR": f"{TEMPORARY}/deno"}
    ),
    Program(
        "go",
        ("go", "/usr/local/go/bin/go"),
        ("list", "-m", "netmgr.invalid/probe@v1.0.0"),
        ("SSL_CERT_FILE",),
        shows=_HTTP_ANSWER,
        env=_GO_ENV,
    ),
    Program(
        "cargo",
        ("cargo",),
        ("search", "probe", "--index", f"sparse+https://{HOST}/"),
        ("CARGO_HTTP_CAINFO",),
        shows=r"failed to fetch|got \d{3}|response code|\b[45]\d\d\b",
        env=_CARGO_ENV,
    ),
    Program(
        "java",
        ("java",),
        ("-cp", TEMPORARY, "Probe"),
        (JAVA_VARIABLE,),
        script=("Probe.class", JAVA_PROBE),
    ),
    Program("ruby", ("ruby",), ("-e", _RUBY), ("SSL_CERT_FILE",)),
    Program("perl", ("perl",), ("-e", _PERL), ("SSL_CERT_FILE", "PERL_LWP_SSL_CA_FILE")),
    Program("php", ("php",), ("-r", _PHP), ("SSL_CERT_FILE",)),
    Program(
        "nss",
        ("tstclnt",),
        ("-h", HOST, "-p", "443", "-d", f"sql:{DATABASE}", "-V", "tls1.2:",
         "-A", f"{TEMPORARY}/request"),
        shows=f"subject DN: CN={HOST}",  # said after the verification
        script=("request", _REQUEST),
    ),
)  # fmt: skip

_DISTRUST: Final = re.compile(
    r"certificate.verif|verif\w+ (failed|error)|unable to get local issuer|self.signed certificate"
    r"|unknown authority|UnknownIssuer|UNABLE_TO_VERIFY|SELF_SIGNED_CERT|PKIX path"
    r"|UNKNOWN_ISSUER|issuer is not recognized|unknown CA|not trusted|known issuer"
    r"|SSL certificate problem|CERTIFICATE_VERIFY_FAILED|trustAnchors",
    re.IGNORECASE,
)
_NO_CHECK: Final = re.compile(r"certificate validation not implemented", re.IGNORECASE)


def judge(program: Program, status: int | None, output: str) -> tuple[Verdict, str]:
    """What a program's run says, and the line of its output that says so.

    Args:
        status: exit status; None where it was still running at the deadline.
    """
    if ABSENT in output:
        return Verdict.ABSENT, ""
    if _NO_CHECK.search(output):
        return Verdict.UNCHECKED, "it checks no certificate at all"
    if found := _DISTRUST.search(output):
        return Verdict.DISTRUSTS, _line_of(output, found.start())
    if status in program.good or re.search(program.shows, output):
        return Verdict.TRUSTS, ""
    if status is None:
        return Verdict.UNCLEAR, "it did not end in time"
    last = output.strip().rpartition("\n")[2]
    return Verdict.UNCLEAR, (last or f"exit status {status}")[:MAX_DETAIL]


def _line_of(text: str, place: int) -> str:
    start = text.rfind("\n", 0, place) + 1
    return text[start:].partition("\n")[0].strip()[:MAX_DETAIL]


def remedy(program: Program, sandbox: Mapping[str, Any], output: str) -> list[str]:
    """What would make it trust: variables to set, files to mount; empty where nobody knows.

    Args:
        sandbox: the API's sandbox object.
    """
    files, name = sandbox["files"], sandbox["name"]
    if program.name == "java" and files["java_truststore"] is None:
        return [f"netmgr trust stores {name} java"]
    if program.name == "nss":
        if files["nss_database"] is None:
            return [f"netmgr trust stores {name} nss"]
        return [f"copy {files['nss_database']} to $HOME/.pki/nssdb, writable"]
    if program.name == "python certifi":
        place = output.partition("\n")[0]
        return [f"mount {files['ca_bundle']} over {place}"] if place.startswith("/") else []
    env = sandbox["env"]
    return [f"{key}={env[key]}" for key in program.variables[:1] if key in env]
