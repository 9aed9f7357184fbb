"""Owns: the verbs of a case's steps. Each step has one verb; what else it has are expectations.

run       a program in the sandbox, as `netmgr sandbox exec` starts it
            exit, within (seconds), stdout and stderr (lists of patterns)
inside    a program in the sandbox's network namespace, as root with every privilege
netmgr    a command of the operator's: exit, stdout, stderr
run-both  two commands of the operator's at the same time: statuses, in any order
talk      bytes from inside, exactly as they stand: to, tls, udp, send, wait
            status or statuses, reason (x-netmgr-reason), received, fails, end, within
each-send several of `talk`, by their `send`, with the same expectations; in one program
request   "METHOD TARGET STATUS" over TLS to api.test; or a list of them, in one program
post      POSTs with a body and its length over TLS to `site`: path, body (or several), type, fields
pipeline  `count` GETs in one write to `to`, answered in order
policy    put a policy in force;  reject: one that must not be, with what the message names
invalid   files that do not load (`<it>` of `in` is each text), with what their errors say
put-global     put a policy over all sandboxes; the case's `after` takes it away
apply-remedy   run the line that `policy explain TARGET [--method M]` prints
apply-proposals   run every line that `policy propose --since` prints
record    a decision record with these fields (dotted) exists; `/pattern/` is searched for
untouched, unasked, saw, lacks, silent   what the internet and the links saw
wait      seconds
"""

import json
import re
import shlex
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from acceptance.stage import Scene
from world.internet import Site
from world.streams import Server

PROBE: Final = (Path(__file__).parent / "probe.py").read_text()
INSIDE_PYTHON: Final = "/usr/bin/python3"  # the machine's own: a sandbox's user may run it
# bash's `time` writes one line, after the program's own output: what the sandbox's user waited.
TIMED: Final = ["bash", "-c", 'TIMEFORMAT=%R; time "$@"', "timed"]

Step = dict[str, Any]


def play(scene: Scene, step: Step) -> None:
    """Do one step; with `each`, once per item."""
    (verb,) = VERBS.keys() & step.keys()
    for item in step.get("each", [None]):
        item = scene.fill(item, None)
        words = scene.fill({k: v for k, v in step.items() if k != "each"}, item)
        VERBS[verb](scene, words.pop(verb), words)


# -- programs ------------------------------------------------------------------------------


def _run(scene: Scene, command: str, wanted: Step) -> None:
    done = scene.sandbox.run(*TIMED, *shlex.split(command))
    said, _, seconds = done.stderr.rstrip("\n").rpartition("\n")
    _expect_program(done.returncode, done.stdout, said, wanted)
    if "within" in wanted:
        assert float(seconds) <= wanted["within"], f"took {seconds} s"


def _inside(scene: Scene, command: str, wanted: Step) -> None:
    done = scene.sandbox.enter(*shlex.split(command))
    _expect_program(done.returncode, done.stdout, done.stderr, {"exit": 0} | wanted)


def _netmgr(scene: Scene, command: str, wanted: Step) -> None:
    done = scene.world.netmgr(*shlex.split(command))
    _expect_program(done.returncode, done.stdout, done.stderr, wanted)


def _run_both(scene: Scene, commands: list[str], wanted: Step) -> None:
    with ThreadPoolExecutor(len(commands)) as at_once:
        words = [shlex.split(command) for command in commands]
        done = list(at_once.map(lambda each: scene.world.netmgr(*each), words))
    said = [(each.returncode, each.stdout, each.stderr) for each in done]
    assert sorted(status for status, _, _ in said) == sorted(wanted["statuses"]), said


def _expect_program(status: int, stdout: str, stderr: str, wanted: Step) -> None:
    story = f"exit {status}\n-- stdout\n{stdout}\n-- stderr\n{stderr}"
    if "exit" in wanted:
        assert status == wanted["exit"], story
    for stream, text in (("stdout", stdout), ("stderr", stderr)):
        for pattern in wanted.get(stream, []):
            assert re.search(pattern, text), f"no {pattern!r} in {stream}:\n{story}"


# -- conversations -------------------------------------------------------------------------


