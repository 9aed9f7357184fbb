"""The daemon as packaging/netmgr.service starts it, as far as that can be had without systemd."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from world import World

from netmgr_cli.main import cli

pytestmark = pytest.mark.root

UNIT = Path(__file__).parents[2] / "packaging" / "netmgr.service"


def settings() -> dict[str, str]:
    """Keys of the unit and their last values, continued lines joined."""
    lines = UNIT.read_text().replace("\\\n", " ").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] not in "#[")


def test_a_daemon_under_the_units_umask_answers_at_inference_local(
    make_world: Callable[[], World],
) -> None:
    world = make_world()
    before = os.umask(int(settings()["UMask"], 8))
    try:
        world.daemon()
    finally:
        os.umask(before)
    box = world.sandbox()
    done = box.run("curl", "-sS", "-w", "%{http_code}", "https://inference.local/v1/models")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("503")


def test_the_unit_starts_a_command_line_that_exists() -> None:
    words = shlex.split(settings()["ExecStart"])
    assert words[1:4] == ["-I", "-m", "netmgr_cli"]
    name, command, rest = cli.resolve_command(cli.make_context("netmgr", words[4:]), words[4:])
    assert name == "daemon"
    assert command is not None
    command.make_context("daemon", rest)
