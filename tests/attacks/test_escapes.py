"""Ways out that are not packets: what a command inside can see and open of the host.

Commands run as `netmgr sandbox exec` starts them, as nobody and as root.
"""

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from world import Sandbox, World

pytestmark = pytest.mark.root

PYTHON = "/usr/bin/python3"
KEPT_FROM_ROOT = (
    "sys_admin sys_ptrace sys_module net_admin net_raw dac_read_search bpf perfmon sys_rawio"
)
CAPABILITY = {
    "dac_read_search": 2,
    "net_admin": 12,
    "net_raw": 13,
    "sys_module": 16,
    "sys_rawio": 17,
    "sys_ptrace": 19,
    "sys_admin": 21,
    "perfmon": 38,
    "bpf": 39,
}


@pytest.fixture(scope="module")
def box(world: World) -> Iterator[Sandbox]:
    """One sandbox without any permission."""
    made = world.sandbox("escapes", "version: 1\nnetwork_policies: {}\n")
    yield made
    made.delete()


@pytest.fixture(params=["nobody", "root"])
def user(request: pytest.FixtureRequest) -> str:
    """Whom the command runs as."""
    return str(request.param)


def test_no_socket_of_the_host_can_be_reached(world: World, box: Sandbox, user: str) -> None:
    seen = box.run("find", "/run", "-xdev", "-type", "s", user=user)
    assert seen.stdout == ""
    path = str(world.netmgrd.socket)
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    done = box.run(PYTHON, "-I", "-c", script, user=user)
    assert done.returncode != 0


