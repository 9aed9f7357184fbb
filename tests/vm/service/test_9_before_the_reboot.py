"""Last: what the machine shall still have after its reboot (tests/vm/reboot)."""

import pytest
from machine import ensure_service, netmgr

POLICY = "version: 1\nnetwork_policies:\n  a:\n    endpoints: [{host: a.example, port: 443}]\n"
POLICY += '    binaries: [{path: "/**"}]\n'


@pytest.mark.long
def test_two_sandboxes_are_left_for_the_next_boot(tmp_path) -> None:
    ensure_service()
    policy = tmp_path / "a.yaml"
    policy.write_text(POLICY)
    netmgr("sandbox", "create", "first", "--policy", str(policy), "--tenant", "t", "--label", "a=b")
    netmgr("sandbox", "create", "second", "--allow", "b.example:8443")
