"""Fifty pods at once, and things die among them: the world comes back, and nothing is left."""

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from runtimes.containerd import Containerd, Pod, load_image
from runtimes.leftovers import assert_nothing_is_left, sandboxes
from runtimes.machine import Machine
from runtimes.podman import Podman

pytestmark = [pytest.mark.root, pytest.mark.slow]

MANY = 50
AT_ONCE = 12  # a kubelet starts as many side by side


@pytest.fixture(scope="module")
def containerd(machine: Machine) -> Iterator[Containerd]:
    machine.must("netmgr", "cni", "install")
    conflist = {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "netmgr"}]}
    machine.write("etc/cni/net.d/10-pods.conflist", json.dumps(conflist))
    Podman(machine)
    with Containerd(machine) as made:
        load_image(machine)
        yield made
        made.remove_all()


def start(containerd: Containerd, number: int) -> Pod | grpc.RpcError:
    try:
        return containerd.run_pod(f"pod-{number}")
    except grpc.RpcError as error:
        return error


def start_many(containerd: Containerd, numbers: Iterable[int]) -> list[Pod | grpc.RpcError]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda number: start(containerd, number), numbers))


def remove_many(containerd: Containerd) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(containerd.remove_pod, containerd.pods()))


def test_the_daemon_and_the_engine_die_among_fifty_pods(
    containerd: Containerd, machine: Machine
) -> None:
    daemon = machine.world.netmgrd
    with ThreadPoolExecutor(1) as aside:
        starting = aside.submit(start_many, containerd, range(MANY))
        while not starting.done() and len(sandboxes(machine)) < MANY // 5:
            time.sleep(0.02)
        daemon.kill()
        daemon.start()
        found = starting.result()
    failed = [number for number, pod in enumerate(found) if not isinstance(pod, Pod)]
    assert len(failed) < MANY, "the world did not come back"
    containerd.stop(9)
    containerd.start()
    started = {pod.id for pod in found if isinstance(pod, Pod)}
    for half_made in set(containerd.pods()) - started:  # as a kubelet does
        containerd.remove_pod(half_made)
    alive = containerd.pods()
    status, answer = daemon.api("POST", "/v1/sandboxes/gc", {"keep": alive, "by": "cni.container"})
    assert status == 200, answer
    assert [pod for pod in start_many(containerd, failed) if not isinstance(pod, Pod)] == []
    boxes = sandboxes(machine)
    assert len({box["address"] for box in boxes}) == MANY
    owners = {box["labels"]["cni.container"] for box in boxes}
    assert owners <= set(containerd.pods())
    for box in boxes:
        status, report = daemon.api("GET", f"/v1/sandboxes/{box['name']}/check")
        assert (status, report["ok"]) == (200, True), report
    remove_many(containerd)
    assert_nothing_is_left(machine)
