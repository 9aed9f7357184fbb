"""runc itself: a wrapped bundle, hooks in its configuration, and fifty containers at once."""

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from runtimes.docker import kill
from runtimes.podman import box_tree
from runtimes.site import HOOK, PROGRAMS, RUNTIME, Site, probe

pytestmark = pytest.mark.root

RUNC = "/usr/sbin/runc"
MANY = 50
SETTLED_S = 15.0
AT_ONCE = 10


class Bundles:
    """Bundles of one root file system on a machine."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.tree = box_tree(site.machine.own)
        self.made: list[str] = []

    def make(self, name: str, *argv: str, **changes: Any) -> Path:
        """A bundle for the container `name`, as `runc spec` writes it, with some changes."""
        bundle = self.site.machine.own / "bundles" / name
        bundle.mkdir(parents=True)
        self.site.machine.must(RUNC, "spec", "--bundle", str(bundle))
        config = json.loads((bundle / "config.json").read_text())
        config["root"] = {"path": str(self.tree), "readonly": False}
        config["process"] |= {"terminal": False, "args": list(argv)}
        for place in PROGRAMS:
            mount = {"type": "bind", "source": place, "destination": place}
            config["mounts"].append(mount | {"options": ["rbind", "ro"]})
        config["linux"]["resources"] = {}
        config["annotations"] = {"netmgr.policy": "agent"}
        for key, change in changes.items():
            config[key] = change(config.get(key)) if callable(change) else change
        (bundle / "config.json").write_text(json.dumps(config))
        self.made.append(name)
        return bundle

    def runc(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """The real runtime."""
        return self.site.machine.run(RUNC, *argv)

    def start(self, name: str, *runtime: str) -> Path:
        """A container that sleeps."""
        bundle = self.make(name, "sleep", "600")
        words = (*(runtime or (RUNTIME,)), "run", "--detach", "--bundle", str(bundle), name)
        # Without pipes: the container would hold them.
        done = self.site.machine.start(*words, stdout=subprocess.DEVNULL)
        assert done.wait(timeout=60) == 0
        return bundle

    def pid(self, name: str) -> int:
        """The container's first process."""
        return int(json.loads(self.runc("state", name).stdout)["pid"])


@pytest.fixture
def bundles(site: Site) -> Iterator[Bundles]:
    made = Bundles(site)
    yield made
    for name in made.made:
        made.runc("delete", "--force", name)
    site.machine.must("rm", "-rf", str(site.machine.own / "bundles"))
    site.assert_nothing_is_left()


def test_a_wrapped_bundle(site: Site, bundles: Bundles) -> None:
    bundle = bundles.make("box", *probe("sdk", "allowed", "denied"))
    for _ in range(2):  # twice is once
        site.machine.must("netmgr", "oci", "wrap", str(bundle), "--selectable", "policy=agent")
        once = (bundle / "config.json").read_text()
    assert len(site.sandboxes()) == 1
    assert once.count("netmgr_cli.shim.oci.hook") == 1
    done = bundles.runc("run", "--bundle", str(bundle), "box")
    assert done.returncode == 0, done.stderr
    site.judge(done.stdout)
    site.assert_nothing_is_left()  # the hook that wrap wrote has seen to it


def test_hooks_in_the_configuration(site: Site, bundles: Bundles) -> None:
    hook = {"path": HOOK}
    hooks = {"createRuntime": [hook], "poststop": [hook]}
    bundle = bundles.make("box", *probe("allowed", "denied"), hooks=hooks)
    done = bundles.runc("run", "--bundle", str(bundle), "box")
    assert done.returncode == 0, done.stderr
    site.judge(done.stdout)


