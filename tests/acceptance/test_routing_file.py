"""The routing file from the command line: set, shown, judged, taken back, and what it leads to."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from acceptance.stage import POLICIES
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

URL = "https://inference.local/v1/chat/completions"
FILE = """\
version: 1
sensitivity: {{order: [public, secret], unlabelled: public, unscanned: secret}}
endpoints:
  near:
    provider: near
    model: near-1
    facts: {{residency: [eu], operated_by: self, clearance: secret, price: {{in: 1, out: 1}}}}
  far:
    provider: far
    model: far-1
    facts: {{residency: [us], operated_by: third_party, price: {{in: 5, out: 9}}}}
rules:
  - id: eu-stays
    when: {{tenant: {{in: [{tenants}]}}}}
    require: {{residency: {{within: [eu]}}}}
prefer:
  - by: [{{provider: far}}, price_out]
tests:
  - name: a tenant of ours stays near
    given: {{tenant: acme-eu}}
    expect: {{order: [near], rejected: {{far: eu-stays}}}}
"""


SEARCH = {"tools": [{"type": "web_search"}]}


def call(box: Sandbox, **more: object) -> tuple[str, str]:
    """(the status line, the id of the request) of one model call, once it is on record."""
    messages = [{"role": "user", "content": "hi"}]
    body = json.dumps({"model": "any", "messages": messages} | more)
    words = ("curl", "-sS", "-i", "--max-time", "20", URL, "-d", body)
    done = box.run(*words, "-H", "content-type: application/json")
    assert done.returncode == 0, done.stderr
    head = str(done.stdout).partition("\n\n")[0].splitlines()
    ids = [line.partition(": ")[2] for line in head if "request-id:" in line]
    if not ids:
        return head[0], ""
    box.wait_record(lambda r: r["kind"] == "inference" and r["inference"]["request_id"] == ids[0])
    return head[0], ids[0]


@pytest.fixture(scope="module")
def models(world: World) -> Iterator[dict[str, Model]]:
    """Two providers that answer as they should."""
    made = {}
    for name in ("near", "far"):
        made[name] = model = world.internet.model(f"{name}.route.test")
        world.provider(name, model.base_url)
    yield made
    for name in made:
        world.do("provider", "delete", name, "--force")


@pytest.fixture
def routed(world: World, models: dict[str, Model], tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Sets a file; it is gone afterwards."""

    def put(*words: str, tenants: str = "acme-eu", status: int = 0) -> str:
        path = tmp_path / "routing.yaml"
        path.write_text(FILE.format(tenants=tenants))
        return world.do("route", "set", str(path), *words, status=status)

    for model in models.values():
        model.forget()
    yield put
    world.do("route", "delete")


def test_explain_says_what_happens(
    world: World, routed: Callable[..., str], make_sandbox: Callable[..., Sandbox]
) -> None:
    routed()
    box = make_sandbox(POLICIES["nothing"], tenant="acme-eu")
    told = world.show("route", "explain", "--sandbox", box.name)
    assert [each["rule"] for each in told["candidates"]] == [None, "eu-stays"]
    assert told["label"] == "public"
    world.do("route", "explain", "--sandbox", box.name, "--need", "vision", status=6)
    near = world.do("route", "explain", "--stage", "scan=failed", status=2)
    assert "not in the file" in near


