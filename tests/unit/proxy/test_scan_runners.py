"""Whoever runs a stage: what it must answer, and what happens where it does not."""

import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from netmgr.middleware.bounds import MAX_PAYLOAD
from netmgr.middleware.chain import Outcome, Stage
from netmgr.middleware.contract import Action, Status
from netmgr.middleware.request import Phase, StageRequest
from netmgr_proxy.scan.program import Program
from netmgr_proxy.scan.role import load_plug_ins
from netmgr_proxy.scan.runners import THREADS, PlugInRunner, Runners, Threads

EXAMPLE = Path(__file__).parents[3] / "examples/middleware-plug-in"
REQUEST = StageRequest(
    Phase.HTTP, "box", None, {}, "api.test", 443, "POST", "/", (), b"my words are MINE"
)
STAGE = Stage("own", "own", "test/own", 0)
DEADLINE_S = 30.0  # for what happens at once, on a machine however busy


class PlugIn:
    """Does what the stage's configuration says."""

    def examine(self, request: StageRequest, config: Mapping[str, Any]) -> Mapping[str, Any]:
        match config.get("do"):
            case "sleep":
                time.sleep(config["seconds"])
            case "raise":
                raise ValueError(request.body.decode())
            case "shout":
                return {"decision": "transform", "body": request.body.upper()}
            case "text":
                return {"decision": "transform", "body": "text"}
            case "large":
                return {"decision": "transform", "body": b"x" * (MAX_PAYLOAD + 1)}
            case "none":
                return None  # type: ignore[return-value]
            case "smuggle":
                return {"decision": "allow", "headers": [{"write": "authorization", "value": "x"}]}
        return {"decision": "allow"}


def chain(*stages: Stage, runners: Runners | None = None, stage_s: float = 0.2) -> Outcome:
    async def run() -> Outcome:
        made = runners or Runners(stage_s)
        if runners is None:
            made.others["test/own"] = PlugInRunner(PlugIn(), Threads())
        return await made.run_chain(stages, REQUEST)

    return asyncio.run(run())


def doing(do: str, **config: Any) -> Stage:
    return Stage(do, do, "test/own", 0, config={"do": do, **config})


@pytest.mark.parametrize("do", ["raise", "text", "large", "none", "smuggle"])
def test_a_plug_in_that_misbehaves_fails_and_tells_nothing_of_the_request(do: str) -> None:
    (result,) = chain(doing(do)).results
    assert result.status is Status.FAILED
    assert "MINE" not in str(result)


def test_a_plug_in_that_takes_too_long_fails() -> None:
    began = time.monotonic()
    (result,) = chain(doing("sleep", seconds=0.6), stage_s=0.1).results
    assert result.trouble == "no answer within 0.1 s"
    assert result.status is Status.FAILED
    assert time.monotonic() - began < 3.0


class Stuck:
    """Answers once it is released, and not before."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def examine(self, request: StageRequest, config: Mapping[str, Any]) -> Mapping[str, Any]:
        self.released.wait(DEADLINE_S)
        return {"decision": "allow"}


def test_threads_that_do_not_come_back_are_counted() -> None:
    async def run() -> bool:
        plug_in, threads, runners = Stuck(), Threads(), Runners(0.05)
        runners.others["test/own"] = PlugInRunner(plug_in, threads)
        await asyncio.gather(*(runners.run_chain([STAGE], REQUEST) for _ in range(THREADS)))
        lost = threads.exhausted
        plug_in.released.set()
        async with asyncio.timeout(DEADLINE_S):
            while threads.exhausted:
                await asyncio.sleep(0.01)
        return lost

    assert asyncio.run(run())


def test_stages_are_asked_in_turn_about_what_was_made() -> None:
    tags = Stage("tags", "tags", "netmgr/tagger")
    outcome = chain(doing("shout"), tags)
    assert outcome.body == b"MY WORDS ARE MINE"
    assert [r.status for r in outcome.results] == [Status.OK, Status.OK]
    ended = chain(doing("raise"), tags)
    assert [r.status for r in ended.results] == [Status.FAILED, Status.SKIPPED]


def test_nobody_runs_what_is_not_there() -> None:
    (result,) = chain(Stage("a", "a", "gone/away"), runners=Runners(0.1)).results
    assert result.trouble == "nobody runs gone/away"


def test_the_example_plug_in_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an installed package has it: its code, and entry points beside it."""
    facts = tmp_path / "netmgr_shouting-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: netmgr-shouting\nVersion: 0.1.0")
    (facts / "entry_points.txt").write_text(
        "[netmgr.middleware]\nexample:shouting = netmgr_shouting.stage:Shouting\n"
    )
    for place in (tmp_path, EXAMPLE):
        monkeypatch.syspath_prepend(str(place))
    found = load_plug_ins(["example/shouting", "example/absent"])
    assert list(found) == ["example/shouting"]
    runners = Runners(1.0)

    async def run() -> Outcome:
        runners.others["example/shouting"] = PlugInRunner(found["example/shouting"], Threads())
        stage = Stage("m", "m", "example/shouting", config={"most_percent": 20})
        return await runners.run_chain([stage], REQUEST)

    (result,) = asyncio.run(run()).results
    assert result.decision is Action.DENY
    assert result.metadata == {"percent": "28"}
    sys.modules.pop("netmgr_shouting.stage", None)


async def _with_program(answers: list[bytes], *, close: bool = False) -> tuple[Outcome, bool]:
    """One stage against a program that says these lines to every question."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    gone = asyncio.Event()
    program = await Program.meet(ours, gone.set)
    runners = Runners(0.3)
    runners.others["test/own"] = program

    async def serve() -> None:
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        question = json.loads(await reader.readline())
        assert question["request"]["body"] == "bXkgd29yZHMgYXJlIE1JTkU="
        for answer in answers:
            writer.write(answer.replace(b"ID", str(question["id"]).encode()) + b"\n")
        await writer.drain()
        if close:
            writer.close()
        await asyncio.sleep(0.4)
        writer.close()
        await asyncio.sleep(0)

    serving = asyncio.ensure_future(serve())
    outcome = await runners.run_chain([STAGE], REQUEST)
    await serving
    await program.close()
    return outcome, gone.is_set()


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([b'{"id":ID,"decision":"allow"}'], Status.OK),
        ([b'{"id":999,"decision":"deny"}', b'{"id":ID,"decision":"allow"}'], Status.OK),
        ([b'{"id":ID,"decision":"transform","body":"Y2xlYW4="}'], Status.OK),
        ([b'{"id":ID,"decision":"transform","body":"not base64!"}'], Status.FAILED),
        ([b'{"id":ID,"decision":"allow","more":1}'], Status.FAILED),
        ([b"no JSON"], Status.FAILED),
        ([b"[]"], Status.FAILED),
        ([b'{"decision":"allow"}'], Status.FAILED),
        ([], Status.FAILED),
    ],
)
def test_what_a_program_says(answers: list[bytes], status: Status) -> None:
    outcome, _ = asyncio.run(_with_program(answers))
    assert outcome.results[0].status is status, outcome
    if b"clean" in str(answers).encode():
        assert outcome.body == b"clean"


def test_a_program_that_goes_is_told_of() -> None:
    outcome, gone = asyncio.run(_with_program([], close=True))
    assert outcome.results[0].trouble == "its program ended"
    assert gone
