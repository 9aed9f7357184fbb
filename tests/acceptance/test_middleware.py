"""Request middlewares, black-box through the command line: what is found, denied, taken out, and
what happens where a stage does not answer. Cases 97 and 98, and the table's errors.
"""

import itertools
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from acceptance.steps import INSIDE_PYTHON
from world import Sandbox, World
from world.internet import Site

pytestmark = pytest.mark.root

KEY = "AKIAIOSFODNN7EXAMPLE"
CARD = "4111 1111 1111 1111"
_numbers = itertools.count(1)
HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "middleware" / "block_words.py"


def policy(stages: dict[str, Any], endpoints: list[dict[str, Any]] | None = None) -> str:
    """A policy for api.test, with these middlewares."""
    for order, stage in enumerate(stages.values()):
        stage.setdefault("order", order)
        stage.setdefault("endpoints", {"include": ["api.test", "inference.local"]})
    default = {"host": "api.test", "port": 443, "protocol": "rest", "access": "full"}
    entry = {"endpoints": endpoints or [default], "binaries": [{"path": "/**"}]}
    return yaml.safe_dump(
        {"version": 1, "network_policies": {"api": entry}, "network_middlewares": stages},
        sort_keys=False,
    )


def program(do: str, **more: Any) -> dict[str, Any]:
    return {"middleware": "test/stage", "config": {"do": do}, **more}


@pytest.fixture(scope="module")
def own() -> Iterator[World]:
    """A world whose daemon knows an operator's middlewares."""
    with World() as made:
        script = made.directory / "stage_program.py"
        shutil.copy(HERE / "stage_program.py", script)
        words = made.directory / "block_words.py"
        shutil.copy(EXAMPLE, words)
        script.chmod(0o755)
        words.chmod(0o755)
        made.daemon(
            middleware_programs={
                "test/stage": [INSIDE_PYTHON, "-I", str(script)],
                "test/gone": "/bin/false",
                "example/block-words": str(words),
            },
            middleware_timeout_s=0.5,
        )
        yield made


@pytest.fixture(scope="module")
def server(own: World) -> Site:
    return own.internet.https("api.test")


@pytest.fixture
def site(server: Site) -> Site:
    server.forget()
    return server


@pytest.fixture
def box(own: World, site: Site) -> Iterator[Sandbox]:
    made = own.sandbox(f"scanned{next(_numbers)}", policy({}))
    yield made
    made.delete()


def put(own: World, box: Sandbox, text: str) -> Any:
    path = own.directory / "policy.yaml"
    path.write_text(text)
    done = own.netmgr("policy", "set", box.name, str(path), "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reject(own: World, box: Sandbox, text: str, *names: str) -> None:
    path = own.directory / "policy.yaml"
    path.write_text(text)
    done = own.netmgr("policy", "set", box.name, str(path))
    assert done.returncode == 2, done.stdout
    for name in names:
        assert name in done.stderr, done.stderr


def send(box: Sandbox, body: str, *extra: str, path: str = "/") -> tuple[int, Any]:
    words = ["--max-time", "20", "-w", "\n%{http_code}", f"https://api.test{path}"]
    if body:
        words += ["--data-binary", "@-", "-H", "content-type: application/json"]
    done = box.run("curl", "-sS", *words, *extra, stdin=body)
    assert done.returncode == 0, done.stderr
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text) if text else None


def test_a_secret_in_a_body_is_denied_and_never_recorded(
    own: World, box: Sandbox, site: Site
) -> None:
    put(own, box, policy({"dlp": {"middleware": "netmgr/secrets"}}))
    status, answer = send(box, json.dumps({"a": "nothing"}))
    assert status == 200
    site.forget()
    status, answer = send(box, json.dumps({"text": f"my key is {KEY}"}))
    assert status == 403
    assert answer["error"]["code"] == "middleware_denied"
    assert answer["error"]["middleware"] == "dlp"
    assert answer["error"]["reason_code"] == "secret_found"
    status, answer = send(box, "", path=f"/?q={KEY}")
    assert (status, answer["error"]["code"]) == (403, "middleware_denied")
    found = box.wait_record(lambda r: r["kind"] == "finding" and r["verdict"] == "denied")
    assert found["reason"] == "middleware_denied"
    assert found["middleware"]["findings"][0]["label"] == "aws_key"
    denied = box.wait_record(lambda r: r["kind"] == "http" and r["reason"] == "middleware_denied")
    assert denied["middleware"]["metadata"]["dlp.found"] == "aws_key"
    assert KEY.encode() not in site.received
    assert KEY not in json.dumps([r for r in box.records() if "?" not in str(r)])


