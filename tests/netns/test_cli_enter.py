"""What a command in a sandbox can reach of the host: each test tries one way out, on the kernel."""

import contextlib
import ctypes
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs uid 0"),
]

PYTHON = "/usr/bin/python3"  # the system's: the test's own may lie where nobody cannot go
DEADLINE_S = 20.0
ROOM = [str(Path(p).resolve()) for p in sys.path if p]

LAUNCH = """
import sys, json
sys.path[:0] = json.loads(sys.argv[1])
from netmgr.errors import NetmgrError
from netmgr_cli.enter import Errand, enter
from netmgr_cli.identity import choose_identity
box = json.loads(sys.argv[2])
try:
    errand = Errand.into(box, tuple(sys.argv[4:]), choose_identity(sys.argv[3] or None),
                         hide={"MY_PROVIDER_KEY"})
    sys.exit(enter(errand))
except NetmgrError as error:
    print("netmgr:", error.message, file=sys.stderr)
    sys.exit(error.exit_status)
"""


@dataclass(frozen=True)
class Box:
    """A throw-away sandbox: a namespace and the files that the daemon would have written."""

    name: str
    root: Path

    @property
    def run_dir(self) -> Path:
        return self.root / "run" / "sandboxes" / "demo"

    def argv(self, *command: str, user: str = "", netns: str | None = None) -> list[str]:
        about = {
            "netns": netns or f"/run/netns/{self.name}",
            "run_dir": str(self.run_dir),
            "env": {"SSL_CERT_FILE": str(self.run_dir / "ca-bundle.pem")},
        }
        return [sys.executable, "-c", LAUNCH, json.dumps(ROOM), json.dumps(about), user, *command]

    def run(
        self, *command: str, user: str = "", **more: object
    ) -> subprocess.CompletedProcess[str]:
        words: dict[str, object] = {"stdin": subprocess.DEVNULL, "cwd": "/", **more}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            self.argv(*command, user=user), capture_output=True, text=True, timeout=60, **words
        )

    def sh(
        self, script: str, *, user: str = "", **more: object
    ) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "-c", script, user=user, **more)

    def python(self, code: str, *, user: str = "", **more: object) -> str:
        """What `code` prints, run inside."""
        done = self.run(PYTHON, "-I", "-c", code, user=user, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def box() -> Iterator[Box]:
    name = f"t{os.getpid()}xcli{time.monotonic_ns() % 100000}"
    root = Path(tempfile.mkdtemp(prefix=name))
    root.chmod(0o755)
    made = Box(name, root)
    made.run_dir.mkdir(parents=True)
    (root / "bundle").write_text("THE BUNDLE\n")
    for file, text in {
        "resolv.conf": "nameserver 169.254.77.1\n",
        "hosts": "127.0.0.1 localhost\n198.18.0.1 inference.local\n",
        "ca.pem": "THE CA\n",
        "env": "A=B\n",
    }.items():
        (made.run_dir / file).write_text(text)
    (made.run_dir / "ca-bundle.pem").symlink_to(root / "bundle")  # as the daemon does it
    (made.run_dir / "private-note").write_text("not for inside\n")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield made
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
        shutil.rmtree(root)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[None]:
    """A unix socket of the host's that everyone may connect to."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o777)
        server.listen()
        try:
            yield
        finally:
            path.unlink()


def connect_code(path: Path) -> str:
    return (
        "import socket\ns = socket.socket(socket.AF_UNIX)\n"
        f"try:\n    s.connect({str(path)!r}); print('connected')\n"
        "except OSError as e: print(type(e).__name__)"
    )


# -- unix sockets --------------------------------------------------------------------------------


def test_no_socket_below_run_is_there(box: Box) -> None:
    path = Path(f"/run/{box.name}.sock")
    with listening(path):
        assert box.python(connect_code(path)) == "FileNotFoundError"
        assert box.python(connect_code(path), user="root") == "FileNotFoundError"


def test_a_socket_elsewhere_is_covered(box: Box) -> None:
    path = box.root / "agent.sock"
    with listening(path):
        assert box.python(connect_code(path)) == "ConnectionRefusedError"
        assert box.python(connect_code(path), user="root") == "ConnectionRefusedError"


def test_an_abstract_socket_of_the_host_is_not_there(box: Box) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{box.name}")
        server.listen()
        code = connect_code(Path("x")).replace("'x'", repr(f"\0{box.name}"))
        assert box.python(code) == "ConnectionRefusedError"


def test_run_is_empty(box: Box) -> None:
    assert box.sh("ls -A /run").stdout.split() == []


def test_a_working_directory_below_run_is_no_way_back(box: Box) -> None:
    here = Path(f"/run/{box.name}.d")
    here.mkdir()
    try:
        done = box.sh("pwd; ls ..", cwd=str(here))
        assert done.stdout.splitlines()[0] == "/"
        assert box.name not in done.stdout
    finally:
        here.rmdir()


def test_other_files_of_the_run_directory_are_hidden(box: Box) -> None:
    done = box.sh(f"ls {box.run_dir}; ls {box.root}/run")
    assert sorted(done.stdout.split()) == [
        "ca-bundle.pem", "ca.pem", "env", "hosts", "resolv.conf", "sandboxes",
    ]  # fmt: skip


def test_the_state_of_every_instance_is_hidden(box: Box) -> None:
    state = Path(f"/var/lib/netmgr-{box.name}")
    state.mkdir()
    try:
        (state / "vault.key").write_text("secret")
        assert box.sh(f"cat {state}/vault.key", user="root").returncode == 1
    finally:
        shutil.rmtree(state)


# -- processes -----------------------------------------------------------------------------------


def test_proc_shows_only_own_processes(box: Box) -> None:
    pids = box.python("import os; print(*[p for p in os.listdir('/proc') if p.isdigit()])")
    assert pids.split() == ["1", "2"]


@pytest.mark.parametrize("user", ["", "root"])
def test_init_tells_nothing(box: Box, user: str) -> None:
    code = (
        "import os\n"
        "def try_to(look, path):\n"
        "    try: look(f'/proc/1/{path}'); print('open', path)\n"
        "    except OSError: pass\n"
        "for path in ('environ', 'mem', 'maps', 'ns/net'): try_to(open, path)\n"
        "for path in ('root', 'cwd', 'exe', 'ns/net', 'fd/0', 'fd/1', 'fd/3', 'fd/4'):\n"
        "    try_to(os.readlink, path)"
    )
    assert box.python(code, user=user, env={**os.environ, "HIDDEN": "value"}) == ""


@pytest.mark.parametrize("user", ["", "root"])
def test_init_cannot_be_traced(box: Box, user: str) -> None:
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.ptrace(16, 1, 0, 0), ctypes.get_errno())"
    )
    assert box.python(code, user=user) == "-1 1"


def test_a_host_process_cannot_be_signalled(box: Box) -> None:
    code = f"import os\ntry: os.kill({os.getpid()}, 0)\nexcept ProcessLookupError: print('gone')"
    assert box.python(code, user="root") == "gone"


def test_orphans_are_reaped_and_end_with_the_command(box: Box) -> None:
    mark = f"4{os.getpid()}"
    done = box.sh(f"(sh -c 'sleep 0.05' &); sleep {mark} & sleep 0.3; ls -d /proc/[0-9]*")
    assert done.returncode == 0
    assert not processes_with(mark)


def test_everything_ends_with_netmgr(box: Box) -> None:
    mark = f"5{os.getpid()}"
    with subprocess.Popen(box.argv("sh", "-c", f"setsid sleep {mark} & sleep {mark}")) as outer:
        wait_for(lambda: len(processes_with(mark)) >= 2)
        outer.kill()
    wait_for(lambda: not processes_with(mark))


def processes_with(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if words[:2] == [b"sleep", word.encode()]:
                found.append(path.parent.name)
    return found


def wait_for(holds: object) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


# -- privileges ----------------------------------------------------------------------------------


def status_of(box: Box, user: str) -> dict[str, str]:
    text = box.run("cat", "/proc/self/status", user=user).stdout
    return {
        key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())
    }


def test_nobody_has_no_privilege(box: Box) -> None:
    status = status_of(box, "")
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Groups"] == "65534"
    assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_root_keeps_a_few_harmless_capabilities(box: Box) -> None:
    from netmgr.process.confine import CAPABILITIES
    from netmgr_cli.enter import KEPT_CAPABILITIES

    status = status_of(box, "root")
    expected = sum(1 << CAPABILITIES.index(name) for name in KEPT_CAPABILITIES)
    assert {int(status[key], 16) for key in ("CapPrm", "CapEff", "CapBnd")} == {expected}
    assert {status[key] for key in ("CapInh", "CapAmb")} == {"0" * 16}


def test_sudo_uid_is_taken_only_where_no_user_is_named(box: Box) -> None:
    environ = {**os.environ, "SUDO_UID": "1"}
    assert box.run("id", "-u", env=environ).stdout.strip() == "1"
    assert box.run("id", "-u", env={**environ, "SUDO_UID": "0"}).stdout.strip() == "65534"
    assert box.run("id", "-u", env=environ, user="root").stdout.strip() == "0"


def test_a_setuid_program_gains_nothing(box: Box) -> None:
    program = box.root / "id-of-root"
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    assert box.run(str(program), "-u").stdout.strip() == "65534"


SETNS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for kind in ("net", "mnt", "pid", "ipc"):
    fd = os.open(f"/proc/self/ns/{kind}", os.O_RDONLY)
    print(libc.setns(fd, 0), ctypes.get_errno())
"""


@pytest.mark.parametrize("user", ["", "root"])
def test_no_namespace_can_be_joined(box: Box, user: str) -> None:
    assert set(box.python(SETNS, user=user).splitlines()) == {"-1 1"}


def test_what_is_refused_below_is_refused_for_its_own_reason(box: Box) -> None:
    """The tools are there, and a user namespace can be had: the refusals are not for lack of it.
    (As root it cannot be had with a map: that takes CAP_SETFCAP, user_namespaces(7).)"""
    for tool in ("mount", "umount", "unshare", "ip", "chroot", "hostname", "mknod"):
        assert box.sh(f"command -v {tool}").returncode == 0
    done = box.sh("unshare --user --map-root-user --mount mount -t tmpfs none /mnt")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("user", ["", "root"])
@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /mnt",
        "umount /run",
        "umount -l /proc",
        "mount -o remount,bind,rw /proc/sys",
        "unshare --net true",
        "unshare --user --map-root-user --mount umount /run",
        "unshare --user --map-root-user --mount mount -o remount,bind,rw /proc/sys",
        "unshare --user --map-root-user --mount mount -o remount,bind,rw /etc/resolv.conf",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "echo 1 > /proc/sys/kernel/printk",
        "echo h > /proc/sysrq-trigger",
        "echo 1 > /proc/irq/default_smp_affinity",
        "touch /sys/kernel/x",
        "echo evil > /etc/resolv.conf",
        "echo evil > /etc/hosts",
        "echo evil > /etc/ssl/certs/ca-certificates.crt",
        "echo evil > /etc/nsswitch.conf",
        "ip link add t type dummy",
        "ip addr add 192.0.2.1/24 dev lo",
        "ip link set lo up",
        "iptables-legacy -L",
        "chroot / true",
        "hostname evil",
        "mknod /tmp/cli-test-node b 1 1",
    ],
)
def test_is_refused(box: Box, user: str, command: str) -> None:
    done = box.sh(command, user=user)
    assert done.returncode != 0, done.stdout


