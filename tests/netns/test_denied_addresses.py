"""What the kernel refused is called by the reason that `policy explain` gives for it."""

import json
from collections.abc import Callable

import pytest
from world import World
from world.sandbox import Sandbox

pytestmark = pytest.mark.root

METADATA = "169.254.169.254"  # link-local like the hub's address, and nobody's here
HUB = "169.254.77.1"


@pytest.mark.parametrize("address", [METADATA, "203.0.113.77"])
def test_a_record_and_explain_agree(
    address: str, world: World, make_sandbox: Callable[..., Sandbox]
) -> None:
    box = make_sandbox()
    assert box.enter("curl", "-sS", "-m", "5", f"http://{address}:80/").returncode == 7
    record = box.wait_record(lambda r: r["destination"]["ip"] == address)
    asked = world.netmgr("policy", "explain", box.name, f"{address}:80", "-o", "json")
    said = json.loads(asked.stdout)
    for key in ("verdict", "reason", "message", "remedy"):
        assert record[key] == said[key]


def test_the_hub_and_another_sandbox_are_peers(make_sandbox: Callable[..., Sandbox]) -> None:
    box, other = make_sandbox(), make_sandbox()
    for address in (HUB, other.address):
        box.enter("curl", "-sS", "-m", "5", f"http://{address}:80/")
        record = box.wait_record(lambda r, ip=address: r["destination"]["ip"] == ip)
        assert record["reason"] == "peer_blocked"