def test_what_is_taken_out_leaves_the_rest_as_it_was(own: World, box: Sandbox) -> None:
    put(own, box, policy({"redact": {"middleware": "netmgr/redact"}}))
    body = '{"a":  "card CARD",\n "b": [1.50, "me@mail.example"], "n": 4111111111111111}'
    body = body.replace("CARD", CARD)
    status, answer = send(box, body)
    assert status == 200
    wanted = body.replace(CARD, "[card removed]").replace("me@mail.example", "[email removed]")
    assert answer["body"] == wanted.replace("4111111111111111", '"[card removed]"')
    plain = "nothing of note, byte for byte \x00\x01 " * 100
    status, answer = send(box, plain, "-H", "transfer-encoding: chunked")
    assert status == 200
    assert answer["body"] == plain


@pytest.mark.parametrize("do", ["die", "junk", "slow", "wrong"])
def test_case_97_a_stage_that_fails(own: World, box: Sandbox, do: str) -> None:
    audited = [
        {"host": "api.test", "port": 443, "protocol": "rest", "access": "read-only",
         "enforcement": "audit"}
    ]  # fmt: skip
    put(own, box, policy({"own": program(do)}, audited))
    wait_for_program(own)
    status, answer = send(box, "{}")
    assert status == 403
    assert answer["error"]["code"] == "middleware_failed"
    assert answer["error"]["middleware"] == "own"
    wait_for_program(own)
    put(own, box, policy({"own": program(do, on_error="fail_open")}, audited))
    status, answer = send(box, "{}")
    assert status == 200
    bypass = box.wait_record(lambda r: r["kind"] == "finding")
    assert bypass["reason"] == "middleware_failed"
    assert bypass["middleware"]["stages"][0]["status"] == "bypassed"
    wait_for_program(own)


