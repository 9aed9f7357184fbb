"""What `inference set` wrote is a routing generation of one endpoint: explained, recorded, replayed
like any file's.
"""

import json
from collections.abc import Callable, Iterator
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
endpoints:
  elsewhere: {{provider: only, model: {model}, facts: {{price: {{in: 1, out: 1}}}}}}
"""


@pytest.fixture(scope="module")
def model(world: World) -> Iterator[Model]:
    """A provider, and the route to it."""
    made = world.internet.model("only.set.test")
    world.provider("only", made.base_url)
    assert "neither" not in world.do("route", "explain", status=3)
    words = ["--provider", "only", "--model", "big-1", "--alias", "fast=small-1"]
    world.do("inference", "set", *words, "--no-verify")
    yield made
    world.do("inference", "delete")
    world.do("provider", "delete", "only", "--force")


def call(box: Sandbox, asked: str) -> str:
    """One call; its id, once it is on record."""
    body = json.dumps({"model": asked, "messages": [{"role": "user", "content": "hi"}]})
    done = box.run("curl", "-sS", "-i", "--max-time", "20", URL, "-d", body)
    head = str(done.stdout).partition("\n\n")[0]
    assert head.startswith("HTTP/1.1 200"), done
    (number,) = [line.split(": ")[1] for line in head.splitlines() if "request-id:" in line]
    box.wait_record(lambda r: r["kind"] == "inference" and r["inference"]["request_id"] == number)
    return number


def test_it_is_explained_recorded_and_replayed(
    world: World, model: Model, make_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    box = make_sandbox(POLICIES["nothing"], tenant="acme")
    since = datetime.now(UTC).isoformat()
    for asked, expected in (("anything", "big-1"), ("fast", "small-1")):
        told = world.show("route", "explain", "--sandbox", box.name, "--model", asked)
        (only,) = told["candidates"]
        assert (only["endpoint"], only["model"], only["place"]) == ("only", expected, 1)
        why = world.show("route", "why", call(box, asked))["inference"]
        assert (why["plan"], why["rejected"], why["generation"]) == (["only"], {}, 0)
        assert (why["endpoint"], why["model"]) == ("only", expected)
        (tried,) = why["tried"]
        assert (tried["endpoint"], tried["status"], tried["reason"]) == ("only", 200, None)
        assert why["facts"]["tokens_in"] > 0
        assert json.loads(model.requests[-1]["body"])["model"] == expected
    path = tmp_path / "other.yaml"
    path.write_text(FILE.format(model="big-1"))
    told = world.show("route", "replay", "--since", since, "--with", str(path))
    assert (told["replayed"], told["changed"], told["skipped"]) == (2, 1, 0)
    world.do("inference", "update", "--model-mode", "reject", "--no-verify")
    world.do("route", "explain", "--model", "other", status=6)
    world.do("route", "explain", "--model", "fast")
    world.do("route", "explain", "--protocol", "anthropic_messages", status=6)


def test_a_body_is_read_as_a_worker_reads_it(world: World, model: Model, tmp_path: Path) -> None:
    body = {"model": "fast", "tools": [], "max_tokens": 7, "messages": [{"content": "x" * 300}]}
    path = tmp_path / "body.json"
    path.write_text(json.dumps(body))
    told = world.show("route", "explain", "--body", str(path))
    assert told["candidates"][0]["model"] == "small-1"
    file = tmp_path / "file.yaml"
    file.write_text(FILE.format(model="m"))
    world.do("route", "explain", "--file", str(file), "--body", str(path), status=6)


def test_what_is_declared_of_the_provider_tells_where_calls_went(
    world: World, model: Model, make_sandbox: Callable[..., Sandbox]
) -> None:
    """No file decided and no label is known: who was asked is, once the operator declares it."""
    box = make_sandbox(POLICIES["nothing"])
    since = datetime.now(UTC).isoformat()
    proof = ["audit", "prove", "--label", "secret", "--operated-by", "third_party"]
    proof += ["--since", since]
    call(box, "fast")
    undeclared = json.loads(world.netmgr(*proof, "-o", "json").stdout)
    assert (undeclared["found"], undeclared["unknown"]) == (0, 1)
    refused = world.do("provider", "update", "only", "--config", "OPERATED_BY=slef", status=2)
    assert "did you mean 'self'?" in refused
    since = proof[-1] = datetime.now(UTC).isoformat()
    for who, unknown in (("self", 0), ("third_party", 1)):
        config = ["--config", f"OPERATED_BY={who}", "--config", "RESIDENCY=eu"]
        world.do("provider", "update", "only", *config)
        call(box, "fast")
        told = json.loads(world.netmgr(*proof, "-o", "json").stdout)
        assert (told["found"], told["unknown"]) == (0, unknown), who
    words = ["audit", "prove", "--label", "secret", "--residency", "eu", "--since", since]
    proven = world.show(*words)
    assert (proven["checked"], proven["unknown"]) == (2, 0)
