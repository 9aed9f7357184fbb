"""AWS's SDK inside a sandbox, unmodified, against Bedrock's API: answers, streams, exceptions."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # noqa: F401  # missing: the set-up has not installed what this layer needs
import pytest
from acceptance.inference.checks import check_signature
from acceptance.inference.model_stage import ModelStage, model_stage

from netmgr.testing.event_frames import event_frame

pytestmark = pytest.mark.root

PROGRAM = Path(__file__).parent / "bedrock_turns.py"
TURNS = ("converse", "converse_stream", "invoke", "invoke_stream", "count_tokens")

Said = dict[str, Any]


@pytest.fixture(scope="module")
def stage() -> Iterator[ModelStage]:
    """A world with a scripted Bedrock, and the route to it in force."""
    with model_stage() as made:
        made.put_in_force(made.route("bed"))
        made.provider.play([])
        made.world.sandbox("sdk")
        yield made


def run(stage: ModelStage, *turns: str) -> list[Said]:
    """The program in the sandbox. As root: the tests' interpreter may be nobody else's to read."""
    words = ["sandbox", "exec", "--user", "root", "sdk", "--", sys.executable, "-I"]
    done = stage.world.netmgr(*words, str(PROGRAM), *turns, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def said(stage: ModelStage) -> dict[str, Said]:
    """Every turn, in one run of the program: it takes a second to import the SDK."""
    found = {turn["turn"]: turn for turn in run(stage, *TURNS)}
    return found | {"requests": {"seen": stage.provider.requests}}


def test_answers_and_streams(said: dict[str, Said]) -> None:
    text = "This is anthropic.m-v1:0, signed by AKIDOP."
    assert said["converse"]["text"] == said["invoke"]["text"] == text
    assert said["converse"]["tokens"] > 0
    assert said["converse_stream"]["text"].split() == text.split()
    assert said["converse_stream"]["usage"]["outputTokens"] == len(text.split())
    assert said["invoke_stream"]["kinds"][-1] == "message_stop"


def test_the_provider_saw_the_operator_s_signature_alone(
    stage: ModelStage, said: dict[str, Said]
) -> None:
    route = stage.route("bed")
    assert len(said["requests"]["seen"]) == len(TURNS) - 1
    for request in said["requests"]["seen"]:
        fields = dict(request["headers"])
        check_signature(request, fields, request["body"].encode(), route)
        assert "AKIDPLACEHOLDER" not in str(request)
        assert not [name for name in fields if name.startswith(("amz-sdk", "x-amzn"))]
        assert "what-the-agent-asks-for" not in request["target"]


def test_a_path_that_is_denied_raises_access_denied(said: dict[str, Said]) -> None:
    raised = said["count_tokens"]
    assert raised["code"] == "AccessDeniedException"
    assert "is no inference request that is allowed here" in raised["message"]


def test_what_breaks_raises_what_it_is(stage: ModelStage) -> None:
    """The provider's own error, then a stream that falls silent between two events."""
    stage.put_in_force(stage.route("bed", idle_timeout_s=1))
    slow = {"x-amzn-errortype": "ThrottlingException"}
    half = [["messageStart", {"role": "assistant"}]]
    stage.provider.play(
        [
            {"times": 2, "reply": {"status": 429, "headers": slow, "json": {"message": "slow"}}},
            {"reply": {"frames": [*half, *half], "stall_after": len(event_frame(*half[0]))}},
        ]
    )
    limited, broken = run(stage, "converse", "converse_stream")
    assert (limited["code"], limited["message"]) == ("ThrottlingException", "slow")
    assert (broken["raised"], broken["code"]) == ("EventStreamError", "modelStreamErrorException")