# -- sockets of other kinds ----------------------------------------------------------------------

SOCKETS = """
import errno, socket
KINDS = ((40, 1, 0), (17, 3, 0), (38, 5, 0), (31, 3, 0), (1, 1, 0), (2, 1, 0), (10, 1, 0),
         (16, 3, 0), (2, 3, 1))
for family, kind, protocol in KINDS:
    try:
        socket.socket(family, kind, protocol).close(); print(family, "made")
    except OSError as error:
        print(family, errno.errorcode[error.errno])
"""


@pytest.mark.parametrize("user", ["", "root"])
def test_only_ip_unix_and_netlink_sockets_can_be_made(box: Box, user: str) -> None:
    assert box.python(SOCKETS, user=user).splitlines() == [
        "40 EAFNOSUPPORT",  # AF_VSOCK: namespaces do not hold it
        "17 EAFNOSUPPORT",  # AF_PACKET
        "38 EAFNOSUPPORT",  # AF_ALG
        "31 EAFNOSUPPORT",  # AF_BLUETOOTH
        "1 made",
        "2 made",
        "10 made",
        "16 made",
        "2 EPERM",  # SOCK_RAW, ICMP
    ]


def test_io_uring_is_not_there(box: Box) -> None:
    code = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.syscall(425, 8, ctypes.create_string_buffer(120)), ctypes.get_errno())"
    )
    assert box.python(code, user="root") == "-1 38"


