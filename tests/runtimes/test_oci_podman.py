"""podman with netmgr-runc as its runtime: real containers, one option each."""

import json
import os
import signal
import subprocess
import time

import pytest
from runtimes.podman import IMAGE, Podman
from runtimes.site import HOOK, RUNTIME, Site, probe, volumes

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("emptied")]

OURS = ("--runtime", RUNTIME, "--network", "none")
POLICY = ("--annotation", "netmgr.policy=agent")


def run(podman: Podman, *argv: str) -> subprocess.CompletedProcess[str]:
    return podman.machine.run("podman", OURS[0], OURS[1], "run", "--rm", *OURS[2:], *argv)


def start(podman: Podman, *argv: str) -> str:
    """The id of a container that sleeps."""
    words = ("podman", *OURS[:2], "run", "--detach", *OURS[2:], *argv, IMAGE, "sleep", "600")
    return podman.machine.must(*words).split()[-1]


@pytest.mark.parametrize("flags", [(), ("--security-opt", "seccomp=unconfined")])
def test_no_socket_that_a_namespace_does_not_hold(podman: Podman, flags: tuple[str, ...]) -> None:
    """Where the host has no AF_VSOCK there is nothing to close: then it fails all the same."""
    code = "import socket; socket.socket(40, socket.SOCK_STREAM)"
    words = (*flags, *volumes(), IMAGE, probe()[0], "-I", "-S", "-c", code)
    done = run(podman, *words)
    assert done.returncode == 1
    assert "OSError" in done.stderr
    unix = code.replace("40", "1")
    assert run(podman, *words[:-1], unix).returncode == 0


def test_names_trust_and_the_fence_are_there(site: Site, podman: Podman) -> None:
    done = run(podman, *POLICY, *volumes(), IMAGE, *probe())
    assert done.returncode == 0, done.stderr
    site.judge(done.stdout)


def test_without_a_policy_only_models_answer(site: Site, podman: Podman) -> None:
    done = run(podman, *volumes(), IMAGE, *probe("sdk", "denied"))
    site.judge(done.stdout)
    refused = run(podman, *volumes(), IMAGE, *probe("allowed"))
    assert "URLError" in refused.stderr


def test_annotations_are_the_sandboxs_facts(site: Site, podman: Podman) -> None:
    more = [
        "netmgr.tenant=research",
        "io.netmgr.labels.team=a",
        "netmgr.labels=b=1",
        "netmgr.labels.c=2",
    ]
    words = [word for one in more for word in ("--annotation", one)]
    container = start(podman, *POLICY, *words)
    sandbox = site.the_sandbox()
    assert sandbox["name"] == container[:12]
    assert sandbox["tenant"] == "research"
    labels = {key: sandbox["labels"][key] for key in ("container", "policy", "team", "b", "c")}
    assert labels == {"container": container, "policy": "agent", "team": "a", "b": "1", "c": "2"}
    assert site.checks_out(sandbox["name"])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--privileged",), "CAP_NET_ADMIN in the host's user namespace"),
        (("--cap-add", "NET_ADMIN"), "CAP_NET_ADMIN in the host's user namespace"),
        (("--cap-add", "SYS_ADMIN"), "CAP_SYS_ADMIN in the host's user namespace"),
        (("--cap-add", "DAC_READ_SEARCH"), "CAP_DAC_READ_SEARCH"),
        (("--pid", "host"), "--pid=host"),
        (("--annotation", "netmgr.policy=absent"), "there is no /etc/netmgr/policies/absent.yaml"),
        (("--annotation", "netmgr.polcy=agent"), "there are policy, tenant, labels"),
    ],
)
def test_what_has_no_sandbox_is_not_created(
    podman: Podman, flags: tuple[str, ...], told: str
) -> None:
    done = run(podman, *flags, IMAGE, "id")
    assert done.returncode != 0
    assert told in done.stderr