def test_revisions_and_their_errors(
    world: World, routed: Callable[..., str], tmp_path: Path
) -> None:
    assert "no routing file" in world.do("route", "get", status=3)
    routed()
    first = world.show("route", "get")["revision"]
    refused = routed("--accept-widening", "--if-revision", "99999", status=4)
    assert f"routing revision {first} is in force" in refused
    wider = routed(tenants="somebody", status=2)  # its own test fails
    assert "test 'a tenant of ours stays near'" in wider
    routed(tenants="acme-eu, helvetia")
    second = world.show("route", "get")["revision"]
    assert second == first + 1
    # Back to fewer tenants: what helvetia may not now, it could again.
    assert "--accept-widening" in world.do("route", "rollback", str(first), status=4)
    world.do("route", "rollback", str(first), "--accept-widening")
    states = [each["state"] for each in world.show("route", "history")["revisions"]]
    assert states[:3] == ["live", "kept", "kept"]
    broken = tmp_path / "broken.yaml"
    broken.write_text(FILE.format(tenants="acme-eu").replace("provider: far", "provider: fra"))
    message = world.do("route", "set", str(broken), status=2)
    assert "broken.yaml:" in message
    assert "did you mean 'far'?" in message
    assert world.show("route", "get")["revision"] == second + 1
    assert "endpoint near" in world.do("provider", "delete", "near", status=4)


def test_what_cannot_be_compared_counts_as_wider(
    world: World, routed: Callable[..., str], tmp_path: Path
) -> None:
    routed()
    rules = "".join(
        f"  - {{id: r{n}, when: {{tenant: t{n}, workload: {{k{n % 4}: v{n}}}}}, "
        "require: {operated_by: self}}\n"
        for n in range(60)
    )
    path = tmp_path / "many.yaml"
    path.write_text(FILE.format(tenants="acme-eu").replace("prefer:\n", f"{rules}prefer:\n"))
    refused = world.do("route", "set", str(path), status=4)
    assert "not compared: " in refused
    assert "--accept-widening" in refused
    world.do("route", "set", str(path), "--accept-widening")
    world.do("route", "set", str(path))  # the same again


def test_the_file_decides_where_a_call_goes(
    world: World,
    models: dict[str, Model],
    routed: Callable[..., str],
    make_sandbox: Callable[..., Sandbox],
) -> None:
    routed()
    ours = make_sandbox(POLICIES["nothing"], tenant="acme-eu")
    other = make_sandbox(POLICIES["nothing"], tenant="globex")
    stories = {}
    for box, expected in ((ours, "near"), (other, "far")):
        status, request_id = call(box)
        assert status.startswith("HTTP/1.1 200")
        stories[expected] = world.show("route", "why", request_id)["inference"]
    for name, model in models.items():
        (request,) = model.requests
        assert json.loads(request["body"])["model"] == f"{name}-1"
        assert ["authorization", f"Bearer sk-{name}"] in [list(h) for h in request["headers"]]
    assert stories["near"]["plan"] == ["near"]
    assert stories["near"]["rejected"] == {"far": "eu-stays"}
    assert stories["far"]["plan"] == ["far", "near"]


def test_an_endpoint_says_which_tools_its_provider_may_run(
    world: World,
    models: dict[str, Model],
    routed: Callable[..., str],
    make_sandbox: Callable[..., Sandbox],
    tmp_path: Path,
) -> None:
    """In the order of the plan the first that may; where none may, the line that would allow it."""
    path, able = tmp_path / "tools.yaml", FILE.format(tenants="acme-eu")
    able = able.replace("facts: {", "facts: {capabilities: [tools], ")
    path.write_text(able)
    routed()
    world.do("route", "set", str(path), "--accept-widening")
    box = make_sandbox(POLICIES["nothing"], tenant="globex")
    assert call(box, **SEARCH)[0].startswith("HTTP/1.1 403")
    (refused,) = [r for r in box.records(kind="inference") if r["verdict"] == "denied"]
    assert refused["reason"] == "tool_not_allowed"
    assert "server_tools: [web_search] of endpoint near in the routing file" in refused["remedy"]
    assert not any(model.requests for model in models.values())
    allowed = "model: near-1\n    server_tools: [web_search]\n"
    path.write_text(able.replace("model: near-1\n", allowed))
    assert "--accept-widening" in world.do("route", "set", str(path), status=4)
    world.do("route", "set", str(path), "--accept-widening")
    status, request_id = call(box, **SEARCH)
    assert status.startswith("HTTP/1.1 200")
    assert (len(models["far"].requests), len(models["near"].requests)) == (0, 1)
    story = world.show("route", "why", request_id)["inference"]
    assert story["plan"] == ["far", "near"]
    assert [each.get("reason") for each in story["tried"]] == ["tool_not_allowed", None]
    assert call(box)[0].startswith("HTTP/1.1 200")
    assert len(models["far"].requests) == 1


