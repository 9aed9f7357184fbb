"""Claude Code and OpenCode inside a sandbox, unmodified: a whole turn with a tool call each.

Only a base URL and a placeholder key are set. What happened is read from the provider's byte log.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.inference.model_stage import ModelStage, model_stage
from clients.agent_turns import ANSWER, MARK, OUTPUT, TOOLS, anthropic_turn, openai_turn
from clients.inside import SANDBOX, installed, requests_to, run

pytestmark = pytest.mark.root

PLACEHOLDER = "sk-placeholder-in-the-sandbox"
PROMPT = f"Run the tool once, then answer. {MARK}"


@pytest.fixture(scope="module")
def stage() -> Iterator[ModelStage]:
    """A world with a scripted provider."""
    with model_stage() as made:
        made.world.sandbox(SANDBOX)
        yield made


def judge_turn(stage: ModelStage, path: str, model: str, key: tuple[str, str]) -> None:
    """The call, the tool's result and the answer went through us, with the operator's key."""
    found = [r for r in requests_to(stage, path) if MARK in r["body"] and TOOLS in r["body"]]
    asked, told = found[-2:]
    assert OUTPUT not in asked["body"]
    assert OUTPUT in told["body"], "the tool's output was sent to the model"
    for request in stage.provider.requests:
        raw = base64.b64decode(request["raw_base64"])
        assert PLACEHOLDER.encode() not in raw
        if request["method"] == "POST":
            fields = {name.lower(): value for name, value in request["headers"]}
            assert fields[key[0]] == key[1]
            assert json.loads(request["body"])["model"] == model


def test_claude_code(stage: ModelStage, tmp_path: Path) -> None:
    program = installed("claude")
    stage.put_in_force(stage.route("ant"))
    stage.provider.play(anthropic_turn("Bash"))
    told = run(
        stage, "env", "-C", str(tmp_path), f"HOME={tmp_path}",
        "ANTHROPIC_BASE_URL=https://inference.local", f"ANTHROPIC_API_KEY={PLACEHOLDER}",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1",
        str(program), "-p", PROMPT, "--allowedTools", "Bash", "--output-format", "text",
    )  # fmt: skip
    assert ANSWER in told
    assert (tmp_path / "turn.txt").read_text() == "tool-ran"
    judge_turn(stage, "/messages", "claude-op", ("x-api-key", "ant-op"))


def test_opencode(stage: ModelStage, tmp_path: Path) -> None:
    program = installed("opencode")
    options = {"baseURL": "https://inference.local/v1", "apiKey": PLACEHOLDER}
    lab = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"m": {"name": "m"}}}
    config = {
        "autoupdate": False,
        "share": "disabled",
        "provider": {"lab": lab},
        "model": "lab/m",
        "small_model": "lab/m",
        "permission": {"bash": "allow"},
    }
    (tmp_path / "opencode.json").write_text(json.dumps(config))
    stage.put_in_force(stage.route("oai"))
    stage.provider.play(openai_turn("bash"))
    told = run(
        stage, "env", "-C", str(tmp_path), f"HOME={tmp_path}", f"PWD={tmp_path}",
        f"OPENCODE_CONFIG={tmp_path / 'opencode.json'}",
        "OPENCODE_DISABLE_AUTOUPDATE=1", "OPENCODE_DISABLE_MODELS_FETCH=1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS=1", "OPENCODE_DISABLE_LSP_DOWNLOAD=1",
        str(program), "run", PROMPT,
    )  # fmt: skip
    assert ANSWER in told
    assert (tmp_path / "turn.txt").read_text() == "tool-ran"
    judge_turn(stage, "/chat/completions", "m-op", ("authorization", "Bearer sk-op"))