@pytest.mark.older  # podman 5 leaves an image's annotations to the image
def test_an_image_chooses_nothing(site: Site, podman: Podman) -> None:
    """podman gives a container the annotations of its image's manifest, an OCI one at least."""
    site.machine.write("etc/netmgr/policies/open.yaml", "version: 1\nnetwork_policies: {}\n")
    chooses = ("--format", "oci", "--annotation", "netmgr.policy=open")
    site.machine.must(
        *("podman", "build", "--quiet", *chooses, "--tag", "localhost/chooser", "-"),
        input=f"FROM {IMAGE}\n",
    )
    done = run(podman, "localhost/chooser", "id")
    assert done.returncode != 0
    assert "may not choose it, since an image" in done.stderr
    assert "--selectable policy=open" in done.stderr
    bound = ("--runtime-flag", "netmgr-policy=agent")
    words = ("podman", *OURS[:2], *bound, "run", "--rm", *OURS[2:], "localhost/chooser", "id")
    assert "bound this runtime to 'agent'" in site.machine.run(*words).stderr
    lets = ("--runtime-flag", "netmgr-selectable=policy=open")
    words = ("podman", *OURS[:2], *lets, "run", "--rm", *OURS[2:], "localhost/chooser", "id")
    assert "uid=0" in site.machine.must(*words)
    podman.must("rmi", "localhost/chooser")


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("host", "--network=none"),
        ("bridge", "links besides lo"),
        ("container:other", "links besides lo"),
    ],
)
def test_a_network_of_the_engines_is_refused(podman: Podman, network: str, told: str) -> None:
    podman.must("run", "--detach", "--name", "other", IMAGE, "sleep", "600")
    words = ("podman", *OURS[:2], "run", "--rm", "--network", network, IMAGE, "id")
    done = podman.machine.run(*words)
    assert done.returncode != 0
    assert told in done.stderr


def test_a_user_namespace_may_hold_net_admin(site: Site, podman: Podman) -> None:
    ours = ("--uidmap", "0:100000:65536", "--cap-add", "NET_ADMIN", "--name", "users")
    container = start(podman, *POLICY, *ours, *volumes())
    site.judge(podman.must("exec", "users", *probe("allowed", "denied")))
    routes = podman.must("exec", "users", "ip", "link", "set", "lo", "mtu", "1500")
    assert routes == ""  # it may change what is its own
    privileged = podman.machine.run("podman", *OURS[:2], "exec", "--privileged", "users", "id")
    assert privileged.returncode == 0, privileged.stderr
    assert site.checks_out(container[:12])


def test_a_privileged_exec_is_refused(podman: Podman) -> None:
    start(podman, "--name", "plain")
    assert podman.machine.run("podman", "exec", "plain", "id").returncode == 0
    done = podman.machine.run("podman", "exec", "--privileged", "plain", "id")
    assert done.returncode != 0
    assert "CAP_NET_ADMIN" in done.stderr


def test_a_pod_is_one_sandbox(site: Site, podman: Podman) -> None:
    infra = ("--infra-image", IMAGE, "--infra-command", "/bin/sleep 600")
    create = ("podman", *OURS[:2], "pod", "create", "--name", "pod", "--network", "none", *infra)
    site.machine.must(*create)
    member = ("podman", *OURS[:2], "run", "--rm", "--pod", "pod")
    done = site.machine.run(*member, *volumes(), IMAGE, *probe("sdk", "denied"))
    site.judge(done.stdout)
    pod = site.the_sandbox()
    other = site.machine.run(*member, *POLICY, IMAGE, "id")
    assert other.returncode != 0
    assert f"sandbox '{pod['name']}', whose policy is None" in other.stderr
    assert site.the_sandbox() == pod  # the member's end was not the pod's
    site.machine.must("podman", *OURS[:2], "pod", "rm", "--force", "--time", "0", "pod")