def _talk(scene: Scene, words: Step, wanted: Step) -> None:
    if ("status" in wanted or "statuses" in wanted) and "end" not in wanted:
        words = {"responses": len(wanted.get("statuses", [1]))} | words
    said = converse(scene, words)
    if "fails" in wanted:
        assert said["fails"] in wanted["fails"], said
    else:
        assert said["fails"] is None, said
    if "within" in wanted:
        assert said["seconds"] <= wanted["within"], said
    for text in wanted.get("received", []):
        assert text in said["received"], said
    if "end" in wanted:
        assert said["end"] in (wanted["end"], "reset"), said
    statuses = [int(s) for s in re.findall(r"HTTP/1\.[01] (\d{3})", said["received"])]
    if "statuses" in wanted:
        assert statuses == wanted["statuses"], said
    if "status" in wanted:
        assert statuses[:1], said
        assert statuses[0] in wanted["status"], said
    if "reason" in wanted:
        assert f"x-netmgr-reason: {wanted['reason']}" in said["received"].lower(), said


def converse(scene: Scene, words: Step) -> Step:
    """One run of the probe inside the sandbox; what it says."""
    said: Step = _probe(scene, words)
    return said


def _probe(scene: Scene, words: Step | list[Step]) -> Any:
    done = scene.sandbox.run(INSIDE_PYTHON, "-I", "-c", PROBE, json.dumps(words))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _each_send(scene: Scene, words: Step, wanted: Step) -> None:
    sends = words.pop("send")
    talks = [{**words, "send": each, "responses": 1} for each in sends]
    for sent, said in zip(sends, _probe(scene, talks), strict=True):
        found = re.match(r"HTTP/1\.[01] (\d{3})", said["received"])
        assert found, (sent, said)
        assert int(found[1]) in wanted["status"], (sent, said)


def _request(scene: Scene, lines: str | list[str], _: Step) -> None:
    asked = [line.split() for line in ([lines] if isinstance(lines, str) else lines)]
    talks = [_one_request(method, target) for method, target, _ in asked]
    wrong = {}
    for line, said in zip(asked, _probe(scene, talks), strict=True):
        found = re.match(r"HTTP/1\.[01] (\d{3})", said["received"])
        if found is None or found[1] != line[2]:
            wrong[" ".join(line)] = said
    assert not wrong


def _one_request(method: str, target: str) -> Step:
    host = "api.test"
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}Connection: close\r\n\r\n"
    return {"to": f"{host}:443", "tls": host, "send": head, "responses": 1}


def _post(scene: Scene, words: Step, wanted: Step) -> None:
    host, body = words["site"], words["body"]
    bodies = body if isinstance(body, list) else [body]
    head = (
        f"POST {words['path']} HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: {words.get('type', 'application/json')}\r\n{words.get('fields', '')}"
    )
    send = "".join(f"{head}Content-Length: {len(each)}\r\n\r\n{each}" for each in bodies)
    talk = {"to": f"{host}:443", "tls": host, "send": send}
    (status,) = wanted.pop("status")
    _talk(scene, talk, wanted | {"statuses": [status] * len(bodies)})


def _pipeline(scene: Scene, words: Step, _: Step) -> None:
    host, count = words["to"], words["count"]
    heads = [f"GET /{number} HTTP/1.1\r\nHost: {host}\r\n" for number in range(count)]
    heads[-1] += "Connection: close\r\n"
    send = "".join(head + "\r\n" for head in heads)
    words = {"to": f"{host}:443", "tls": host, "send": send, "wait": 8.0, "responses": count}
    said = converse(scene, words)
    targets = [int(n) for n in re.findall(r'"target": "/(\d+)"', said["received"])]
    assert targets == list(range(count)), f"{len(targets)} answers; {said['end']}, {said['fails']}"


# -- policies ------------------------------------------------------------------------------


def _policy(scene: Scene, name: str, _: Step) -> None:
    _set(scene, scene.sandbox.name, name)


def _put_global(scene: Scene, name: str, _: Step) -> None:
    _set(scene, "--global", name)


def _set(scene: Scene, scope: str, name: str) -> None:
    path = scene.policy_file(name)
    done = scene.world.netmgr("policy", "set", scope, str(path))
    _expect_program(done.returncode, done.stdout, done.stderr, {"exit": 0})


def _reject(scene: Scene, words: Step, _: Step) -> None:
    name = scene.sandbox.name
    before = scene.world.netmgr("policy", "get", name, "-o", "json").stdout
    path = scene.policy_file(words["policy"])
    done = scene.world.netmgr("policy", "set", name, str(path))
    patterns = [re.escape(word) for word in words["names"]]
    _expect_program(done.returncode, done.stdout, done.stderr, {"exit": 2, "stderr": patterns})
    after = scene.world.netmgr("policy", "get", name, "-o", "json").stdout
    assert before == after, "a rejected policy changed something"


