"""The README's way onto a host that has never seen netmgr."""

import stat
from pathlib import Path

import pytest
from machine import PROJECT, answers, ensure_service, install, netmgr, run, unit


def test_make_install_and_enable_as_the_readme_says() -> None:
    assert not Path("/opt/netmgr").exists()
    install()
    assert "netmgr doctor" in (PROJECT / "packaging/install.sh").read_text()
    ensure_service()
    assert (unit("ActiveState"), unit("Result")) == ("active", "success")


def test_the_doctor_finds_this_host_fit() -> None:
    said = netmgr("doctor", check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_kernels_modules_are_loaded_by_the_unit() -> None:
    loaded = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
    assert {"xt_TPROXY", "ip_set", "veth"} <= loaded | built_in()


def built_in() -> set[str]:
    """Modules that this kernel has built in."""
    release = run("uname", "-r").stdout.strip()
    lines = Path(f"/lib/modules/{release}/modules.builtin").read_text().splitlines()
    return {Path(line).name.removesuffix(".ko") for line in lines}


@pytest.mark.long
def test_installing_again_keeps_what_lives() -> None:
    netmgr("sandbox", "create", "kept")
    install()
    assert answers()
    assert "kept" in netmgr("sandbox", "list").stdout
    netmgr("sandbox", "check", "kept")
    netmgr("sandbox", "delete", "kept")


def test_state_is_roots_alone() -> None:
    assert stat.S_IMODE(Path("/var/lib/netmgr").stat().st_mode) == 0o700


def test_systemd_finds_the_unit_hardened() -> None:
    rated = run("systemd-analyze", "security", "--no-pager", "netmgr", check=False).stdout
    level = float(rated.rsplit("netmgr.service:", 1)[1].split()[0])
    assert level < 6.5, rated  # an unhardened service has 9.6
