"""crun behind netmgr-runc, in podman and by itself: another runtime's words, hooks and errors."""

import json
import subprocess

import pytest
from runtimes.podman import IMAGE, Podman, box_tree
from runtimes.site import HOOK, SELECTABLE, Site, probe, volumes

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("emptied")]

CRUN = "/usr/bin/crun"
RUNTIME = "/opt/crun/netmgr-runc"
OVER = ("--runtime", RUNTIME)
POLICY = ("--annotation", "netmgr.policy=agent")


@pytest.fixture(scope="module", autouse=True)
def runtime(site: Site) -> None:
    """A pair for crun, in a directory of its own."""
    lets = [word for one in SELECTABLE for word in ("--selectable", one)]
    (site.machine.own / "opt/crun").mkdir()
    site.machine.must("netmgr", "oci", "install", "--runtime", CRUN, *lets, "/opt/crun")


def run(podman: Podman, *argv: str) -> subprocess.CompletedProcess[str]:
    return podman.machine.run("podman", *OVER, "run", "--rm", "--network", "none", *argv)


def test_names_trust_and_the_fence_are_there(site: Site, podman: Podman) -> None:
    done = run(podman, *POLICY, *volumes(), IMAGE, *probe())
    assert done.returncode == 0, done.stderr
    site.judge(done.stdout)


def test_a_user_namespace_of_its_own_gets_its_door_by_a_hook(site: Site, podman: Podman) -> None:
    ours = ("--uidmap", "0:100000:65536", "--cap-add", "NET_ADMIN")
    done = run(podman, *POLICY, *ours, *volumes(), IMAGE, *probe("sdk", "allowed", "denied"))
    assert done.returncode == 0, done.stderr
    site.judge(done.stdout)


def test_the_reason_of_a_refusal_reaches_whoever_ran_podman(podman: Podman) -> None:
    done = run(podman, "--privileged", IMAGE, "id")
    assert done.returncode != 0
    assert "CAP_NET_ADMIN in the host's user namespace" in done.stderr


def test_exec_is_judged(podman: Podman) -> None:
    words = ("run", "--detach", "--name", "plain", "--network", "none", IMAGE, "sleep", "600")
    podman.machine.must("podman", *OVER, *words)
    assert podman.machine.run("podman", "exec", "plain", "id").returncode == 0
    done = podman.machine.run("podman", "exec", "--privileged", "plain", "id")
    assert done.returncode != 0
    assert "CAP_NET_ADMIN" in done.stderr


def test_hooks_alone(site: Site, podman: Podman) -> None:
    stages = ["createRuntime", "poststop"]
    when = {"annotations": {"^(io\\.)?netmgr\\.": ".*"}}
    hook = {"version": "1.0.0", "hook": {"path": HOOK}, "when": when, "stages": stages}
    site.machine.write("etc/containers/oci/hooks.d/netmgr.json", json.dumps(hook))
    hooks = ("--runtime", CRUN, "--hooks-dir", "/etc/containers/oci/hooks.d")
    words = ("podman", *hooks, "run", "--rm", "--network", "none", *POLICY, *volumes(), IMAGE)
    site.judge(site.machine.must(*words, *probe("allowed", "denied")))


def test_a_bundle_by_itself(site: Site) -> None:
    bundle = site.machine.own / "bundles/crun"
    bundle.mkdir(parents=True)
    site.machine.must("runc", "spec", "--bundle", str(bundle))
    config = json.loads((bundle / "config.json").read_text())
    config["root"] = {"path": str(box_tree(site.machine.own)), "readonly": False}
    config["process"] |= {"terminal": False, "args": ["nslookup", "api.example.com"]}
    (bundle / "config.json").write_text(json.dumps(config))
    config["linux"]["resources"] = {}
    words = (RUNTIME, "--netmgr-policy=agent")
    done = site.machine.must(*words, "run", "--bundle", str(bundle), "crun")
    assert "198.18." in done
    site.machine.must("rm", "-rf", str(bundle.parent))