def test_the_network_is_the_sandboxs(box: Box) -> None:
    inside = box.run("readlink", "/proc/self/ns/net").stdout
    assert inside != os.readlink("/proc/self/ns/net")
    assert box.sh("ls /sys/class/net").stdout.split() == ["lo"]


# -- shared memory, queues, keys -----------------------------------------------------------------


def test_shared_memory_is_its_own(box: Box) -> None:
    path = Path(f"/dev/shm/{box.name}")
    path.write_text("host")
    try:
        assert box.sh("ls -A /dev/shm").stdout == ""
    finally:
        path.unlink()


def test_system_v_ipc_is_its_own(box: Box) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(0, 4096, 0o1666)
    assert segment >= 0
    try:
        code = (
            "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
            f"print(libc.shmget(0x7777, 1, 0), libc.shmctl({segment}, 2, "
            "ctypes.create_string_buffer(256)))"
        )
        assert box.python(code) == "-1 -1"
    finally:
        libc.shmctl(segment, 0, None)


def test_the_callers_session_keys_stay_outside(box: Box) -> None:
    keyed = (
        "import ctypes, os, sys; libc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.syscall(250, 1, None)\n"  # KEYCTL_JOIN_SESSION_KEYRING: not the test's own
        "assert libc.syscall(248, b'user', b'netmgr-test', b'x', 1, -3) > 0\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    find = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.syscall(249, b'user', b'netmgr-test', None, 0), ctypes.get_errno())"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of system calls are those of x86_64")
    control = subprocess.run(
        [PYTHON, "-c", keyed, PYTHON, "-c", find], capture_output=True, text=True, check=False
    )
    if control.returncode != 0 or control.stdout.startswith("-1"):
        pytest.skip("this kernel has no keyrings")
    words = box.argv(PYTHON, "-c", find, user="root")
    done = subprocess.run([PYTHON, "-c", keyed, *words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "-1 126"  # ENOKEY


# -- files, descriptors, environment -------------------------------------------------------------


def test_names_and_trust_are_the_sandboxs(box: Box) -> None:
    before = Path("/etc/resolv.conf").read_bytes()
    assert box.run("cat", "/etc/resolv.conf").stdout == "nameserver 169.254.77.1\n"
    assert "198.18.0.1 inference.local" in box.run("cat", "/etc/hosts").stdout
    assert "\nhosts: files dns\n" in box.run("cat", "/etc/nsswitch.conf").stdout
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    assert box.run("cat", bundle).stdout == "THE BUNDLE\n"
    assert box.sh("cat $SSL_CERT_FILE").stdout == "THE BUNDLE\n"
    assert Path("/etc/resolv.conf").read_bytes() == before
    assert "THE BUNDLE" not in Path(bundle).read_text()


def test_the_hosts_mounts_are_as_before(box: Box) -> None:
    def mounts() -> list[str]:
        lines = Path("/proc/self/mounts").read_text().splitlines()
        return [line for line in lines if not line.startswith("nsfs ")]  # other tests' namespaces

    before = mounts()
    box.run("true")
    assert mounts() == before


def test_a_missing_file_of_the_sandbox_starts_nothing(box: Box) -> None:
    (box.run_dir / "hosts").unlink()
    done = box.run("echo", "started")
    assert (done.returncode, done.stdout) == (1, "")
    assert "hosts is missing" in done.stderr


def test_no_descriptor_is_inherited(box: Box) -> None:
    reader, writer = os.pipe()
    try:
        done = box.run(
            PYTHON, "-c", "import os; print(sorted(os.listdir('/proc/self/fd')))",
            pass_fds=(reader, writer),
        )  # fmt: skip
        assert done.stdout.strip() == "['0', '1', '2', '3']"  # 3 is the listing itself
    finally:
        os.close(reader)
        os.close(writer)


def test_closed_descriptors_are_not_taken_by_ours(box: Box) -> None:
    note = box.root / "note"
    note.touch()
    note.chmod(0o666)
    script = f"readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 > {note}"
    subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *box.argv("sh", "-c", script)],
        timeout=60, check=True, cwd="/",
    )  # fmt: skip
    assert note.read_text().split() == ["/dev/null", str(note), "/dev/null"]


def test_the_environment_leads_nowhere(box: Box) -> None:
    host = {
        "PATH": os.environ["PATH"], "SSH_AUTH_SOCK": "x", "DISPLAY": ":0", "WAYLAND_DISPLAY": "x",
        "DBUS_SESSION_BUS_ADDRESS": "x", "XDG_RUNTIME_DIR": "x", "http_proxy": "x",
        "HTTPS_PROXY": "x", "no_proxy": "x", "NOTIFY_SOCKET": "x", "SUDO_USER": "x",
        "DOCKER_HOST": "x", "MY_PROVIDER_KEY": "secret", "KEPT": "yes", "HOME": "/root",
        "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    inside = dict(line.split("=", 1) for line in box.run("env", env=host).stdout.splitlines())
    assert inside == {
        "PATH": host["PATH"], "LC_ALL": "C.UTF-8", "KEPT": "yes", "HOME": "/nonexistent",
        "USER": "nobody",
        "LOGNAME": "nobody", "SHELL": "/bin/sh",
        "SSL_CERT_FILE": str(box.run_dir / "ca-bundle.pem"),
    }  # fmt: skip


# -- status, signals, terminal -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ],
)
def test_the_status_is_the_commands(box: Box, script: str, status: int) -> None:
    assert box.sh(script).returncode == status


def test_what_cannot_be_executed(box: Box) -> None:
    assert box.run("no-such-command").returncode == 127
    assert box.run("/no/such/command").returncode == 127
    assert box.run("/etc/passwd").returncode == 126


def test_output_and_input_pass(box: Box) -> None:
    done = subprocess.run(
        box.argv("sh", "-c", "cat; echo error >&2"),
        input="typed", capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("typed", "error\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_command(box: Box, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo caught; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(box.argv("sh", "-c", script), stdout=subprocess.PIPE, text=True) as outer:
        assert outer.stdout is not None
        try:
            assert outer.stdout.readline() == "ready\n"
            outer.send_signal(number)
            assert outer.stdout.read() == "caught\n"
            assert outer.wait(DEADLINE_S) == 9
        finally:
            outer.kill()


def test_signals_that_come_one_upon_the_other_are_all_passed_on(box: Box) -> None:
    """Each while process 1 may be on its way from handling the one before to its next wait."""
    script = "trap 'echo caught' USR1; echo ready; while :; do sleep 0.01; done"
    with subprocess.Popen(box.argv("sh", "-c", script), stdout=subprocess.PIPE, text=True) as outer:
        assert outer.stdout is not None
        try:
            assert outer.stdout.readline() == "ready\n"
            for _ in range(100):
                outer.send_signal(signal.SIGUSR1)
                assert outer.stdout.readline() == "caught\n"
        finally:
            outer.kill()


def test_a_caller_that_ignores_its_childrens_end_learns_the_status(box: Box) -> None:
    done = subprocess.run(
        box.argv("sh", "-c", "sh -c 'exit 4'; exit $?"), timeout=60, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 4


def test_broken_pipes_are_the_commands_business(box: Box) -> None:
    """Python ignores SIGPIPE; a command that inherited that would run on for ever."""
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -n 1', "sh", *box.argv("yes")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "y\n"


@pytest.mark.parametrize("path", ["/proc/self/ns/net", "/etc/hostname", "/dev/null", "/no/such"])
def test_only_another_network_namespace_is_entered(box: Box, path: str) -> None:
    done = subprocess.run(
        box.argv("echo", "started", netns=path), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode in (1, 2, 3)
    assert done.stdout == ""
    assert done.stderr.startswith("netmgr:")


class Terminal:
    """A terminal with netmgr in its foreground, as a person has it."""

    def __init__(self, words: list[str]) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir("/")
            os.execv(words[0], words)
        self.text = b""

    def until(self, wanted: bytes) -> bytes:
        deadline = time.monotonic() + DEADLINE_S
        while wanted not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096)
                except OSError:
                    break
        assert wanted in self.text, self.text
        seen, self.text = self.text, b""
        return seen

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def status(self) -> int:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.master, 4096)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.master)
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"still running: {self.text!r}")


def test_the_terminal_is_the_sandboxs_own(box: Box) -> None:
    terminal = Terminal(box.argv("sh", "-c", "tty; ls -l /dev/pts; exit 3"))
    text = terminal.until(b"ptmx")
    assert b"/dev/pts/0\r\n" in text
    assert text.count(b"crw--w----") == 1  # one terminal: its own
    assert terminal.status() == 3


def test_control_c_reaches_the_command_and_not_netmgr(box: Box) -> None:
    script = "trap 'echo caught' INT; echo ready; while read line; do echo got $line; done; exit 4"
    terminal = Terminal(box.argv("sh", "-c", script))
    terminal.until(b"ready")
    terminal.type(b"\x03")
    terminal.until(b"caught")
    terminal.type(b"\x04")
    assert terminal.status() in (4, 130), terminal.text


def test_control_c_ends_a_plain_command(box: Box) -> None:
    terminal = Terminal(box.argv("sh", "-c", "echo ready; exec sleep 300"))
    terminal.until(b"ready")
    terminal.type(b"\x03")
    assert terminal.status() == 130


def test_the_size_of_the_terminal_follows(box: Box) -> None:
    terminal = Terminal(box.argv("sh", "-c", "echo ready; while read x; do stty size; done"))
    terminal.until(b"ready")
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, b"\x21\x00\x63\x00\0\0\0\0")
    time.sleep(0.2)
    terminal.type(b"\n")
    terminal.until(b"33 99")
    terminal.type(b"\x04")
    terminal.status()


