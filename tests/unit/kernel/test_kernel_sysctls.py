"""Pinning sysctls, on a directory that plays /proc/sys/net."""

from pathlib import Path

import pytest

from netmgr.errors import HostFailed
from netmgr.kernel import sysctls

WANTED = {"ipv4/ip_forward": "0", "ipv4/conf/all/rp_filter": "1", "ipv6/conf/all/disable_ipv6": "1"}


def plant(root: Path, values: dict[str, str]) -> None:
    for key, value in values.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_text(value + "\n")


def test_what_differs_is_written(tmp_path: Path) -> None:
    plant(tmp_path, dict.fromkeys(WANTED, "7"))
    sysctls.pin(WANTED, tmp_path)
    assert sysctls.differences(WANTED, tmp_path) == ()


def test_an_absent_ipv6_is_off(tmp_path: Path) -> None:
    plant(tmp_path, {"ipv4/ip_forward": "0", "ipv4/conf/all/rp_filter": "1"})
    sysctls.pin(WANTED, tmp_path)


def test_an_absent_ipv4_key_is_a_failure(tmp_path: Path) -> None:
    plant(tmp_path, {"ipv4/ip_forward": "0"})
    found = sysctls.differences(WANTED, tmp_path)
    assert [(each.key, each.found) for each in found] == [("ipv4/conf/all/rp_filter", None)]
    with pytest.raises(HostFailed, match="rp_filter"):
        sysctls.pin(WANTED, tmp_path)


def test_a_value_that_does_not_stick_is_a_failure(tmp_path: Path) -> None:
    plant(tmp_path, dict.fromkeys(WANTED, "0"))
    (tmp_path / "ipv4/ip_forward").unlink()
    (tmp_path / "ipv4/ip_forward").symlink_to("/dev/null")
    with pytest.raises(HostFailed, match="ip_forward"):
        sysctls.pin(WANTED, tmp_path)


def test_one_alone_is_written_and_read_back(tmp_path: Path) -> None:
    key, value = sysctls.IPV6_OFF_AT_BIRTH
    sysctls.pin_alone(key, value, tmp_path)  # no IPv6 at all is fine
    plant(tmp_path, {key: "0"})
    sysctls.pin_alone(key, value, tmp_path)
    assert sysctls.read(key, tmp_path) == value
    (tmp_path / key).unlink()
    (tmp_path / key).symlink_to("/dev/null")
    with pytest.raises(HostFailed, match="after 1 was written"):
        sysctls.pin_alone(key, value, tmp_path)
    with pytest.raises(HostFailed, match="ip_forward"):
        sysctls.pin_alone("ipv4/ip_forward", "0", tmp_path)


def test_src_valid_mark_is_pinned_everywhere() -> None:
    """One alone turns every flow into a time-out (measured)."""
    for scope in ("all", "default"):
        assert sysctls.HUB[f"ipv4/conf/{scope}/src_valid_mark"] == "0"
    assert sysctls.link_keys(["nm1"])["ipv4/conf/nm1/src_valid_mark"] == "0"