def test_no_abstract_socket_of_the_host_can_be_reached(box: Sandbox, user: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0netmgr-escape-test")
        listener.listen(1)
        script = "import socket; socket.socket(socket.AF_UNIX).connect('\\0netmgr-escape-test')"
        done = box.run(PYTHON, "-I", "-c", script, user=user)
        assert "ConnectionRefusedError" in done.stderr


def test_a_second_procfs_of_the_host_is_covered(box: Sandbox, user: str) -> None:
    """As a chroot of the host has one: through it every process of the host would be seen."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        subprocess.run(["mount", "-t", "proc", "proc", name], check=True)
        try:
            assert Path(name, "1").exists()
            done = box.run("ls", name, user=user)
            assert (done.returncode, done.stdout) == (0, "")
        finally:
            subprocess.run(["umount", name], check=True)


def test_no_process_of_the_host_is_visible(world: World, box: Sandbox, user: str) -> None:
    seen = {
        int(word) for word in box.run("ls", "/proc", user=user).stdout.split() if word.isdigit()
    }
    assert len(seen) < 10, seen
    assert 1 in seen


@pytest.mark.parametrize("target", ["/proc/1/ns/net", "/run/netns"])
def test_nsenter_leads_nowhere(world: World, box: Sandbox, user: str, target: str) -> None:
    if target == "/run/netns":
        assert box.run("ls", "/run/netns", user=user).stdout == ""
        return
    own = box.run("readlink", "/proc/self/ns/net", user=user).stdout
    done = box.run("nsenter", f"--net={target}", "readlink", "/proc/self/ns/net", user=user)
    assert done.returncode != 0 or done.stdout == own


def test_no_new_namespace_gives_a_way_out(box: Sandbox, user: str) -> None:
    done = box.run("unshare", "--net", "true", user=user)
    assert done.returncode != 0
    done = box.run("unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt", user=user)
    assert done.returncode != 0


def test_capabilities_are_gone(box: Sandbox, user: str) -> None:
    status = box.run("cat", "/proc/self/status", user=user).stdout
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["NoNewPrivs"] == "1"
    for field in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        held = int(facts[field], 16)
        kept = [name for name in KEPT_FROM_ROOT.split() if held >> CAPABILITY[name] & 1]
        assert kept == [], f"{field} holds {kept}"


@pytest.mark.parametrize("kind", ["SOCK_RAW, 1", "SOCK_RAW, 255"])
def test_no_raw_socket(box: Sandbox, user: str, kind: str) -> None:
    script = f"import socket; socket.socket(socket.AF_INET, socket.{kind})"
    done = box.run(PYTHON, "-I", "-c", script, user=user)
    assert "PermissionError" in done.stderr


def test_no_packet_socket(box: Sandbox, user: str) -> None:
    script = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)"
    assert "OSError" in box.run(PYTHON, "-I", "-c", script, user=user).stderr


def test_sysctls_cannot_be_written(box: Sandbox, user: str) -> None:
    script = (
        "for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/netfilter/nf_hooks_lwtunnel "
        "/proc/sys/kernel/core_pattern /proc/sysrq-trigger; do "
        "[ -e $f ] || continue; (cat $f > /tmp/value.$$; cat /tmp/value.$$ > $f) 2>/dev/null "
        '&& echo "$f"; done; true'
    )
    assert box.run("sh", "-c", script, user=user).stdout == ""


def test_agents_of_the_operator_are_not_handed_in(world: World, box: Sandbox) -> None:
    names = ["SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"]
    names += ["XDG_RUNTIME_DIR", "GPG_AGENT_INFO", "DOCKER_HOST"]
    secrets = dict.fromkeys(names, "/run/escape")
    done = world.netmgr("sandbox", "exec", box.name, "--", "env", env=secrets)
    assert "/run/escape" not in done.stdout


def test_no_descriptor_is_handed_in(box: Sandbox, user: str) -> None:
    listing = box.run("ls", "-l", "/proc/self/fd", user=user).stdout
    links = [line.split(" -> ")[1] for line in listing.splitlines() if " -> " in line]
    assert not [link for link in links if link.startswith(("socket:", "/run", "net:"))], links


def test_the_state_of_the_daemon_is_for_root_alone(world: World, box: Sandbox) -> None:
    state = world.netmgrd.state_dir
    assert box.run("ls", str(state), user="nobody").returncode != 0
    assert state.stat().st_mode & 0o077 == 0


def test_no_device_leads_to_the_host(box: Sandbox, user: str) -> None:
    """No disk, on which the host's files and netmgr's keys lie, no console, no memory."""
    listed = box.run("find", "/dev", "-type", "b").stdout
    assert listed == ""
    names = set(box.run("ls", "/dev", user=user).stdout.split())
    plain = {"null", "zero", "full", "random", "urandom", "tty"}
    made = {"fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm", "mqueue"}
    computing = {name for name in names if name.startswith(("nvidia", "dri", "kfd", "accel"))}
    assert names - computing - {"kvm", "dxg"} == plain | made
    script = (
        "head -c4 /dev/zero | wc -c; head -c4 /dev/urandom | wc -c; echo x > /dev/null && echo out;"
        f"{PYTHON} -c 'import os; print(os.ttyname(os.openpty()[1]))';"
        "echo err > /dev/stderr; touch /dev/made || echo refused"
    )
    done = box.run("/bin/sh", "-c", script, user=user)
    assert done.stdout.split()[:4] == ["4", "4", "out", "/dev/pts/0"], done
    if user == "nobody":
        assert done.stdout.split()[4:] == ["refused"]


def test_attaching_refuses_what_is_no_sandbox(world: World) -> None:
    hub = world.netmgrd.hub.path
    for place in (hub, world.host.path):
        done = world.netmgr("sandbox", "create", "attached", "--netns", str(place))
        assert done.returncode == 4, done.stderr
    done = world.netmgr("sandbox", "create", "attached", "--pid", str(world.netmgrd.pid))
    assert done.returncode == 4, done.stderr


def test_a_caller_inside_a_sandbox_is_refused(world: World, box: Sandbox) -> None:
    path = str(world.netmgrd.socket)
    done = box.enter(
        "curl", "-sS", "--max-time", "5", "--unix-socket", path, "http://x/v1/sandboxes"
    )
    assert '"sandboxes"' not in done.stdout
