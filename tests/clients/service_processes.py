"""Owns: Debian's sshd and PostgreSQL as processes in the world's internet.

Both run as `postgres`, the one system user with a shell that their packages make: sshd needs no
root to let in the user that it runs as. Knows nothing of netmgr.
"""

import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from world import World
from world.environment import clean_environment
from world.namespaces import inside

USER: Final = "postgres"
START_S: Final = 30.0  # on two busy cores
DATABASES: Final = Path("/usr/lib/postgresql")

SSHD: Final = """\
HostKey {dir}/host_key
AuthorizedKeysFile {dir}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
ForceCommand git-shell -c "$SSH_ORIGINAL_COMMAND"
"""


def own(path: Path) -> None:
    """Give a file or a tree to the services' user."""
    user = pwd.getpwnam(USER)
    for each in [path, *path.rglob("*")]:
        shutil.chown(each, user.pw_uid, user.pw_gid)


@contextmanager
def ssh_server(world: World, name: str, directory: Path) -> Iterator[Path]:
    """An sshd as `name`, which serves git and nothing else; gives a key that it lets in."""
    address = _publish(world, name)
    for key in ("host_key", "key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key))
    shutil.copy(directory / "key.pub", directory / "authorized_keys")
    config = directory / "sshd_config"
    config.write_text(SSHD.format(dir=directory))
    own(directory)
    world.internet.namespace.sysctl("ipv4/ip_unprivileged_port_start", 22)
    words = ["/usr/sbin/sshd", "-D", "-e", "-f", str(config), "-o", f"ListenAddress={address}:22"]
    with _serving(world, words, address, 22):
        yield directory / "key"


@contextmanager
def database(world: World, name: str, directory: Path) -> Iterator[None]:
    """A PostgreSQL server as `name`, with TLS."""
    address = _publish(world, name)
    programs = max(DATABASES.glob("*/bin"), key=lambda path: int(path.parent.name))
    data = directory / "data"
    own(directory)
    _run(*_as_user(str(programs / "initdb"), "-N", "-A", "trust", "-D", str(data)))
    (data / "pg_hba.conf").write_text("hostssl all all all trust\n")
    shutil.copy(world.authority.leaf_file(name), data / "leaf.pem")
    (data / "leaf.pem").chmod(0o600)
    own(data)
    settings = {
        "listen_addresses": address,
        "unix_socket_directories": str(directory),
        "fsync": "off",
        "ssl": "on",
        "ssl_cert_file": "leaf.pem",
        "ssl_key_file": "leaf.pem",
    }
    words = [str(programs / "postgres"), "-D", str(data)]
    for key, value in settings.items():
        words += ["-c", f"{key}={value}"]
    with _serving(world, words, address, 5432):
        yield


def _publish(world: World, name: str) -> str:
    address = world.internet.address()
    world.internet.zone.set(name, address)
    return address


def _as_user(*argv: str) -> list[str]:
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--", *argv]


def _run(*argv: str) -> None:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=START_S, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _serving(world: World, argv: list[str], address: str, port: int) -> Iterator[None]:
    """The program, listening; ended by SIGTERM."""
    process = subprocess.Popen(
        world.internet.namespace.command("setpriv", "--pdeathsig", "KILL", "--", *_as_user(*argv)),
        env=clean_environment(),
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _wait_for(world, process, address, port)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=START_S)


def _wait_for(world: World, process: "subprocess.Popen[bytes]", address: str, port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, process.communicate()[1].decode()
        with inside(world.internet.namespace.path):
            probe = socket.socket()
        with probe:
            if probe.connect_ex((address, port)) == 0:
                return
        assert time.monotonic() < deadline, f"{address}:{port} did not begin to listen"
        time.sleep(0.05)
