"""An operator's own types of provider: listed, in use on SIGHUP, refused with their place."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from acceptance.inference.model_stage import ORIGIN, ModelStage, model_stage
from acceptance.inference.talk import Said

pytestmark = pytest.mark.root

WAIT_S = 10.0
GATEWAY = f"""\
type: acme
title: the gateway of the house
base_url: https://{ORIGIN}/{{team}}/v9
auth:
  - {{style: header, header: x-acme-key, credentials: [ACME_KEY]}}
settings:
  ACME_TEAM: {{word: team, default: red, form: "[a-z]+", expected: a team}}
protocols: [openai_chat_completions]
patterns:
  - {{path: /v1/rerank, operation: rerank}}
"""


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's directory; empty at first."""
    return tmp_path_factory.mktemp("provider-types")


@pytest.fixture(scope="module")
def stage(types: Path) -> Iterator[ModelStage]:
    """A world whose daemon reads types from there."""
    with model_stage(provider_types_dir=str(types)) as made:
        made.talker()
        yield made


def reload(stage: ModelStage, seen: Callable[[], bool]) -> None:
    """SIGHUP, and wait for what it brings."""
    os.kill(stage.world.netmgrd.pid, signal.SIGHUP)
    deadline = time.monotonic() + WAIT_S
    while not seen():
        assert time.monotonic() < deadline, stage.world.netmgrd.log.read_text()[-2000:]
        time.sleep(0.05)


def listed(stage: ModelStage) -> dict[str, Any]:
    return {kind["type"]: kind for kind in stage.netmgr_json("provider", "types")["types"]}


def ask(stage: ModelStage, path: str) -> Said:
    body = '{"model":"x"}'
    head = f"POST {path} HTTP/1.1\r\nhost: inference.local\r\ncontent-length: {len(body)}\r\n\r\n"
    acts = [{"send": head + body}, {"read": {"responses": 1}, "wait_s": WAIT_S}]
    return stage.talker().say(acts)


def test_a_type_comes_changes_and_is_kept(stage: ModelStage, types: Path) -> None:
    assert "acme" not in listed(stage)
    assert listed(stage)["openai"]["source"] == "built in"
    file = types / "acme.yaml"
    file.write_text(GATEWAY)
    reload(stage, lambda: "acme" in listed(stage))
    assert listed(stage)["acme"]["source"] == str(file)

    create = ["provider", "create", "--name", "a", "--type", "acme", "--credential", "ACME_KEY=-"]
    stage.netmgr(*create, "--config", "ACME_TEAM=blue", stdin="k-op")
    stage.netmgr("inference", "set", "--provider", "a", "--model", "m", "--no-verify")
    stage.provider.play([{"reply": {"json": {"ok": 1}}}])
    for path in ("/v1/chat/completions", "/v1/rerank"):
        assert ask(stage, path).answers[0].status == 200
    first, second = stage.provider.requests
    assert (first["target"], second["target"]) == ("/blue/v9/chat/completions", "/blue/v9/rerank")
    assert dict(first["headers"])["x-acme-key"] == "k-op"
    assert json.loads(second["body"]) == {"model": "m"}

    # A change reaches routes that are in force.
    file.write_text(GATEWAY.replace("/v9", "/v10"))
    (route,) = stage.netmgr_json("inference", "get")["routes"]
    assert route["base_url"].endswith("/blue/v9")
    reload(stage, lambda: "v10" in json.dumps(stage.netmgr_json("inference", "get")))
    assert ask(stage, "/v1/rerank").answers[0].status == 200
    assert stage.provider.requests[-1]["target"] == "/blue/v10/rerank"

    # A fault is told with its place, and everything stays as it was.
    log = stage.world.netmgrd.log
    file.write_text(GATEWAY.replace("title:", "titel:"))
    reload(stage, lambda: f"{file}:2: titel: unknown key" in log.read_text())
    assert ask(stage, "/v1/rerank").answers[0].status == 200
    # So is the end of a type that a provider has.
    file.unlink()
    reload(stage, lambda: "provider a: unknown provider type 'acme'" in log.read_text())
    assert "acme" in listed(stage)
    assert stage.provider.requests[-1]["target"] == "/blue/v10/rerank"

    # A daemon that starts without it starts, and what needs it is shut until it is mended.
    stage.world.netmgrd.stop()
    stage.world.netmgrd.start()
    assert ask(stage, "/v1/chat/completions").answers[0].status == 503
    found = stage.netmgr_json("observe", "--kind", "finding")
    assert "provider a cannot be used: unknown provider type 'acme'" in found["message"]
    file.write_text(GATEWAY)
    reload(stage, lambda: ask(stage, "/v1/rerank").answers[0].status == 200)
    stage.netmgr("inference", "delete")
    stage.netmgr("provider", "delete", "a")


def test_an_unknown_type_and_key_name_the_nearest(stage: ModelStage) -> None:
    create = ["provider", "create", "--name", "x", "--type"]
    done = stage.netmgr(*create, "olama", status=2)
    assert "did you mean 'ollama'?" in done.stderr
    done = stage.netmgr(*create, "ollama", "--config", "OLLAMA_BASEURL=x", status=2)
    assert "did you mean 'OLLAMA_BASE_URL'?" in done.stderr
