"""A service in a sandbox, by a drop-in, under a real systemd."""

import subprocess
from pathlib import Path

import pytest
from runtimes.machine import Machine
from runtimes.systemd import Systemd
from world.web import fixed

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]
SERVICE = """\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh /tmp/{world}/probe.sh
"""
PROBE = """\
exec > /tmp/{world}/told 2>&1
ip -o link | grep -c -v lo:
cat /etc/resolv.conf
curl -sS https://api.example.com/
curl -sS -m 5 https://denied.example.com/ || echo "denied $?"
grep -c BEGIN "$NODE_EXTRA_CA_CERTS"
ip link add dummy0 type dummy || echo "no new link"
test -S /run/dbus/system_bus_socket || echo "no bus"
echo end
"""


def test_a_drop_in_puts_a_service_into_its_sandbox(machine: Machine) -> None:
    world = machine.world
    world.internet.https("api.example.com", fixed(b"hello from outside\n"))
    machine.must("netmgr", "sandbox", "create", "svc", "--allow", "api.example.com:443")
    drop_in = machine.must("netmgr", "sandbox", "inject", "svc", "--for", "systemd")
    name = world.directory.name
    (world.directory / "probe.sh").write_text(PROBE.format(world=name))
    units = {
        "probe.service": SERVICE.format(world=name),
        "probe.service.d/netmgr.conf": drop_in,
    }
    with Systemd(machine, units, "probe.service") as systemd:
        told = systemd.wait_for("told")
    assert told.startswith("1\nnameserver 169.254.77.1\nhello from outside\n"), told
    assert "denied 6" in told
    assert "\n1\n" in told
    assert "no new link" in told
    assert "no bus" in told
    machine.must("netmgr", "sandbox", "delete", "svc")


@pytest.mark.parametrize("needs", [(), ("--needs", "netmgr-sandbox@svc.service")])
def test_systemd_finds_no_fault_in_what_is_written(
    machine: Machine, tmp_path: Path, needs: tuple[str, ...]
) -> None:
    drop_in = machine.must("netmgr", "sandbox", "inject", "svc", "--for", "systemd", *needs)
    for unit in ("netmgr.service", "netmgr-sandbox@.service"):
        text = (ROOT / "packaging" / unit).read_text()
        text = text.replace("/opt/netmgr/venv/bin/python", "/bin/true")
        (tmp_path / unit).write_text(text.replace("/usr/local/bin/netmgr", "/bin/true"))
    (tmp_path / "probe.service").write_text("[Service]\nExecStart=/bin/true\n")
    folder = tmp_path / "probe.service.d"
    folder.mkdir()
    (folder / "netmgr.conf").write_text(drop_in)
    (tmp_path / "netmgr-sandbox@svc.service").symlink_to("netmgr-sandbox@.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", "probe.service",
         "netmgr-sandbox@svc.service"],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:/lib/systemd/system", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "probe" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
