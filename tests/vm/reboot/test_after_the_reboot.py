"""After a boot: the service is up by itself, and its sandboxes are as they were configured."""

from pathlib import Path

import pytest
from machine import (
    answers,
    asks_model,
    model_server,
    netmgr,
    route_to_model,
    shown,
    unit,
    wait_for,
)


@pytest.fixture(scope="module", autouse=True)
def booted() -> None:
    """The unit was enabled: nobody starts it here."""
    wait_for("the daemon's answer after the boot", answers)
    assert unit("ActiveState") == "active"


def test_the_sandboxes_are_restored_as_configured() -> None:
    first = shown("sandbox", "show", "first")
    assert (first["tenant"], first["labels"]) == ("t", {"a": "b"})
    for name in ("first", "second"):
        assert Path(f"/run/netns/netmgr-{name}").exists()
        netmgr("sandbox", "check", name)
    assert "a.example" in netmgr("policy", "get", "first").stdout


def test_they_work() -> None:
    with model_server() as address:
        route_to_model(address)
        assert asks_model("first")
        assert asks_model("second")
        netmgr("inference", "delete")


def test_a_new_one_gets_no_address_of_theirs() -> None:
    netmgr("sandbox", "create", "third")
    boxes = shown("sandbox", "list")
    boxes = boxes["sandboxes"] if isinstance(boxes, dict) else boxes
    assert len({box["address"] for box in boxes}) == 3
    netmgr("sandbox", "delete", "first", "second", "third")
