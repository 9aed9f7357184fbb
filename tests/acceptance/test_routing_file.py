"""The routing file from the command line: set, shown, judged, taken back, and what it leads to."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance.stage import POLICIES
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

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


def do(world: World, *words: str, status: int = 0, **more: Any) -> str:
    done = world.netmgr(*words, **more)
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return str(done.stdout if status == 0 else done.stderr)


def show(world: World, *words: str, **more: Any) -> Any:
    return json.loads(do(world, *words, "-o", "json", **more))


@pytest.fixture(scope="module")
def models(world: World) -> Iterator[dict[str, Model]]:
    """Two providers that answer as they should."""
    made = {}
    for name in ("near", "far"):
        made[name] = model = world.internet.model(f"{name}.route.test")
        words = ["--name", name, "--type", "openai", "--credential", "OPENAI_API_KEY=-"]
        words += ["--config", f"OPENAI_BASE_URL={model.base_url}"]
        do(world, "provider", "create", *words, stdin=f"sk-{name}")
    yield made
    for name in made:
        do(world, "provider", "delete", name, "--force")


@pytest.fixture
def routed(world: World, models: dict[str, Model], tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Sets a file; it is gone afterwards."""

    def put(*words: str, tenants: str = "acme-eu", status: int = 0) -> str:
        path = tmp_path / "routing.yaml"
        path.write_text(FILE.format(tenants=tenants))
        return do(world, "route", "set", str(path), *words, status=status)

    for model in models.values():
        model.forget()
    yield put
    do(world, "route", "delete")


def test_explain_says_what_happens(
    world: World, routed: Callable[..., str], make_sandbox: Callable[..., Sandbox]
) -> None:
    routed()
    box = make_sandbox(POLICIES["nothing"], tenant="acme-eu")
    told = show(world, "route", "explain", "--sandbox", box.name)
    assert [each["rule"] for each in told["candidates"]] == [None, "eu-stays"]
    assert told["label"] == "public"
    do(world, "route", "explain", "--sandbox", box.name, "--need", "vision", status=6)
    near = do(world, "route", "explain", "--stage", "scan=failed", status=2)
    assert "not in the file" in near


def test_revisions_and_their_errors(
    world: World, routed: Callable[..., str], tmp_path: Path
) -> None:
    assert "no routing file" in do(world, "route", "get", status=3)
    routed()
    first = show(world, "route", "get")["revision"]
    refused = routed("--accept-widening", "--if-revision", "99999", status=4)
    assert f"routing revision {first} is in force" in refused
    wider = routed(tenants="somebody", status=2)  # its own test fails
    assert "test 'a tenant of ours stays near'" in wider
    routed(tenants="acme-eu, helvetia")
    second = show(world, "route", "get")["revision"]
    assert second == first + 1
    # Back to fewer tenants: what helvetia may not now, it could again.
    assert "--accept-widening" in do(world, "route", "rollback", str(first), status=4)
    do(world, "route", "rollback", str(first), "--accept-widening")
    states = [each["state"] for each in show(world, "route", "history")["revisions"]]
    assert states[:3] == ["live", "kept", "kept"]
    broken = tmp_path / "broken.yaml"
    broken.write_text(FILE.format(tenants="acme-eu").replace("provider: far", "provider: fra"))
    message = do(world, "route", "set", str(broken), status=2)
    assert "broken.yaml:" in message
    assert "did you mean 'far'?" in message
    assert show(world, "route", "get")["revision"] == second + 1
    assert "endpoint near" in do(world, "provider", "delete", "near", status=4)