def _invalid(scene: Scene, words: Step, _: Step) -> None:
    """Each file is judged apart, and the command ends as one."""
    named = {text.removesuffix("\n"): names for text, names in words["files"]}
    folder = scene.scratch / "invalid"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.yaml" for number in range(len(named))]
    for path, text in zip(paths, named, strict=True):
        path.write_text(words.get("in", "<it>").replace("<it>", text))
    done = scene.world.netmgr("policy", "validate", *map(str, paths))
    _expect_program(done.returncode, done.stdout, done.stderr, {"exit": 2})
    for path, (text, names) in zip(paths, named.items(), strict=True):
        told = [line for line in done.stderr.splitlines() if line.startswith(str(path))]
        for word in names:
            assert any(word in line for line in told), (text, word, told)


def _apply_remedy(scene: Scene, target: str, _: Step) -> None:
    asked = shlex.split(target)
    done = scene.world.netmgr("policy", "explain", scene.sandbox.name, *asked, "-o", "json")
    assert done.returncode == 6, done.stderr
    line = json.loads(done.stdout)["remedy"]
    assert line.startswith("netmgr policy update "), line
    done = scene.world.netmgr(*shlex.split(line)[1:])
    assert done.returncode == 0, done.stderr


def _apply_proposals(scene: Scene, since: str, _: Step) -> None:
    name = scene.sandbox.name
    done = scene.world.netmgr("policy", "propose", name, "--since", since, "-o", "json")
    assert done.returncode == 0, done.stderr
    for proposal in json.loads(done.stdout)["proposals"]:
        applied = scene.world.netmgr(*shlex.split(proposal["command"])[1:])
        assert applied.returncode == 0, applied.stderr


# -- what was seen -------------------------------------------------------------------------


def _record(scene: Scene, wanted: Step, _: Step) -> None:
    scene.sandbox.wait_record(
        lambda record: all(
            _fits(_dotted(record, key), value) for key, value in _plain(wanted).items()
        )
    )


def _plain(wanted: Step) -> Step:
    """YAML's numbers survive the filling in of variables; texts of digits are meant as numbers."""
    return {k: int(v) if isinstance(v, str) and v.isdigit() else v for k, v in wanted.items()}


def _fits(value: Any, wanted: Any) -> bool:
    """Equal, or found by a pattern between slashes."""
    if isinstance(wanted, str) and len(wanted) > 1 and wanted[0] == wanted[-1] == "/":
        return re.search(wanted[1:-1], str(value)) is not None
    return bool(value == wanted)


def _dotted(record: Step, key: str) -> Any:
    value: Any = record
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _untouched(scene: Scene, key: str, _: Step) -> None:
    server = _server(scene, key)
    assert server.connections == [], server


def _unasked(scene: Scene, name: str, _: Step) -> None:
    assert scene.world.internet.zone.asked(name) == []


def _saw(scene: Scene, words: Step, _: Step) -> None:
    received = _server(scene, words["site"]).received
    assert words["contains"].encode("latin-1") in received, received


def _lacks(scene: Scene, words: Step, _: Step) -> None:
    received = _server(scene, words["site"]).received
    assert words["text"].encode("latin-1") not in received, received


def _silent(scene: Scene, words: Step, _: Step) -> None:
    criteria = dict(words)
    if "containing" in criteria:
        criteria["containing"] = criteria["containing"].encode("latin-1")
    if criteria["place"] == "other":
        criteria["place"] = scene.others[0].name
    scene.world.capture.assert_silent(**criteria, since=scene.since)


def _server(scene: Scene, key: str) -> Site | Server:
    return scene.stage.server(key.removeprefix("host "))


def _wait(scene: Scene, seconds: float, _: Step) -> None:
    time.sleep(seconds)


VERBS: Final[dict[str, Callable[[Scene, Any, Step], None]]] = {
    "run": _run,
    "inside": _inside,
    "netmgr": _netmgr,
    "run-both": _run_both,
    "talk": _talk,
    "each-send": _each_send,
    "request": _request,
    "post": _post,
    "pipeline": _pipeline,
    "policy": _policy,
    "put-global": _put_global,
    "reject": _reject,
    "invalid": _invalid,
    "apply-remedy": _apply_remedy,
    "apply-proposals": _apply_proposals,
    "record": _record,
    "untouched": _untouched,
    "unasked": _unasked,
    "saw": _saw,
    "lacks": _lacks,
    "silent": _silent,
    "wait": _wait,
}
