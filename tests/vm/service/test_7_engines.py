"""Container engines: what they run is in a sandbox, or it does not run."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import ensure_service, model_server, netmgr, run, shown, wait_for

RUNTIME = "/usr/local/bin/netmgr-runc"
POLICY = Path("/etc/netmgr/policies/agent.yaml")
MODEL = "host.openshell.internal:9100"
PODMAN = ("podman", "--runtime", RUNTIME, "run", "--network", "none")
AGENT = ("--annotation", "netmgr.policy=agent")
DOCKER = Path("/etc/docker/daemon.json")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The daemon runs; an image of busybox, which podman knows as `box`."""
    ensure_service()
    tree = tmp_path_factory.mktemp("image") / "root"
    (tree / "bin").mkdir(parents=True)
    run("cp", "/bin/busybox", str(tree / "bin/busybox"))
    for applet in ("sh", "nslookup", "wget", "nc", "sleep", "id"):
        (tree / "bin" / applet).symlink_to("busybox")
    (tree / "etc").mkdir()
    (tree / "etc/nsswitch.conf").write_text("hosts: files dns\n")  # a static glibc needs to know
    packed = tree.parent / "box.tar"
    run("tar", "-C", str(tree), "-cf", str(packed), ".")
    run("podman", "import", str(packed), "box")
    yield packed
    run("podman", "rmi", "-f", "box", check=False)


@pytest.fixture(scope="module")
def runtime() -> Iterator[None]:
    """netmgr's runtime and hook, as its documents install them, and one policy."""
    POLICY.parent.mkdir(exist_ok=True)
    rule = "  a:\n    endpoints: [{host: host.openshell.internal, port: 9100}]\n"
    POLICY.write_text(f'version: 1\nnetwork_policies:\n{rule}    binaries: [{{path: "/**"}}]\n')
    netmgr("oci", "install", "--selectable", "policy=agent")
    with model_server():
        yield
    netmgr("oci", "uninstall")
    POLICY.unlink()


def test_a_container_of_crun_lives_in_a_sandbox() -> None:
    """Podman with its default runtime here, crun, in a namespace that netmgr made."""
    netmgr("sandbox", "create", "contained", "--allow", MODEL)
    try:
        words = ["podman", "--runtime", "crun", "run", "--rm"]
        words += ["--network", "ns:/run/netns/netmgr-contained"]
        words += ["-v", "/run/netmgr/sandboxes/contained/resolv.conf:/etc/resolv.conf:ro", "box"]
        found = run(*words, "nslookup", "inference.local", check=False)
        assert "198.18.0.1" in found.stdout, found
        refused = run(*words, "nslookup", "a.example", check=False)
        assert "NXDOMAIN" in refused.stdout + refused.stderr
        assert run(*words, "nc", "-w", "5", "192.0.2.7", "80", check=False).returncode != 0
    finally:
        netmgr("sandbox", "delete", "contained")


def test_a_container_of_podman_is_a_sandbox_by_itself(runtime: None) -> None:
    """The runtime and its hook make the sandbox, and take it away with the container."""
    container = run(*PODMAN, "-d", *AGENT, "box", "sleep", "600").stdout.strip()
    (sandbox,) = sandboxes()
    assert sandbox["name"] == container[:12]
    assert sandbox["labels"]["policy"] == "agent"
    netmgr("sandbox", "check", sandbox["name"])
    inside = ("podman", "exec", container)
    body = run(*inside, "wget", "-q", "-O", "-", f"http://{MODEL}/_recorded", check=False)
    assert body.returncode == 0, body
    refused = run(*inside, "nslookup", "a.example", check=False)
    assert "NXDOMAIN" in refused.stdout + refused.stderr
    run("podman", "rm", "-f", "-t", "0", container)
    assert sandboxes() == []


@pytest.mark.parametrize("flag", ["--privileged", "--pid=host"])
def test_a_container_without_a_fence_is_not_created(runtime: None, flag: str) -> None:
    done = run(*PODMAN, "--rm", flag, *AGENT, "box", "id", check=False)
    assert done.returncode != 0
    assert ("CAP_NET_ADMIN" if flag == "--privileged" else flag) in done.stderr
    assert "uid=0" not in done.stdout
    assert sandboxes() == []


def test_a_container_of_docker_is_a_sandbox_by_itself(runtime: None, image: Path) -> None:
    """Docker names the runtime, systemd is its cgroup manager: as on an operator's host."""
    kept = DOCKER.read_text() if DOCKER.exists() else None
    DOCKER.parent.mkdir(exist_ok=True)
    words = {"path": RUNTIME, "runtimeArgs": ["--netmgr-policy=agent"]}
    DOCKER.write_text(json.dumps({"runtimes": {"agent": words}}))
    run("systemctl", "start", "docker")
    try:
        run("docker", "import", str(image), "box")
        found = run(
            "docker", "run", "--rm", "--runtime", "agent", "box", "nslookup", "inference.local"
        )
        assert "198.18.0.1" in found.stdout, found
        refused = run("docker", "run", "--rm", "--privileged", "--runtime", "agent", "box", "id",
                      check=False)  # fmt: skip
        assert refused.returncode != 0
        assert "CAP_NET_ADMIN" in refused.stderr
        assert sandboxes() == []
        run("docker", "rmi", "-f", "box")
    finally:
        run("systemctl", "stop", "docker", "docker.socket", "containerd", check=False)
        DOCKER.unlink()
        if kept is not None:
            DOCKER.write_text(kept)


def sandboxes() -> list[dict[str, object]]:
    """What stands."""
    found = shown("sandbox", "list")
    return list(found["sandboxes"] if isinstance(found, dict) else found)


def test_a_container_that_could_open_another_door_is_refused() -> None:
    """A privileged container's process may enter other namespaces: attaching it is no fence."""
    sleeper = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        wait_for("its namespace", lambda: other_namespace(sleeper.pid))
        done = netmgr("sandbox", "create", "mighty", "--pid", str(sleeper.pid), check=False)
        assert done.returncode != 0
        assert "CAP_SYS_ADMIN" in done.stderr or "capabilit" in done.stderr, done.stderr
    finally:
        sleeper.kill()
        sleeper.wait()
        netmgr("sandbox", "delete", "mighty", check=False)


def other_namespace(pid: int) -> bool:
    """Whether a process has left this host's network namespace."""
    return Path(f"/proc/{pid}/ns/net").stat().st_ino != Path("/proc/self/ns/net").stat().st_ino