def wait_for_program(own: World) -> None:
    """The one that has ended is started again."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        status = json.loads(own.netmgr("status", "-o", "json").stdout)
        if all(m["pid"] for m in status["middlewares"] if m["name"] == "test/stage"):
            return
        time.sleep(0.1)
    raise AssertionError("the program was not started again")


def test_case_97_a_program_that_never_runs(own: World, box: Sandbox) -> None:
    put(own, box, policy({"own": {"middleware": "test/gone"}}))
    status, answer = send(box, "{}")
    assert (status, answer["error"]["code"]) == (403, "middleware_failed")


def test_case_98_what_a_stage_makes_is_judged_again(own: World, box: Sandbox, site: Site) -> None:
    endpoint = {
        "host": "api.test", "port": 443, "protocol": "json-rpc",
        "rules": [{"allow": {"method": "tools/list"}}],
    }  # fmt: skip
    put(own, box, policy({"own": program("replace")}, [endpoint]))
    call = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
    site.forget()
    status, answer = send(box, call)
    assert status == 403, answer
    assert answer["error"]["code"] == "operation_not_allowed"
    assert b"tools/" not in site.received


def test_a_stage_changes_bodies_and_header_fields(own: World, box: Sandbox) -> None:
    put(own, box, policy({"body": program("replace"), "head": program("header")}))
    status, answer = send(
        box, '"innocent"', "-H", "x-trace: 1", "-H", "authorization: Bearer mine",
        "-H", "x-openshell-middleware-seen: forged",
    )  # fmt: skip
    assert status == 200
    assert answer["body"] == '"replaced"'
    headers = dict(answer["headers"])
    assert headers["x-openshell-middleware-seen"] == "yes"
    assert "x-trace" not in headers
    assert headers["authorization"] == "Bearer mine"


def test_a_program_sees_no_credential_and_is_nobody(own: World, box: Sandbox) -> None:
    put(own, box, policy({"own": program("shown")}))
    status, _ = send(box, "{}", "-H", "authorization: Bearer mine", "-H", "cookie: a=b")
    assert status == 200
    seen = box.wait_record(lambda r: r["kind"] == "http" and "middleware" in r)
    told = seen["middleware"]["metadata"]
    assert told["own.who"] == box.name
    assert told["own.uid"] == "77006"
    assert "authorization" not in told["own.names"]
    assert "cookie" not in told["own.names"]


def test_the_worked_example(own: World, box: Sandbox) -> None:
    config = {"words": ["project-nightfall"]}
    put(own, box, policy({"words": {"middleware": "example/block-words", "config": config}}))
    assert send(box, '"a walk in the park"')[0] == 200
    status, answer = send(box, '"Project-Nightfall begins"')
    assert (status, answer["error"]["reason_code"]) == (403, "word_blocked")


def test_an_endpoint_without_a_protocol_is_looked_into(own: World, box: Sandbox) -> None:
    l4 = [{"host": "api.test", "port": 443}]
    told = put(own, box, policy({"dlp": {"middleware": "netmgr/secrets"}}, l4))
    assert any("only HTTP passes" in warning for warning in told["warnings"])
    assert send(box, '"plain"')[0] == 200
    assert send(box, json.dumps(KEY))[0] == 403
    done = own.netmgr("policy", "explain", box.name, "https://api.test/x", "-o", "json")
    answer = json.loads(done.stdout)
    assert answer["middlewares"] == ["dlp"]
    assert answer["treatment"] == "terminate"


def test_what_cannot_be_looked_into_is_refused(own: World, box: Sandbox) -> None:
    dlp = {"dlp": {"middleware": "netmgr/secrets"}}
    for hidden in (
        {"tls": "skip"},
        {"protocol": "tcp"},
        {"protocol": "sql", "enforcement": "audit"},
    ):
        endpoint = [{"host": "api.test", "port": 443, **hidden}]
        reject(own, box, policy(dlp, endpoint), "network_policies.api.endpoints[0]", "'dlp'")
    wrong = {"middleware": "netmgr/secret"}
    reject(own, box, policy({"dlp": wrong}), "unknown middleware", "did you mean 'netmgr/secrets'?")
    reject(own, box, policy({"dlp": {"middleware": "test/stag"}}), "did you mean 'test/stage'?")
    braces = {"middleware": "netmgr/secrets", "endpoints": {"include": ["{a,b}.test"]}}
    reject(own, box, policy({"dlp": braces}), "alternates in braces")


def test_a_body_larger_than_stages_are_shown(own: World, box: Sandbox) -> None:
    big = "x" * (4 * 1024 * 1024 + 1)
    put(own, box, policy({"dlp": {"middleware": "netmgr/secrets"}}))
    status, answer = send(box, big)
    assert (status, answer["error"]["code"]) == (403, "middleware_failed")
    put(own, box, policy({"dlp": {"middleware": "netmgr/secrets", "on_error": "fail_open"}}))
    for framing in ((), ("-H", "transfer-encoding: chunked")):
        status, answer = send(box, big, *framing)
        assert status == 200
        assert answer["length"] == len(big)
    box.wait_record(lambda r: r["kind"] == "finding" and r["reason"] == "middleware_failed")


def scan_pid(own: World) -> int:
    (pid,) = [p for p, kind in own.netmgrd.processes().items() if kind == "scan"]
    return pid


def test_the_scan_worker_is_confined_and_comes_back(own: World, box: Sandbox) -> None:
    put(own, box, policy({"dlp": {"middleware": "netmgr/secrets"}}))
    pid = scan_pid(own)
    facts = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    assert facts["Uid"].split() == ["77005"] * 4
    assert int(facts["CapPrm"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert str(Path(f"/proc/{pid}/root").readlink()).endswith("/run/empty")
    assert pid in own.netmgrd.hub.processes()
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while (status := send(box, '"plain"')[0]) != 200:
        assert status == 403
        assert time.monotonic() < end
        time.sleep(0.2)
    assert scan_pid(own) != pid
    assert send(box, json.dumps(KEY))[0] == 403


def test_it_is_there_after_a_restart_and_stays_where_the_operator_has_his_own(
    own: World, box: Sandbox
) -> None:
    put(own, box, policy({"dlp": {"middleware": "netmgr/secrets"}}))
    own.netmgrd.stop()
    own.netmgrd.start()
    assert send(box, json.dumps(KEY))[0] == 403
    put(own, box, policy({}))
    assert "scan" in own.netmgrd.processes().values(), "nobody shall wait for a program of his"
    assert send(box, json.dumps(KEY))[0] == 200


def test_it_is_gone_when_nobody_needs_it(
    make_world: Callable[[], World],
) -> None:
    world = make_world()
    daemon = world.daemon()
    assert "scan" not in daemon.processes().values()
    scanned = policy({"dlp": {"middleware": "netmgr/secrets"}})
    box = world.sandbox("scanned", scanned)
    assert "scan" in daemon.processes().values()
    put(world, box, policy({}))
    assert "scan" not in daemon.processes().values()