def test_nothing_can_be_typed_into_the_hosts_terminal(box: Box) -> None:
    inject = (
        "import fcntl, termios\n"
        "for fd in (0, 1, 2):\n"
        "    for c in b'echo pwned\\n':\n"
        "        try: fcntl.ioctl(fd, termios.TIOCSTI, bytes([c]))\n"
        "        except OSError: pass\n"
        "print('tried')"
    )
    words = box.argv(PYTHON, "-c", inject)
    shell = (
        "import subprocess, sys, select\n"
        "subprocess.run(sys.argv[1:])\n"
        "print('left', bool(select.select([0], [], [], 0.5)[0]))"
    )
    terminal = Terminal([sys.executable, "-c", shell, *words])
    terminal.until(b"tried")
    terminal.until(b"left False")
    terminal.status()


def test_a_large_paste_passes_whole(box: Box) -> None:
    terminal = Terminal(box.argv("sh", "-c", "stty raw -echo; echo ready; head -c 200000 | md5sum"))
    terminal.until(b"ready")
    data = b"0123456789" * 20000
    sent = 0
    os.set_blocking(terminal.master, False)
    deadline = time.monotonic() + DEADLINE_S
    while sent < len(data) and time.monotonic() < deadline:
        select.select([], [terminal.master], [], 0.1)
        with contextlib.suppress(BlockingIOError):
            sent += os.write(terminal.master, data[sent : sent + 4096])
    import hashlib

    os.set_blocking(terminal.master, True)
    terminal.until(hashlib.md5(data).hexdigest().encode())
    assert terminal.status() == 0