def test_a_container_that_joins_another_is_in_its_sandbox(site: Site, podman: Podman) -> None:
    start(podman, *POLICY, "--name", "first")
    words = ("podman", *OURS[:2], "run", "--rm", "--network", "container:first", *volumes(), IMAGE)
    site.judge(site.machine.must(*words, *probe("allowed", "denied")))
    assert len(site.sandboxes()) == 1


def test_a_restart_keeps_the_door(site: Site, podman: Podman) -> None:
    start(podman, *POLICY, *volumes(), "--name", "again")
    for _ in range(2):
        podman.must("restart", "--time", "0", "again")
        site.judge(podman.must("exec", "again", *probe("allowed", "denied")))
    assert site.checks_out(site.the_sandbox()["name"])


def test_the_daemon_may_restart_under_a_container(site: Site, podman: Podman) -> None:
    start(podman, *POLICY, *volumes(), "--name", "through")
    before = site.the_sandbox()
    site.daemon.kill()
    site.daemon.start()
    after = site.the_sandbox()
    assert (after["address"], after["id"]) == (before["address"], before["id"])
    site.judge(podman.must("exec", "through", *probe("allowed", "denied")))


def test_without_a_daemon_nothing_is_created(site: Site, podman: Podman) -> None:
    site.daemon.kill()
    try:
        done = run(podman, IMAGE, "id")
        assert done.returncode != 0
        assert "no netmgr daemon" in done.stderr
    finally:
        site.daemon.start()


def test_what_a_killed_engine_leaves_is_collected(site: Site, podman: Podman) -> None:
    start(podman, "--name", "lost")
    facts = podman.inspect("lost")["State"]
    sandbox = site.the_sandbox()
    os.kill(facts["ConmonPid"], signal.SIGKILL)
    assert site.checks_out(sandbox["name"])  # the fence stands, whoever is gone
    os.kill(facts["Pid"], signal.SIGKILL)
    time.sleep(0.2)
    assert site.machine.must("netmgr", "oci", "gc", "-o", "json") != ""
    assert len(site.sandboxes()) == 1  # too young to be taken for dead
    found = site.machine.must("netmgr", "oci", "gc", "--older-than", "0", "-o", "json")
    assert json.loads(found) == {"removed": [sandbox["name"]]}
    site.assert_nothing_is_left()


def test_a_runtime_that_is_killed_half_way_leaves_what_gc_finds(site: Site, podman: Podman) -> None:
    """Killed after the daemon has made the sandbox: a runtime that never comes back."""
    runtime = "/usr/local/bin/killed-runc"
    site.machine.write(runtime, '#!/bin/sh\ncase " $* " in *" create "*) kill -9 $$;; esac\n')
    (site.machine.own / runtime.lstrip("/")).chmod(0o755)
    words = ("--runtime", RUNTIME, "--runtime-flag", f"netmgr-runtime={runtime}")
    done = site.machine.run("podman", *words, "run", "--network", "none", IMAGE, "id")
    assert done.returncode != 0
    assert len(site.sandboxes()) == 1
    site.machine.must("netmgr", "oci", "gc", "--older-than", "0")


def test_hooks_alone_give_a_fence_and_names(site: Site, podman: Podman) -> None:
    """podman's own way of hooks, with the runtime as it is."""
    hook = {
        "version": "1.0.0",
        "hook": {"path": HOOK},
        "when": {"annotations": {"^(io\\.)?netmgr\\.": ".*"}},
        "stages": ["precreate", "createRuntime", "poststop"],
    }
    site.machine.write("etc/containers/oci/hooks.d/netmgr.json", json.dumps(hook))
    hooks = ("--hooks-dir", "/etc/containers/oci/hooks.d")
    words = ("podman", *hooks, "run", "--rm", "--network", "none", *POLICY, *volumes(), IMAGE)
    site.judge(site.machine.must(*words, *probe()))
    refused = site.machine.run("podman", *hooks, "run", "--rm", "--privileged", "--network", "none",
                               *POLICY, IMAGE, "id")  # fmt: skip
    assert refused.returncode != 0
    assert "CAP_NET_ADMIN" in refused.stderr
