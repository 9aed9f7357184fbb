"""Owns: what every test in the machine does: run commands, wait, look at the service.

Plain subprocesses on purpose: the machine is used as its operator uses it.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path("/srv/netmgr")
PYTHON = "/opt/netmgr/venv/bin/python"
KEY = "sk-operator-of-the-machine"
MODEL_PORT = 9100
SLOW = 300.0  # seconds for anything: the machine may be emulated, on a host that is busy
INSTALL = 1800.0  # seconds for pip and its forty distributions there


def run(
    *command: str, check: bool = True, text: str | None = None, timeout: float = SLOW
) -> subprocess.CompletedProcess[str]:
    """A command of root's, its output captured."""
    done = subprocess.run(
        command,
        input=text or "",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
        },
    )
    if check:
        said = f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{' '.join(command)} gave {done.returncode}:\n{said}"
    return done


def netmgr(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The command as it was installed."""
    return run("netmgr", *words, check=check)


def as_user(user: str, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of an ordinary user's, with the groups that it has now."""
    return run("runuser", "-u", user, "--", *command, check=False)


def shown(*words: str) -> Any:
    """What a command says in JSON."""
    return json.loads(netmgr(*words, "-o", "json").stdout)


def wait_for(what: str, holds: Callable[[], bool], seconds: float = SLOW) -> None:
    """Wait until something holds, or fail with its name."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what} does not come to hold within {seconds:g} s"
        time.sleep(0.5)


# -- the service -----------------------------------------------------------------------------


def unit(key: str) -> str:
    """A property of the unit, as systemd shows it."""
    return run("systemctl", "show", "netmgr", "--property", key, "--value").stdout.strip()


def main_pid() -> int:
    """The daemon's process; 0 while there is none."""
    return int(unit("MainPID"))


def signal_daemon(number: signal.Signals) -> int:
    """Send the daemon a signal; the process that it was."""
    pid = main_pid()
    assert pid, "no daemon runs"  # kill(2) with 0 would mean this test and its shell
    os.kill(pid, number)
    return pid


def answers() -> bool:
    """Whether the daemon answers."""
    return netmgr("status", check=False).returncode == 0


def install() -> None:
    """What the README says, from the project's folder; installs or upgrades."""
    run("make", "-C", str(PROJECT), "install", timeout=INSTALL)


def ensure_service() -> None:
    """Installed, started, answering."""
    if not Path("/usr/local/bin/netmgr").exists():
        install()
    run("systemctl", "enable", "--now", "netmgr")
    wait_for("the daemon's answer", answers)


def fetch(sandbox: str, url: str, *more: str) -> subprocess.CompletedProcess[str]:
    """curl inside a sandbox: the body, and the status in the last line."""
    words = ("curl", "-sS", "-m", "60", "-w", "\n%{http_code}", *more, url)
    return netmgr("sandbox", "exec", sandbox, "--", *words, check=False)


def status_of(sandbox: str, url: str, *more: str) -> str:
    """The HTTP status that a sandbox gets; 000 where nothing answers."""
    return fetch(sandbox, url, *more).stdout.rsplit("\n", 1)[-1]


@contextmanager
def model_server() -> Iterator[str]:
    """A scripted model on this machine's loopback; its address."""
    address = f"http://127.0.0.1:{MODEL_PORT}"
    server = subprocess.Popen(
        [PYTHON, "-I", "-m", "netmgr.testing.model_server", "--port", str(MODEL_PORT)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for("the model", lambda: run("curl", "-s", address, check=False).returncode == 0)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def route_to_model(address: str) -> None:
    """The operator's provider and the route to it, whatever stood before."""
    netmgr("provider", "delete", "local", "--force", check=False)
    words = ("--name", "local", "--type", "openai", "--config", f"OPENAI_BASE_URL={address}/v1")
    run("netmgr", "provider", "create", *words, "--credential", "OPENAI_API_KEY=-", text=KEY)
    netmgr("inference", "set", "--provider", "local", "--model", "operators-choice")


CHAT = ("-H", "content-type: application/json", "-d", '{"model":"any","messages":[]}')


def asks_model(sandbox: str) -> bool:
    """Whether a call of a sandbox reaches the model, rewritten."""
    answer = fetch(sandbox, "https://inference.local/v1/chat/completions", *CHAT)
    return answer.stdout.endswith("\n200") and "operators-choice" in answer.stdout
