"""Programs that try to pass for others, from inside, as root with every power over the sandbox.

Each attack wants a connection that only /usr/bin/curl may have. What works is written down too:
`binaries` is no wall between processes of one user (docs/security.md).
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attacks.turned import PRELOADED, REBORN, SILENT, TRACER
from world import Sandbox, World
from world.streams import Server

pytestmark = pytest.mark.root

NAME = "bank.attack.test"
POLICY = f"""\
version: 1
network_policies:
  bank:
    endpoints: [{{host: {NAME}, port: 5432}}]
    binaries: [{{path: /opt/netmgr-attack/good}}]
"""
PYTHON = "/usr/bin/python3"
GOOD = Path("/opt/netmgr-attack/good")
# Connects, and says what came.
CLIENT = f"""
import socket, sys, time
s = socket.create_connection(("{NAME}", 5432), 5)
s.settimeout(5)
s.sendall(b"\\1hello")
print(s.recv(9))
"""


@pytest.fixture
def bank(world: World) -> Server:
    """What the attacker is after."""
    return world.internet.tcp(NAME, 5432, address=world.internet.address())


@pytest.fixture
def box(make_sandbox: Callable[..., Sandbox], bank: Server) -> Iterator[Sandbox]:
    """The sandbox, and the one program that may."""
    GOOD.parent.mkdir(parents=True)
    shutil.copy(Path(PYTHON).resolve(), GOOD)
    yield make_sandbox(POLICY)
    shutil.rmtree(GOOD.parent)


def gets_through(box: Sandbox, *argv: str) -> bool:
    """Whether a program reaches the bank."""
    done = box.enter(*argv)
    assert done.returncode == 0 or "Reset" in done.stderr or "reset" in done.stderr, done.stderr
    return "hello" in done.stdout


def reason(box: Sandbox) -> str:
    """Why the last connection was denied."""
    return str(box.wait_record(lambda r: r["verdict"] == "denied")["reason"])


def test_the_good_program_gets_through(box: Sandbox) -> None:
    assert gets_through(box, str(GOOD), "-c", CLIENT)
    assert not gets_through(box, PYTHON, "-c", CLIENT)
    assert reason(box) == "binary_not_allowed"


def test_a_name_on_the_command_line_is_no_name(box: Sandbox) -> None:
    wrapped = f"exec -a {GOOD} {PYTHON} -c '{CLIENT}'"
    assert not gets_through(box, "bash", "-c", wrapped)


def test_an_impostor_in_a_mount_namespace_of_its_own(box: Sandbox) -> None:
    """The entry point, a shell that waits, sees another file by that name."""
    inner = f"mount --bind {Path(PYTHON).resolve()} {GOOD} && {GOOD} -c '{CLIENT}'"
    done = box.enter("sh", "-c", 'unshare -m sh -c "$0"; true', inner)
    assert "hello" not in done.stdout
    assert reason(box) == "binary_changed"


@pytest.mark.parametrize("over_a_restart", [False, True], ids=["", "over a restart"])
def test_another_content_under_the_same_name(
    world: World, box: Sandbox, over_a_restart: bool
) -> None:
    assert gets_through(box, str(GOOD), "-c", CLIENT)
    if over_a_restart:
        world.netmgrd.kill()
        world.netmgrd.start()
        assert gets_through(box, str(GOOD), "-c", CLIENT)
    changed = GOOD.read_bytes() + b"\0"
    GOOD.unlink()
    GOOD.write_bytes(changed)
    GOOD.chmod(0o755)
    assert not gets_through(box, str(GOOD), "-c", CLIENT)
    assert reason(box) == "binary_changed"


def test_a_deleted_program_is_nobody(box: Sandbox) -> None:
    away = "import os; os.unlink('/opt/netmgr-attack/good')" + CLIENT
    assert not gets_through(box, str(GOOD), "-c", away)
    assert reason(box) in ("binary_changed", "binary_not_allowed")
    shutil.copy(Path(PYTHON).resolve(), GOOD)


def test_a_program_in_memory_alone(box: Sandbox) -> None:
    memory = f"""
import os
fd = os.memfd_create("{GOOD}")
os.write(fd, open("{Path(PYTHON).resolve()}", "rb").read())
os.execve(fd, ["{GOOD}", "-c", {CLIENT!r}], {{}})
"""
    assert not gets_through(box, PYTHON, "-c", memory)
    assert reason(box) == "binary_not_allowed"


def test_two_programs_on_one_socket(box: Sandbox) -> None:
    """A good program holds the socket by inheritance, the bad one connects it."""
    shared = f"""
import os, socket, subprocess, time
s = socket.socket()
s.set_inheritable(True)
good = subprocess.Popen(["{GOOD}", "-c", "import time; time.sleep(4)"], close_fds=False)
time.sleep(0.5)
s.settimeout(5)
s.connect(("{NAME}", 5432))
s.sendall(b"\\1hello")
print(s.recv(9))
"""
    assert not gets_through(box, PYTHON, "-c", shared)
    assert reason(box) == "ambiguous_owner"


def test_exec_before_the_connection_is_seen(box: Sandbox) -> None:
    """The number of the process stays, the program does not."""
    first_good = f"import os; os.execv('{PYTHON}', ['{GOOD}', '-c', {CLIENT!r}])"
    assert not gets_through(box, str(GOOD), "-c", first_good)


def test_exec_after_many_connections_is_seen(box: Sandbox) -> None:
    """A program that is known at once is so until it is another."""
    then = f"""
