"""Owns: what holds for every test: where `world` is found, who may run what, and what a skip is."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))  # `import world`; pyproject's pythonpath serves the product's rooms

from world.environment import clean_this_process  # noqa: E402
from world.fixtures import make_sandbox, make_world, world  # noqa: E402, F401
from world.leaks import held_files  # noqa: E402

# Set by `make test`: the set-up has installed every tool, so a skip hides something.
STRICT = os.environ.get("NETMGR_TEST_STRICT") == "1"

clean_this_process()
# Whether a property holds is no question of how busy the machine is; what hangs times out.
settings.register_profile("netmgr", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("netmgr")
# Shells start what runs in the background with some signals ignored, nohup(1) with another, and
# programs inherit that: then no test of interrupting could work.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
# libuv keeps one pipe for signals, made with a process's first loop: it is no test's to close.
uvloop.new_event_loop().close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need root are skipped without it, and say so."""
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: sudo make test")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    """A test leaves no pipe and no open file. (Sockets may be a shared world's new servers: its own
    end looks for those.)"""
    before = held_files()
    yield
    left = held_files() - before
    if left:
        gc.collect()  # what only a cycle holds is not held
        left &= held_files()
    assert not left, f"the test leaves descriptors behind: {sorted(left)}"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count skips aloud where none may be."""
    skipped = terminalreporter.stats.get("skipped", [])
    if STRICT and skipped:
        terminalreporter.section("skipped where nothing may be skipped", red=True)
        terminalreporter.line("NETMGR_TEST_STRICT is set: these skips fail the run")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A skip in a strict run is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if STRICT and exitstatus == 0 and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
