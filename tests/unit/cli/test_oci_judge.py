"""Which containers can have a sandbox at all."""

from typing import Any

import pytest

from netmgr_cli.shim.oci.judge import refuse_powers, require_read_only_sysctls, shape_of
from netmgr_cli.shim.oci.words import Refused

PLAIN = ["CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]


def config(*kinds: str, caps: dict[str, list[str]] | None = None, **process: Any) -> dict[str, Any]:
    namespaces = [dict(zip(("type", "path"), kind.split(":"), strict=False)) for kind in kinds]
    process["capabilities"] = {"bounding": PLAIN} if caps is None else caps
    return {"linux": {"namespaces": namespaces}, "process": process}


def test_a_container_with_namespaces_and_no_powers_passes() -> None:
    shape = shape_of(config("network", "pid", "mount"))
    assert (shape.netns, shape.own_users) == ("", False)
    assert shape_of(config("network:/run/netns/x", "pid")).netns == "/run/netns/x"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (config("pid"), "--network=none"),
        (config("network"), "--pid=host"),
        ({}, "--network=none"),
        (config("network", "pid", caps={"bounding": ["CAP_NET_ADMIN"]}), "CAP_NET_ADMIN"),
        (config("network", "pid", caps={"effective": ["cap_sys_admin"]}), "CAP_SYS_ADMIN"),
        (config("network", "pid", caps={"ambient": ["CAP_BPF"]}), "CAP_BPF"),
        (config("network", "pid", caps={"permitted": ["CAP_DAC_READ_SEARCH"]}), "daemon's keys"),
    ],
)
def test_what_reaches_past_the_door_is_refused_with_a_way_out(
    given: dict[str, Any], told: str
) -> None:
    with pytest.raises(Refused, match=told) as refusal:
        shape_of(given)
    assert "tart it" in str(refusal.value)


def test_a_path_to_the_hosts_namespace_is_no_namespace_of_its_own() -> None:
    powers = {"bounding": ["CAP_NET_ADMIN"]}
    joined = config("network", "pid", "user:/proc/1/ns/user", caps=powers)
    assert shape_of(joined).own_users
    with pytest.raises(Refused, match="CAP_NET_ADMIN"):
        shape_of(joined, frozenset({"user"}))
    with pytest.raises(Refused, match="--pid=host"):
        shape_of(config("network", "pid:/proc/1/ns/pid"), frozenset({"pid"}))


def test_other_processes_are_seen_in_their_own_sandbox_only() -> None:
    with pytest.raises(Refused, match="--pid=container"):
        shape_of(config("network", "pid:/proc/9/ns/pid"))
    assert shape_of(config("network:/proc/9/ns/net", "pid:/proc/9/ns/pid")).netns


def test_a_user_namespace_of_its_own_may_hold_them() -> None:
    powers = {"bounding": ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]}
    assert shape_of(config("network", "pid", "user", caps=powers)).own_users


def test_the_bounding_set_counts_where_a_program_can_gain_it() -> None:
    bounding = {"capabilities": {"bounding": ["CAP_NET_ADMIN"]}}
    refuse_powers(bounding | {"noNewPrivileges": True})
    with pytest.raises(Refused):
        refuse_powers(bounding)
    with pytest.raises(Refused):
        refuse_powers({"noNewPrivileges": True, "capabilities": {"permitted": ["CAP_NET_ADMIN"]}})


def test_sysctls_are_read_only_where_the_configuration_says_so() -> None:
    require_read_only_sysctls({"linux": {"readonlyPaths": ["/proc/sys"]}})
    for config in ({"linux": {"readonlyPaths": None}}, {}):
        with pytest.raises(Refused, match="may write /proc/sys"):
            require_read_only_sysctls(config)
