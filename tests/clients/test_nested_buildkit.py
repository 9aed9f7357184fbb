"""`docker build` with BuildKit by a dockerd inside a sandbox: what its RUN steps trust, without and
with docs/trust.md.
"""

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from clients.build_context import BUNDLE, make_context
from world import World
from world.environment import clean_environment

pytestmark = pytest.mark.root

DOCKER = "/usr/bin/docker"  # Debian's, which has BuildKit without a plug-in
READY_S = 60.0
STOP_S = 30.0
BUILD_S = 100.0
DOCKERFILE = f"""\
FROM scratch
ADD root /
RUN --mount=type=secret,id=ca,target={BUNDLE} ["/bin/curl", "-sS", "-o", "/dev/null", \
"-w", "answered %{{http_code}}", "https://inference.local/"]
"""
# Names as a container has them; the engine is the operator's, and may do what engines do.
ENTER = """\
mount --bind "$FILES/resolv.conf" "$(realpath /etc/resolv.conf)"
mount --bind "$FILES/hosts" /etc/hosts
exec "$@"
"""
# What this kind of machine needs; nothing of it is netmgr's.
NEEDS = ("--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs")


@pytest.fixture(scope="module")
def build(world: World) -> Iterator[Callable[..., str]]:
    """Build the context by the sandbox's dockerd; what docker said."""
    box = world.sandbox("kit", "version: 1\nnetwork_policies: {}\n")
    home = world.directory / "kit"
    make_context(home / "context", DOCKERFILE)
    socket = f"unix://{home}/socket"
    places = ("--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "-H", socket)
    words = ("/usr/sbin/dockerd", *places, "--pidfile", f"{home}/pid", *NEEDS)
    words += ("--default-ulimit", "nofile=1024:1024")
    files = str(world.netmgrd.run_dir / "sandboxes" / box.name)
    env = clean_environment(DOCKER_HOST=socket, DOCKER_BUILDKIT="1", HOME=str(home))
    with (home / "log").open("wb") as log:
        process = box.start(
            *("unshare", "--mount", "sh", "-ec", ENTER, "-", *words),
            env=clean_environment(FILES=files), stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + READY_S
        while subprocess.run([DOCKER, "info"], env=env, capture_output=True).returncode:
            assert process.poll() is None, (home / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (home / "log").read_text()[-3000:]
            time.sleep(0.2)

        def run(*options: str) -> str:
            words = [DOCKER, "build", "--progress", "plain", "--no-cache", "--network", "host"]
            done = subprocess.run(
                [*words, *options, str(home / "context")],
                env=env, capture_output=True, text=True, timeout=BUILD_S, check=False,
            )  # fmt: skip
            return done.stdout + done.stderr

        run.bundle = f"{files}/ca-bundle.pem"  # type: ignore[attr-defined]
        yield run
    finally:
        process.terminate()
        process.wait(STOP_S)


def test_a_step_does_not_trust_by_itself(build: Callable[..., str]) -> None:
    said = build()
    assert "exit code: 77" in said  # CURLE_SSL_CACERT_BADFILE: the empty list
    assert "answered 200" not in said


def test_a_secret_makes_it_trust(build: Callable[..., str]) -> None:
    said = build("--secret", f"id=ca,src={build.bundle}")  # type: ignore[attr-defined]
    assert "answered 403" in said
