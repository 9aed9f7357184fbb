"""The plugin as libcni runs it: CHECK, GC, STATUS and VERSION, which no engine of Debian's calls.

The program is executed as the specification says: the configuration on its standard input, the
call in its environment, the answer on its standard output. (ADD and DEL are podman's and
containerd's in the other files.)
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from runtimes.leftovers import names
from runtimes.machine import Machine

pytestmark = pytest.mark.root

PLUGIN = "/opt/cni/bin/netmgr"
NETWORK = {"cniVersion": "1.1.0", "name": "sandboxes", "type": "netmgr"}
ALIVE, DEAD = "a" * 64, "d" * 64


class Runtime:
    """As much of a container runtime as libcni is: namespaces, and calls of the plugin."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.results: dict[str, Any] = {}

    def netns(self, container: str) -> str:
        """The path of a container's namespace."""
        return f"/run/netns/{self.machine.world.id}.{container[:4]}"

    def call(self, command: str, container: str = "", **more: Any) -> tuple[int, dict[str, Any]]:
        """One call: exit status and answer."""
        env = self.machine.env | {"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin"}
        if container:
            env |= {"CNI_CONTAINERID": container, "CNI_IFNAME": "eth0"}
            env["CNI_NETNS"] = self.netns(container)
        done = self.machine.run(PLUGIN, env=env, input=json.dumps(NETWORK | more))
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout) if done.stdout else {}

    def add(self, container: str) -> None:
        """A namespace and its sandbox."""
        self.machine.must("ip", "netns", "add", os.path.basename(self.netns(container)))
        status, answer = self.call("ADD", container)
        assert status == 0, answer
        self.results[container] = answer

    def check(self, container: str) -> tuple[int, dict[str, Any]]:
        """CHECK, with what ADD said."""
        return self.call("CHECK", container, prevResult=self.results[container])


@pytest.fixture
def runtime(machine: Machine) -> Iterator[Runtime]:
    machine.must("netmgr", "cni", "install")
    made = Runtime(machine)
    yield made
    for container in made.results:
        made.call("DEL", container)
        machine.run("ip", "netns", "delete", os.path.basename(made.netns(container)))
    assert names(machine) == []


def test_check_says_what_is_not_as_it_was(runtime: Runtime, machine: Machine) -> None:
    runtime.add(ALIVE)
    assert runtime.check(ALIVE) == (0, {})
    hub = machine.world.netmgrd.hub
    (link,) = [name for name in hub.links() if name.startswith("nm")]
    hub.run("ip", "link", "set", link, "down")
    status, answer = runtime.check(ALIVE)
    assert (status, answer["code"]) == (1, 106)
    assert f"`netmgr sandbox check {ALIVE[:12]}`" in answer["details"]
    other = {"ips": [{"address": "10.77.200.200/32"}]}
    status, answer = runtime.call("CHECK", ALIVE, prevResult=other)
    assert (status, answer["code"]) == (1, 106)
    assert "10.77.200.200" in answer["msg"]


def test_gc_removes_what_no_living_container_owns(runtime: Runtime, machine: Machine) -> None:
    for container in (ALIVE, DEAD):
        runtime.add(container)
    status, answer = runtime.call("GC")
    assert (status, answer["code"]) == (1, 7)  # a runtime that does not say who lives
    assert len(names(machine)) == 2
    living = [{"containerID": ALIVE, "ifname": "eth0"}]
    for _ in range(2):  # twice is once
        assert runtime.call("GC", **{"cni.dev/valid-attachments": living}) == (0, {})
        assert names(machine) == [ALIVE[:12]]
    assert runtime.check(ALIVE) == (0, {})
    nobody = {"name": "empty", "cni.dev/valid-attachments": None}  # as libcni has it
    assert runtime.call("GC", **nobody) == (0, {})
    elsewhere = {"name": "others", "cni.dev/valid-attachments": []}
    assert runtime.call("GC", **elsewhere) == (0, {})
    assert names(machine) == [ALIVE[:12]]


def test_status_follows_the_daemon(runtime: Runtime, machine: Machine) -> None:
    assert runtime.call("STATUS") == (0, {})
    daemon = machine.world.netmgrd
    daemon.kill()
    try:
        status, answer = runtime.call("STATUS")
        assert (status, answer["code"]) == (1, 50)
        assert "no netmgr daemon" in answer["msg"]
    finally:
        daemon.start()
    assert runtime.call("STATUS") == (0, {})


def test_commands_of_later_versions_are_refused_to_earlier_ones(runtime: Runtime) -> None:
    status, answer = runtime.call("VERSION")
    assert status == 0
    assert set(answer["supportedVersions"]) >= {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}
    for command, version in (("GC", "1.0.0"), ("STATUS", "1.0.0"), ("CHECK", "0.3.1")):
        status, answer = runtime.call(command, ALIVE, cniVersion=version)
        assert (status, answer["code"], answer["cniVersion"]) == (1, 1, version)