def test_hooks_refuse_what_the_wrapper_refuses(bundles: Bundles) -> None:
    hooks = {"createRuntime": [{"path": HOOK}], "poststop": [{"path": HOOK}]}

    def without_read_only(linux: dict[str, Any]) -> dict[str, Any]:
        return linux | {"readonlyPaths": []}

    def with_powers(process: dict[str, Any]) -> dict[str, Any]:
        return process | {"capabilities": {"effective": ["CAP_NET_ADMIN"]}}

    for name, change, told in (
        ("sysctls", {"linux": without_read_only}, "/proc/sys"),
        ("powers", {"process": with_powers}, "CAP_NET_ADMIN"),
    ):
        bundle = bundles.make(name, "id", hooks=hooks, **change)
        done = bundles.runc("run", "--bundle", str(bundle), name)
        assert done.returncode != 0
        assert told in done.stderr


@pytest.mark.parametrize("path", ["/proc/self/ns/user", "/proc/1/ns/user", "/absent"])
def test_a_path_to_the_hosts_users_is_no_way_round(site: Site, bundles: Bundles, path: str) -> None:
    def users(linux: dict[str, Any]) -> dict[str, Any]:
        own = {"type": "user", "path": path}
        return linux | {"namespaces": [*linux["namespaces"], own]}

    def with_powers(process: dict[str, Any]) -> dict[str, Any]:
        return process | {"capabilities": {"effective": ["CAP_NET_ADMIN"]}}

    bundle = bundles.make("box", "id", linux=users, process=with_powers)
    done = site.machine.run(RUNTIME, "run", "--bundle", str(bundle), "box")
    assert done.returncode == 1
    assert "CAP_NET_ADMIN in the host's user namespace" in done.stderr


def test_a_namespace_of_the_operators(site: Site, bundles: Bundles) -> None:
    """An empty one is attached; it stays when the container goes."""
    name = f"{site.daemon.instance}.own"
    site.machine.must("ip", "netns", "add", name)

    def joined(linux: dict[str, Any]) -> dict[str, Any]:
        kept = [one for one in linux["namespaces"] if one["type"] != "network"]
        return linux | {"namespaces": [*kept, {"type": "network", "path": f"/run/netns/{name}"}]}

    try:
        bundle = bundles.make("box", *probe("allowed", "denied"), linux=joined)
        done = site.machine.run(RUNTIME, "run", "--bundle", str(bundle), "box")
        assert done.returncode == 0, done.stderr
        site.judge(done.stdout)
        site.assert_nothing_is_left()
        assert "eth0" not in site.machine.must("ip", "-n", name, "-o", "link")
    finally:
        site.machine.must("ip", "netns", "del", name)


def test_a_container_that_was_killed_with_its_runtime_is_collected(
    site: Site, bundles: Bundles
) -> None:
    bundles.start("box")
    kill(bundles.pid("box"))
    assert site.checks_out("box")
    site.machine.must("netmgr", "oci", "gc", "--older-than", "0")
    site.assert_nothing_is_left()


@pytest.mark.parametrize("moment_s", [0.01, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_killed_at_any_moment_nothing_is_lost_for_good(
    site: Site, bundles: Bundles, moment_s: float
) -> None:
    bundle = bundles.make("box", "sleep", "600")
    words = (RUNTIME, "run", "--detach", "--bundle", str(bundle), "box")
    process = site.machine.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(moment_s)
    process.kill()
    process.wait()
    end = time.monotonic() + SETTLED_S  # what the daemon was doing for it comes to its end
    while not all(site.checks_out(one["name"]) for one in site.sandboxes()):
        assert time.monotonic() < end
        time.sleep(0.2)
    bundles.runc("delete", "--force", "box")
    site.machine.must("netmgr", "oci", "gc", "--older-than", "0")
    site.assert_nothing_is_left()


def test_fifty_at_once(site: Site, bundles: Bundles) -> None:
    names = [f"n{number}" for number in range(MANY)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(bundles.start, names))
    found = site.sandboxes()
    assert {one["name"] for one in found} == set(names)
    assert len({one["address"] for one in found}) == MANY
    assert all(site.checks_out(name) for name in names[::10])
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda name: bundles.runc("delete", "--force", name), names))
    assert time.monotonic() - began < 60
    site.assert_nothing_is_left()
