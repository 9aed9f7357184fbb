"""Owns: one examination of a sandbox: its programs are asked inside, their answers are judged here.

Programs run where the sandbox's programs run: of a sandbox that is attached to a container in that
container's file system and as its process, else as `sandbox exec` would. Knows nothing of tables.
"""

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from netmgr.errors import HostFailed
from netmgr.keys.injection import NSS_TARGETS
from netmgr_cli.container import Inhabitant, find_inhabitants, work_inside
from netmgr_cli.enter import Errand, enter
from netmgr_cli.scenery import USER_NSS
from netmgr_cli.trust_probe import PROGRAM_S, Databases, probe_all
from netmgr_cli.trust_programs import PROGRAMS, Verdict, judge, remedy

MAX_REPORT: Final = 4 * 1024 * 1024  # bytes: each program's is bounded, and their number

_BY_NAME: Final = {program.name: program for program in PROGRAMS}

Json = dict[str, Any]


def examine(sandbox: Mapping[str, Any], errand: Errand) -> Json:
    """Ask every program in a sandbox.

    Args:
        sandbox: the API's sandbox object.
        errand: how `sandbox exec` would run a command in it.

    Returns:
        {sandbox, where, ok, programs: [{name, path, verdict, detail, remedy, where}]}.

    Raises:
        HostFailed: the sandbox could not be entered.
    """
    containers = find_inhabitants(Path(sandbox["netns"])) if sandbox["attached"] else ()
    places: list[Inhabitant | None] = [*containers] or [None]
    programs = [item for who in places for item in _examine(sandbox, errand, who)]
    return {
        "sandbox": sandbox["name"],
        "where": ", ".join(_place(who, errand) for who in places),
        "ok": all(item["verdict"] == Verdict.TRUSTS for item in programs),
        "programs": programs,
    }


def _examine(sandbox: Mapping[str, Any], errand: Errand, who: Inhabitant | None) -> list[Json]:
    """Ask the programs of one container, or (None) of the host as `sandbox exec` sees it."""
    env = dict(errand.env if who is None else who.env)
    databases = _databases(sandbox, env)

    def work() -> int:
        return probe_all(env, databases)

    def inside() -> int:
        if who is not None:
            work_inside(who, work)
        return enter(replace(errand, work=work))

    found = (_judged(sandbox, answer) for answer in _answers(_output_of(inside)))
    return [{**item, "where": _place(who, errand)} for item in found if item is not None]


def _judged(sandbox: Mapping[str, Any], answer: Json) -> Json | None:
    """What an answer means; None of a library that is not there."""
    program = _BY_NAME[answer["name"]]
    verdict, detail = judge(program, answer["status"], answer["output"])
    if verdict is Verdict.ABSENT:
        return None
    advice = [] if verdict is Verdict.TRUSTS else remedy(program, sandbox, answer["output"])
    return {
        "name": program.name,
        "path": answer["path"],
        "verdict": verdict.value,
        "detail": detail,
        "remedy": advice,
    }


def _place(who: Inhabitant | None, errand: Errand) -> str:
    if who is not None:
        return f"the container of pid {who.pid}"
    return f"the host's files, as user {errand.identity.name}"


def _databases(sandbox: Mapping[str, Any], env: Mapping[str, str]) -> Databases:
    """Where NSS programs of the sandbox look, and what was made for it."""
    own = sandbox["files"]["nss_database"]
    users = tuple(f"{env.get('HOME', '/')}/{name}" for name in USER_NSS)
    return Databases(users, (*map(str, NSS_TARGETS), *([own] if own else [])))


def _output_of(act: Callable[[], int]) -> bytes:
    """What a child says on its stdout while it does `act`.

    Raises:
        HostFailed: it ended without a word; it has said why on stderr.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(act, write)
    os.close(write)
    told = b""
    try:
        with os.fdopen(read, "rb") as stream:
            told = stream.read(MAX_REPORT)
    finally:
        if len(told) >= MAX_REPORT:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0 and not told:
        raise HostFailed(f"the sandbox's programs could not be asked (status {code})")
    return told


def _be_child(act: Callable[[], int], write: int) -> None:
    status = 1
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(write, 1)
        # Nobody can wait for ever: whatever happens inside ends with this process.
        signal.alarm(int(PROGRAM_S * (len(PROGRAMS) + 1)))
        status = act()
    except HostFailed as failure:
        os.write(2, f"netmgr: {failure.message}\n".encode())
    finally:
        os._exit(status)


def _answers(told: bytes) -> list[Json]:
    """The lines of `probe_all`; a last one that was cut short is left out."""
    found = []
    for line in told.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict) and answer.get("name") in _BY_NAME:
            found.append(answer)
    return found