import os
for _ in range(5):
    exec({CLIENT!r})
os.execv("{PYTHON}", ["{GOOD}", "-c", {CLIENT!r}])
"""
    done = box.enter(str(GOOD), "-c", then)
    assert done.stdout.count("hello") == 5, done.stderr
    assert reason(box) == "binary_not_allowed"


def test_what_a_program_that_may_does_with_its_connection_is_its_own(box: Sandbox) -> None:
    """Documented: after the decision the socket may be passed on, by exec as by SCM_RIGHTS."""
    then_exec = f"""
import os, socket
s = socket.create_connection(("{NAME}", 5432), 5)
s.sendall(b"\\1h")
s.recv(2)
os.set_inheritable(s.fileno(), True)
os.execv("{PYTHON}", ["x", "-c", "import socket; s = socket.socket(fileno=%d); s.settimeout(5); "
    "s.sendall(b'\\1hello'); print(s.recv(9))" % s.fileno()])
"""
    assert gets_through(box, str(GOOD), "-c", then_exec)


def test_code_that_is_loaded_into_a_program_is_that_program(box: Sandbox, tmp_path: Path) -> None:
    """Documented: LD_PRELOAD turns the program that may, and the record names it. It gives nothing
    to one that may not."""
    source, library = tmp_path / "preloaded.c", tmp_path / "preloaded.so"
    source.write_text(PRELOADED)
    build = ["gcc", "-shared", "-fPIC", f'-DNAME="{NAME}"', "-o", str(library), str(source)]
    subprocess.run(build, check=True, timeout=60)
    assert gets_through(box, "env", f"LD_PRELOAD={library}", str(GOOD), "-c", "")
    record = box.wait_record(lambda r: r["kind"] == "connection" and r["verdict"] == "allowed")
    assert record["process"]["exe"] == str(GOOD)
    assert not gets_through(box, "env", f"LD_PRELOAD={library}", PYTHON, "-c", "")
    assert reason(box) == "binary_not_allowed"


def test_a_program_under_ptrace_is_still_that_program(box: Sandbox) -> None:
    """Documented: whoever may trace the program that may, can say where it connects."""
    assert gets_through(box, PYTHON, "-c", TRACER, str(GOOD), "127.0.0.1", NAME)
    record = box.wait_record(lambda r: r["kind"] == "connection" and r["verdict"] == "allowed")
    assert record["process"]["exe"] == str(GOOD)
    assert not gets_through(box, PYTHON, "-c", TRACER, PYTHON, "127.0.0.1", NAME)
    assert reason(box) == "binary_not_allowed"


def test_the_number_of_a_program_that_has_gone_is_worth_nothing(box: Sandbox) -> None:
    """A process is known by its number and the time that it began: see what it is, each time."""
    done = box.enter(PYTHON, "-c", REBORN, str(GOOD), PYTHON, CLIENT)
    assert done.returncode == 0, done.stderr
    word, number, *said = done.stdout.split()
    assert word == "first"
    assert said == ["b'\\x01hello'"], "the first got through, the second said nothing"
    assert "ConnectionReset" in done.stderr
    record = box.wait_record(lambda r: r["verdict"] == "denied")
    assert record["reason"] == "binary_not_allowed"
    assert record["process"]["pid"] == int(number)
    assert record["process"]["exe"] == str(Path(PYTHON).resolve())


def test_a_file_system_that_never_answers_makes_nobody_wait(box: Sandbox) -> None:
    """A program of the sandbox serves the directory in which the list's program is looked for."""
    argv = ["unshare", "-Urm", PYTHON, "-c", SILENT, str(GOOD.parent), NAME]
    with box.start(*argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as silent:
        try:
            assert silent.stdout is not None
            assert [silent.stdout.readline() for _ in "ab"] == ["connected\n", "reset\n"]
            assert gets_through(box, str(GOOD), "-c", CLIENT)
        finally:
            silent.kill()


def test_a_change_of_the_list_cuts_who_is_not_in_it(box: Sandbox) -> None:
    held = f"""
import socket, sys
s = socket.create_connection(("{NAME}", 5432), 5)
s.sendall(b"\\1h"); s.recv(2)
print("open", flush=True)
s.settimeout(20)
try:
    print("cut" if not s.recv(1) else "?")
except OSError:
    print("cut")
"""
    process = box.start(str(GOOD), "-c", held, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    box.policy(POLICY.replace(str(GOOD), "/usr/bin/curl"))
    assert process.communicate(timeout=20)[0] == "cut\n"
    assert process.returncode == 0


def test_an_address_that_is_no_longer_listed_is_cut(box: Sandbox) -> None:
    held = f"""
import socket
s = socket.create_connection(("{NAME}", 5432), 5)
s.sendall(b"\\1h"); s.recv(2)
print("open", flush=True)
s.settimeout(20)
try:
    print("cut" if not s.recv(1) else "?")
except OSError:
    print("cut")
"""
    listed = POLICY.replace("port: 5432", 'port: 5432, allowed_ips: ["%s"]')
    box.policy(listed % "203.0.113.0/24")  # the internet of the world
    process = box.start(str(GOOD), "-c", held, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    box.policy(listed % "10.99.0.0/24")
    assert process.communicate(timeout=20)[0] == "cut\n"
    record = box.wait_record(lambda r: r["reason"] == "address_blocked")
    assert "no longer lets" in record["message"]