def test_past_calls_are_decided_anew_by_another_file(
    world: World,
    routed: Callable[..., str],
    make_sandbox: Callable[..., Sandbox],
    tmp_path: Path,
) -> None:
    routed()
    box = make_sandbox(POLICIES["nothing"], tenant="globex")
    since = datetime.now(UTC).isoformat()  # other tests' calls in this world are none of ours
    _, request_id = call(box)
    same = tmp_path / "same.yaml"
    same.write_text(FILE.format(tenants="acme-eu"))
    told = world.show("route", "replay", "--since", since, "--with", str(same))
    assert (told["replayed"], told["changed"]) == (1, 0)
    other = tmp_path / "other.yaml"
    other.write_text(FILE.format(tenants="acme-eu, globex"))
    told = world.show("route", "replay", "--since", since, "--with", str(other))
    changed = {each["request_id"]: each for each in told["changes"]}
    assert changed[request_id]["was"] == ["far", "near"]
    assert changed[request_id]["would_be"] == ["near"]
    assert told["cost_was"] > told["cost_would_be"]


def test_a_provider_that_comes_back_is_an_endpoint_again(
    world: World, models: dict[str, Model], routed: Callable[..., str]
) -> None:
    routed()
    told = world.show("route", "explain")
    assert [each["rule"] for each in told["candidates"]] == [None, None]
    world.do("provider", "delete", "far", "--force")
    told = world.show("route", "explain")
    assert {each["endpoint"]: each["rule"] for each in told["candidates"]}["far"] == "credential"
    world.provider("far", models["far"].base_url)
    told = world.show("route", "explain")
    assert [each["rule"] for each in told["candidates"]] == [None, None]


def test_a_restart_keeps_it(
    world: World,
    models: dict[str, Model],
    routed: Callable[..., str],
    make_sandbox: Callable[..., Sandbox],
) -> None:
    routed()
    box = make_sandbox(POLICIES["nothing"], tenant="acme-eu")
    world.netmgrd.stop()
    world.netmgrd.start()
    assert call(box)[0].startswith("HTTP/1.1 200")
    assert len(models["near"].requests) == 1
    assert models["far"].requests == []


def test_a_stored_file_that_cannot_be_read_stops_every_call(
    world: World,
    models: dict[str, Model],
    routed: Callable[..., str],
    make_sandbox: Callable[..., Sandbox],
) -> None:
    """As after going back to a netmgr that knows less: nothing is asked, and it says what to do."""
    routed()
    box = make_sandbox(POLICIES["nothing"], tenant="acme-eu")
    world.netmgrd.stop()
    with closing(sqlite3.connect(world.netmgrd.state_dir / "state.db")) as store, store:
        store.execute("UPDATE routing_files SET text = text || 'later: 1' WHERE state = 'live'")
    world.netmgrd.start()
    done = box.run("curl", "-sS", "-i", "--max-time", "20", URL, "-d", '{"model": "any"}')
    assert done.stdout.startswith("HTTP/1.1 503")
    assert json.loads(done.stdout.partition("\n\n")[2])["error"]["code"] == "not_configured"
    assert [model.requests for model in models.values()] == [[], []]
    status = world.netmgr("status", "-o", "json")
    assert status.returncode == 1
    assert "later: unknown key" in json.loads(status.stdout)["routing"]["unreadable"]
    assert "later: unknown key" in world.show("route", "get")["unreadable"]
    assert "cannot be read" in world.do("route", "explain", status=4)
    assert "cannot be read" in routed(status=4)
    routed("--accept-widening")
    assert call(box)[0].startswith("HTTP/1.1 200")
    assert world.show("status")["ok"]


