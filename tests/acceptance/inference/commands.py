"""Owns: the cases about commands, their exit statuses, and what a change does to calls.

Verbs of `commands` and `steps` (one per item; what else it has are expectations):

set, update, delete, provider_get, provider_delete     netmgr commands: exit, says, never_says
netmgr              any other command line; {oai} stands for the name of that route's provider
request             one call from the sandbox
ask                 one call in the words of a case's `request`, with `sent` and `answer`
open_stream_s       a stream of that length begins
provider_update     a new key
set_model           the model of the route in force
"""

import shlex
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from acceptance.inference.checks import check_answer
from acceptance.inference.model_stage import CLOSED, TABLE, ModelStage
from acceptance.inference.talk import Said
from acceptance.inference.wire import WAIT_S, check_turn, play_wire, request, turns

GAP_S: Final = 0.4  # between two events of a stream that is open while something changes

Case = dict[str, Any]
Words = dict[str, Any]


def play_command_case(stage: ModelStage, case: Case) -> None:
    """Play the commands or the steps of a case."""
    stage.put_in_force(None)
    stage.forget_routes()
    scene = Scene(stage, case)
    stage.provider.play([])
    for step in _steps(case):
        (verb,) = VERBS.keys() & step.keys()
        VERBS[verb](scene, step)
    if "steps" in case:
        scene.check()
    for sandbox in {step["sandbox"] for step in _steps(case) if "sandbox" in step}:
        stage.put_in_force(None, sandbox)
    if "then" in case:
        (other,) = (other for other in TABLE["cases"] if other["id"] == case["then"])
        play_wire(stage, other)


def _steps(case: Case) -> list[Words]:
    found = case.get("commands", case.get("steps", []))
    return [{step: True} if isinstance(step, str) else step for step in found]


class Scene:
    """One case: its stage, and what is known of it so far."""

    def __init__(self, stage: ModelStage, case: Case) -> None:
        self.stage = stage
        self.case = case
        self.stream: Future[Said] | None = None
        self.versions: list[int] = []
        self.changed_at = 0.0
        self.answered_at = 0.0

    def netmgr(self, argv: list[str], wanted: Words) -> None:
        """A command and what it must say."""
        done = self.stage.netmgr(*argv, status=wanted.get("exit", 0))
        said = done.stdout + done.stderr
        for text in wanted.get("says", []):
            assert text in said, said
        for text in wanted.get("never_says", []):
            assert text not in said, said

    def provider_name(self, key: str) -> str:
        """The provider of a route of the table."""
        return self.stage.provider_of(self.stage.route(key))

    def check(self) -> None:
        """What the provider saw over all steps, and how the open stream ended."""
        requests = self.stage.provider.requests
        if "sent_keys" in self.case:
            keys = [dict(event["headers"])["authorization"] for event in requests]
            assert keys == self.case["sent_keys"], keys
        want = self.case.get("answer", {})
        if "new_uses" in want:
            assert f'"model":"{want["new_uses"]}"' in requests[-1]["body"], requests
            assert self.answered_at - self.changed_at <= want["within"]
        if "old_stream" in want:
            assert self.stream is not None
            (answer,) = self.stream.result(20).answers
            check_answer(answer, {"status": 200, "terminated": True})
            assert '"model":"m-op"' in requests[0]["body"], requests
        if want.get("each_sees_own"):
            self.check_each_sees_own()

    def check_each_sees_own(self) -> None:
        """Sandbox a has its changed model, b is as it was."""
        for sandbox, key, model in (("a", "oai", "n"), ("b", "nv", "nvidia/m")):
            self.stage.provider.play([])
            said = call(self.stage, sandbox)
            assert said.answers[0].status == 200, said
            (event,) = self.stage.provider.requests
            assert f'"model":"{model}"' in event["body"], event
            key = self.stage.route(key)["key"]
            assert dict(event["headers"])["authorization"] == f"Bearer {key}", event


def call(stage: ModelStage, sandbox: str = "agent") -> Said:
    """The table's default request, answered."""
    acts = [{"send": request({})[0]}, {"read": {"responses": 1}, "wait_s": WAIT_S}]
    return stage.talker(sandbox).say(acts)


# -- commands ------------------------------------------------------------------------------


