"""Owns: the cases that look from inside a sandbox: the plain port, another name, the key."""

import os
import secrets
import shlex
from pathlib import Path
from typing import Any, Final

from acceptance.inference.commands import call
from acceptance.inference.model_stage import ModelStage
from acceptance.inference.talk import INSIDE_PYTHON
from acceptance.inference.wire import WAIT_S

HOLDERS: Final = ("main", "proxy")  # the first keeps it, the second sends it

Case = dict[str, Any]

# Searches what a program inside can read: every environment, and in the places that programs write
# to every file that was written since the world began. The key comes spelt backwards: the search
# must not find itself.
SEARCH: Final = r"""
import glob, subprocess, sys
key = sys.argv[1][::-1].encode()
seen = 0
def look(path):
    global seen
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 22)
    except OSError:
        return
    seen += 1
    if key in text:
        print("found in", path)
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
    look(path)
places = ["/run", "/tmp", "/var", "/etc", "/home", "/dev/shm"]
kernel = ["(", "-fstype", "proc", "-o", "-fstype", "sysfs", ")", "-prune", "-o"]
wanted = ["-type", "f", "-newermt", "@" + sys.argv[2], "-print0"]
found = subprocess.run(["find", *places, *kernel, *wanted], capture_output=True).stdout
for path in filter(None, found.split(b"\0")):
    look(path)
print("looked at", seen)
"""


def play_inside(stage: ModelStage, case: Case) -> None:
    """Play the one thing that a case does inside."""
    stage.put_in_force(stage.route("oai"))
    stage.provider.play([])
    if "run" in case:
        check_explained(stage, case)
    elif "tls" in case:
        check_other_name(stage, case)
    else:
        check_key_is_outside(stage)


def check_explained(stage: ModelStage, case: Case) -> None:
    """Plain HTTP is told what to do."""
    done = stage.talker().sandbox.run(*shlex.split(case["run"]))
    assert done.returncode == 0, done.stderr
    assert "https://inference.local" in done.stdout, done.stdout
    assert stage.provider.events == []


def check_other_name(stage: ModelStage, case: Case) -> None:
    """TLS with another name to the address of inference.local."""
    acts = [{"read": {"end": True}, "wait_s": WAIT_S}]
    said = stage.talker().say(acts, tls=case["tls"]["sni"])
    assert said.fails is not None, said
    assert "certificate" not in said.fails, f"the name was served: {said.fails}"
    assert said.seconds < 1, said
    assert stage.provider.events == []


def check_key_is_outside(stage: ModelStage) -> None:
    """The operator's key is in nothing that a program inside can read, nor in any memory there."""
    key = f"sk-op-{secrets.token_hex(16)}"
    began = os.stat(stage.world.netmgrd.socket).st_ctime
    stage.put_in_force(stage.route("oai", key=key))
    said = call(stage)
    assert said.answers[0].status == 200, said
    assert dict(stage.provider.requests[0]["headers"])["authorization"] == f"Bearer {key}"
    sandbox = stage.talker().sandbox
    argv = ["sandbox", "exec", sandbox.name, "--", INSIDE_PYTHON, "-I", "-c", SEARCH]
    # The operator's own shell has the key in its environment, as many have.
    environment = {"OPENAI_API_KEY": key, "NETMGR_TEST_OTHER": "visible"}
    done = stage.world.netmgr(*argv, key[::-1], str(began), env=environment)
    assert done.returncode == 0, done.stderr
    assert "looked at" in done.stdout, done.stdout
    assert "found in" not in done.stdout, done.stdout
    for process in sandbox.namespace.processes():
        assert key.encode() not in memory(process), f"the key is in process {process}"
    check_key_on_host(stage, key)


def check_key_on_host(stage: ModelStage, key: str) -> None:
    """On the host it is in the two kinds of process that need it, and in clear in no file."""
    daemon = stage.world.netmgrd
    processes = daemon.processes()
    assert {"main", "proxy", "dialer", "dns"} <= set(processes.values()), processes
    proxies = [process for process, kind in processes.items() if kind == "proxy"]
    assert any(key.encode() in memory(p) for p in proxies), "this search would not find a key"
    for process, kind in processes.items():
        assert key not in Path(f"/proc/{process}/cmdline").read_text(), kind
        assert key not in Path(f"/proc/{process}/environ").read_text(), kind
        if kind not in HOLDERS:
            assert key.encode() not in memory(process), f"the key is in {kind}, process {process}"
    for path in daemon.directory.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path
    for argv in (["observe"], ["status"], ["inference", "get"]):
        assert key not in stage.netmgr(*argv, "-o", "json").stdout, argv


def memory(process: int) -> bytes:
    """All readable private memory of a process that the tests started."""
    pieces = []
    with Path(f"/proc/{process}/mem").open("rb", 0) as file:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            span, mode, *_ = line.split()
            if "r" not in mode or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            file.seek(start)
            pieces.append(file.read(end - start))
    return b"".join(pieces)
