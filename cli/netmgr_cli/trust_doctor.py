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
from netmgr_cli.container import find_inhabitant, work_inside
from netmgr_cli.enter import Errand, enter
from netmgr_cli.scenery import USER_NSS
from netmgr_cli.trust_probe import PROGRAM_S, probe_all
from netmgr_cli.trust_programs import PROGRAMS, Verdict, judge, remedy

MAX_REPORT: Final = 4 * 1024 * 1024  # bytes: each program's is bounded, and their number

Json = dict[str, Any]


def examine(sandbox: Mapping[str, Any], errand: Errand) -> Json:
    """Ask every program in a sandbox.

    Args:
        sandbox: the API's sandbox object.
        errand: how `sandbox exec` would run a command in it.

    Returns:
        {sandbox, where, ok, programs: [{name, path, verdict, detail, remedy}]}.

    Raises:
        HostFailed: the sandbox could not be entered.
    """
    who = find_inhabitant(Path(sandbox["netns"])) if sandbox["attached"] else None
    env = dict(errand.env if who is None else who.env)
    databases = _databases(sandbox, env)

    def work() -> int:
        return probe_all(env, databases)

    def inside() -> int:
        if who is not None:
            work_inside(who, work)
        return enter(replace(errand, work=work))

    answers = _answers(_output_of(inside))
    by_name = {program.name: program for program in PROGRAMS}
    found = []
    for answer in answers:
        program = by_name[answer["name"]]
        verdict, detail = judge(program, answer["status"], answer["output"])
        if verdict is Verdict.ABSENT:
            continue
        advice = [] if verdict is Verdict.TRUSTS else remedy(program, sandbox, answer["output"])
        found.append(
            {"name": program.name, "path": answer["path"], "verdict": verdict.value,
             "detail": detail, "remedy": advice}
        )  # fmt: skip
    return {
        "sandbox": sandbox["name"],
        "where": _place(who.pid if who else None, errand),
        "ok": all(item["verdict"] == Verdict.TRUSTS for item in found),
        "programs": found,
    }


def _place(pid: int | None, errand: Errand) -> str:
    if pid is not None:
        return f"the container of pid {pid}"
    return f"the host's files, as user {errand.identity.name}"


def _databases(sandbox: Mapping[str, Any], env: Mapping[str, str]) -> tuple[str, ...]:
    """Where NSS programs of the sandbox look, and what was made for it."""
    own = sandbox["files"]["nss_database"]
    places = [f"{env.get('HOME', '/')}/{USER_NSS}", *map(str, NSS_TARGETS)]
    return (*places, own) if own else tuple(places)


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
    known = {program.name for program in PROGRAMS}
    found = []
    for line in told.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict) and answer.get("name") in known:
            found.append(answer)
    return found