def test_a_file_on_trial_is_asked_and_changes_nothing(
    world: World,
    models: dict[str, Model],
    routed: Callable[..., str],
    make_sandbox: Callable[..., Sandbox],
    tmp_path: Path,
) -> None:
    trial = tmp_path / "trial.yaml"
    trial.write_text(FILE.format(tenants="acme-eu, globex") + "mode: shadow\n")
    routed()
    world.do("route", "set", str(trial))
    box = make_sandbox(POLICIES["nothing"], tenant="globex")
    status, request_id = call(box)
    assert status.startswith("HTTP/1.1 200")
    assert len(models["far"].requests) == 1
    told = world.show("route", "why", request_id)["inference"]
    assert told["plan"] == ["far", "near"]
    assert told["shadow"]["plan"] == ["near"]
    assert told["shadow"]["rejected"] == {"far": "eu-stays"}
    world.do("route", "delete", "--shadow")
    _, request_id = call(box)
    assert "shadow" not in world.show("route", "why", request_id)["inference"]


def test_an_endpoint_that_is_elsewhere_gets_no_byte(
    world: World,
    models: dict[str, Model],
    make_sandbox: Callable[..., Sandbox],
    tmp_path: Path,
) -> None:
    path = tmp_path / "routing.yaml"
    near = models["near"].address
    where = f"dial: {{away: {{cidrs: [198.51.100.0/24]}}, near: {{cidrs: [{near}/32]}}}}\n"
    # By another name: its breaker opens, and the next test's calls are to go to `far`.
    named = FILE.replace("  far:\n", "  away:\n").replace("{{far: eu", "{{away: eu")
    path.write_text(named.format(tenants="acme-eu") + where)
    for model in models.values():
        model.forget()
    world.do("route", "set", str(path))
    try:
        status, request_id = call(make_sandbox(POLICIES["nothing"], tenant="globex"))
        told = world.show("route", "why", request_id)["inference"]
    finally:
        world.do("route", "delete")
    assert status.startswith("HTTP/1.1 200")
    assert models["far"].requests == []
    assert [each["endpoint"] for each in told["tried"]] == ["away", "near"]
    assert told["tried"][0]["reason"] == "address_blocked"


def test_the_ledger_proves_where_calls_went(
    world: World,
    routed: Callable[..., str],
    make_sandbox: Callable[..., Sandbox],
) -> None:
    world.do("audit", "verify")
    since = datetime.now(UTC).isoformat()  # to the microsecond: other tests' calls are just before
    routed()
    call(make_sandbox(POLICIES["nothing"], tenant="acme-eu"))
    words = ["audit", "prove", "--label", "public", "--since", since]
    proven = world.show(*words, "--operated-by", "third_party")
    assert (proven["matching"], proven["found"], proven["unknown"]) == (1, 0, 0)
    assert proven["chain"]["ok"]
    world.show(*words, "--residency", "eu")
    _, request_id = call(make_sandbox(POLICIES["nothing"], tenant="globex"))
    done = world.netmgr(*words, "--operated-by", "third_party", "-o", "json")
    assert done.returncode == 1, done.stdout
    (exception,) = json.loads(done.stdout)["exceptions"]
    assert (exception["request_id"], exception["endpoint"]) == (request_id, "far")
    assert world.show("audit", "prove", "--label", "secret", *words[4:], "--residency", "eu")


def test_a_route_that_waits_behind_the_file_says_so(
    world: World, models: dict[str, Model], routed: Callable[..., str]
) -> None:
    words = ["inference", "set", "--provider", "far", "--model", "far-9", "--no-verify"]
    assert "waits_behind" not in world.show(*words)
    routed()
    try:
        assert world.show(*words)["waits_behind"].startswith("routing revision ")
    finally:
        world.do("inference", "delete")