def _set(scene: Scene, words: Words) -> None:
    closed = words.get("provider") == "closed"
    route = scene.stage.route(words["set"], **({"origin": CLOSED} if closed else {}))
    argv = scene.stage.set_words(route, words.get("sandbox"))
    if words.get("no_verify"):
        argv.append("--no-verify")
    scene.netmgr(argv, words)
    where = ["--sandbox", words["sandbox"]] if "sandbox" in words else []
    (found,) = scene.stage.netmgr_json("inference", "get", *where)["routes"]
    assert found["model"] == route["model"], found
    if "version" in words:  # counted from the first of the case: it never goes back
        scene.versions.append(found["version"])
        assert found["version"] - scene.versions[0] + 1 == words["version"], found
    if "probes" in words:
        assert scene.stage.provider.events == words["probes"]


def _update(scene: Scene, words: Words) -> None:
    argv = [part for key, value in words["update"].items() for part in (f"--{key}", str(value))]
    scene.netmgr(["inference", "update", *argv], words)


def _delete(scene: Scene, words: Words) -> None:
    scene.netmgr(["inference", "delete"], words)


def _provider_get(scene: Scene, words: Words) -> None:
    name = scene.provider_name(words["provider_get"])
    for argv in (["get", name], ["get", name, "-o", "json"], ["list", "-o", "yaml"]):
        scene.netmgr(["provider", *argv], words)
    log = scene.stage.world.netmgrd.log.read_text()
    for text in words["never_says"]:
        assert text not in log, f"{text!r} stands in the daemon's log"


def _provider_delete(scene: Scene, words: Words) -> None:
    route = scene.stage.route(words["provider_delete"])
    name = scene.stage.provider_of(route)
    force = ["--force"] if words.get("force") else []
    scene.netmgr(["provider", "delete", name, *force], words)
    gone = words.get("exit") == 0
    scene.netmgr(["provider", "get", name], {"exit": 3 if gone else 0})
    if gone:
        scene.stage.forget_provider(route)


def _netmgr(scene: Scene, words: Words) -> None:
    line = words["netmgr"]
    for name in TABLE["routes"]:
        if f"{{{name}}}" in line:
            line = line.replace(f"{{{name}}}", scene.provider_name(name))
    scene.netmgr(shlex.split(line), words)


# -- changes -------------------------------------------------------------------------------


def _request(scene: Scene, words: Words) -> None:
    if scene.changed_at == 0.0 and scene.stream is None:
        scene.stage.put_in_force(scene.stage.route("oai"))
        scene.stage.provider.play([])
    said = call(scene.stage)
    scene.answered_at = time.monotonic()
    assert said.answers[0].status == 200, said


def _ask(scene: Scene, words: Words) -> None:
    """One call over the route that the commands before have set."""
    stage = scene.stage
    case = {"route": "oai", **words, "request": words["ask"]}
    for turn in turns(case):
        stage.provider.play([{"reply": turn.reply}])
        said = stage.talker(words.get("sandbox", "agent")).say(turn.acts)
        check_turn(stage, case, stage.route(case["route"]), turn, said)


def _open_stream(scene: Scene, words: Words) -> None:
    stage = scene.stage
    stage.put_in_force(stage.route("oai"))
    events = round(words["open_stream_s"] / GAP_S)
    stage.provider.play([{"times": 1, "reply": {"events": events, "gap_s": GAP_S}}])
    text = request({"request": {"body": '{"stream":true}'}})[0]
    acts = [{"send": text}, {"read": {"responses": 1}, "wait_s": WAIT_S}]
    scene.stream = stage.talker().start(acts)
    stage.provider.wait_event(lambda event: event["event"] == "request")


def _provider_update(scene: Scene, words: Words) -> None:
    stage = scene.stage
    route = stage.route("oai")
    argv = ["provider", "update", stage.provider_of(route), "--credential", "OPENAI_API_KEY=-"]
    stage.netmgr(*argv, stdin=words["provider_update"]["key"])
    scene.changed_at = time.monotonic()
    stage.forget_provider(route)


def _set_model(scene: Scene, words: Words) -> None:
    where = ["--sandbox", words["sandbox"]] if "sandbox" in words else []
    argv = ["inference", "update", "--model", words["set_model"], "--no-verify", *where]
    scene.stage.netmgr(*argv)
    scene.changed_at = time.monotonic()
    scene.stage.forget_routes()


VERBS: Final[dict[str, Callable[[Scene, Words], None]]] = {
    "set": _set,
    "update": _update,
    "delete": _delete,
    "provider_get": _provider_get,
    "provider_delete": _provider_delete,
    "netmgr": _netmgr,
    "request": _request,
    "ask": _ask,
    "open_stream_s": _open_stream,
    "provider_update": _provider_update,
    "set_model": _set_model,
}
