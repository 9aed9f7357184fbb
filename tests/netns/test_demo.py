"""`make run` keeps its word: the demonstration checks itself, and leaves nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from world.environment import clean_environment

pytestmark = pytest.mark.root

ROOT = Path(__file__).parents[2]


def test_the_demonstration_holds_and_leaves_nothing() -> None:
    before = {path.name for path in Path("/run/netns").glob("demo*")}
    script = f"ip link set lo up && exec {sys.executable} -I {ROOT}/packaging/demo.py"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=110,
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything above was checked" in done.stdout
    assert {path.name for path in Path("/run/netns").glob("demo*")} == before
