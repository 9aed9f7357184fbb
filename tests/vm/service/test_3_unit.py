"""The unit under systemd: stop, start, kill, hang. Sandboxes keep their fence through all of it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from machine import (
    answers,
    asks_model,
    ensure_service,
    main_pid,
    model_server,
    netmgr,
    route_to_model,
    run,
    signal_daemon,
    unit,
    wait_for,
)

SANDBOX = Path("/run/netns/netmgr-steady")


@pytest.fixture(scope="module", autouse=True)
def steady() -> Iterator[None]:
    """One sandbox that outlives what happens to the daemon, and a model to ask."""
    ensure_service()
    with model_server() as address:
        route_to_model(address)
        netmgr("sandbox", "create", "steady")
        yield
        ensure_service()
        netmgr("sandbox", "delete", "steady")
        netmgr("inference", "delete")


def inside(*command: str) -> int:
    """A command in the sandbox's namespace, without the daemon's help; its status."""
    return run("ip", "netns", "exec", SANDBOX.name, *command, check=False).returncode


def test_stopped_it_leaves_the_fence_and_nothing_opens() -> None:
    run("systemctl", "stop", "netmgr")
    assert (unit("ActiveState"), main_pid()) == ("inactive", 0)
    assert not answers()
    assert SANDBOX.exists()
    assert inside("curl", "-sS", "-m", "5", "https://198.18.0.1/") != 0
    assert inside("curl", "-sS", "-m", "5", "http://192.0.2.7/") != 0
    assert "nothing answers" not in netmgr("status", check=False).stdout


def test_started_it_adopts_what_stands() -> None:
    run("systemctl", "start", "netmgr")
    wait_for("the daemon's answer", answers)
    netmgr("sandbox", "check", "steady")
    assert asks_model("steady")


@pytest.mark.long
def test_restarted_it_serves_on() -> None:
    before = main_pid()
    run("systemctl", "restart", "netmgr")
    wait_for("the daemon's answer", answers)
    assert main_pid() not in (0, before)
    assert asks_model("steady")


def test_killed_it_is_started_again() -> None:
    before = signal_daemon(signal.SIGKILL)
    wait_for("a successor", lambda: main_pid() not in (0, before))
    wait_for("its answer", answers)
    assert asks_model("steady")


def test_a_daemon_that_hangs_is_ended_by_the_watchdog() -> None:
    drop_in = Path("/run/systemd/system/netmgr.service.d/watchdog.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=30\n")
    try:
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "netmgr")
        wait_for("the daemon's answer", answers)
        before = signal_daemon(signal.SIGSTOP)
        wait_for("the watchdog", lambda: main_pid() not in (0, before))
        assert "Watchdog timeout" in run("journalctl", "-u", "netmgr", "--no-pager").stdout
    finally:
        drop_in.unlink()
        run("systemctl", "daemon-reload")
    wait_for("the successor's answer", answers)
    assert asks_model("steady")


@pytest.mark.long
def test_reload_reads_the_settings_again() -> None:
    before = main_pid()
    run("systemctl", "reload", "netmgr")
    said = ("journalctl", "-u", "netmgr", "--no-pager")
    wait_for("the reload", lambda: "configuration read again" in run(*said).stdout)
    assert main_pid() == before


@pytest.mark.long
def test_a_configuration_that_is_none_is_named_and_the_unit_fails() -> None:
    config = Path("/etc/netmgr/netmgr.yaml")
    kept = config.read_text()
    config.write_text("sandbox_pol: 10.77.0.0/16\n")
    try:
        run("systemctl", "stop", "netmgr")
        done = netmgr("daemon", check=False)
        assert done.returncode == 2, done
        assert "sandbox_pol" in done.stderr
        assert "sandbox_pool" in done.stderr
    finally:
        config.write_text(kept)
        ensure_service()
    netmgr("sandbox", "check", "steady")
