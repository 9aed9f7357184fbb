"""Tests that need a whole machine: `make vm` brings one up and runs them in it."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Elsewhere they would install a service on the developer's own host."""
    if os.environ.get("NETMGR_IN_VM") == "1":
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason="needs a machine of its own: make vm"))
