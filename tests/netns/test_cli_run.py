"""`netmgr run` from nothing: a private daemon, a sandbox, a command, and nothing left of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

DEADLINE_S = 60.0


@pytest.fixture
def host() -> Iterator[str]:
    """A network namespace that is "the host": nothing can leave it."""
    name = f"t{os.getpid()}xhost{time.monotonic_ns() % 100000}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where private daemons put their directories; their users must be able to get there."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_mode & 0o011 != 0o011 and directory.is_relative_to("/tmp"):
            directory.chmod(0o711)
    return tmp_path


def words(host: str, *command: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{host}", sys.executable, "-m", "netmgr_cli", *command]


def environment(place: Path) -> dict[str, str]:
    room = os.pathsep.join(p for p in sys.path if p)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NETMGR_", "SUDO_"))}
    return {**kept, "PYTHONPATH": room, "TMPDIR": str(place)}


def run(host: str, place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(host, "run", *command), env=environment(place), capture_output=True, text=True,
        timeout=DEADLINE_S, stdin=subprocess.DEVNULL, check=False, cwd="/",
    )  # fmt: skip


def private_namespaces() -> set[str]:
    return {path.name for path in Path("/run/netns").glob("run*-*")}


def test_the_whole_way(host: str, place: Path) -> None:
    before = private_namespaces()
    script = (
        "cat /etc/resolv.conf; getent hosts inference.local; getent hosts nothing.example;"
        "echo name=$?; curl -sS -m 10 -o /dev/null -w '%{http_code}' https://inference.local/v1/x;"
        "echo; ls -A /run; exit 5"
    )
    done = run(host, place, "--allow", "api.example", "--", "sh", "-c", script)
    assert done.returncode == 5, done.stderr
    assert "nameserver 169.254.77.1" in done.stdout
    assert "inference.local" in done.stdout
    assert "name=2" in done.stdout
    assert done.stderr == ""  # curl trusts the sandbox's authority without being told
    assert done.stdout.splitlines()[-1] == "403", "nothing is in /run"
    assert private_namespaces() == before
    assert list(place.iterdir()) == []


def test_bad_words_leave_nothing(host: str, place: Path) -> None:
    before = private_namespaces()
    done = run(host, place, "--allow", "no host", "--", "true")
    assert done.returncode == 2
    assert "no host" in done.stderr
    assert private_namespaces() == before
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_and_everything_with_it(
    host: str, place: Path, number: signal.Signals
) -> None:
    before = private_namespaces()
    with subprocess.Popen(
        words(host, "run", "--", "sh", "-c", "echo ready; exec sleep 300"),
        env=environment(place), stdout=subprocess.PIPE, text=True, cwd="/",
    ) as outer:  # fmt: skip
        assert outer.stdout is not None
        assert outer.stdout.readline() == "ready\n"
        outer.send_signal(number)
        assert outer.wait(DEADLINE_S) == 128 + number
    assert private_namespaces() == before
    assert list(place.iterdir()) == []


def test_a_signal_while_the_daemon_starts(host: str, place: Path) -> None:
    before = private_namespaces()
    with subprocess.Popen(
        words(host, "run", "--", "true"), env=environment(place), cwd="/"
    ) as outer:
        deadline = time.monotonic() + DEADLINE_S
        while not list(place.glob("netmgr-run-*/log")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        outer.send_signal(signal.SIGTERM)
        assert outer.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert list(place.iterdir()) == []
    assert private_namespaces() == before


def test_two_at_once(host: str, place: Path) -> None:
    both = [
        subprocess.Popen(
            words(host, "run", "--", "sh", "-c", "ip -br addr show dev eth0; sleep 1"),
            env=environment(place), stdout=subprocess.PIPE, text=True, cwd="/",
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        out, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
        assert "eth0" in out
    assert list(place.iterdir()) == []
