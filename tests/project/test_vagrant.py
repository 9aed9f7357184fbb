"""The scripts of vagrant/: they parse, and a host without machines is told so by their status."""

import shutil
import subprocess
from pathlib import Path

import pytest

VAGRANT = Path(__file__).parents[2] / "vagrant"
SCRIPTS = sorted(VAGRANT.glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses_and_may_be_called(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert script.stat().st_mode & 0o111


@pytest.mark.parametrize(("words", "status"), [((), 77), (("--require",), 2)])
def test_without_vagrant_nothing_runs_and_one_line_says_why(
    tmp_path: Path, words: tuple[str, ...], status: int
) -> None:
    for tool in ("bash", "dirname", "mkdir"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    cache = tmp_path / "cache"
    done = subprocess.run(
        [VAGRANT / "run-tests.sh", *words],
        env={"PATH": str(tmp_path), "NETMGR_VM_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done
    assert done.stdout == "VM TESTS NOT RUN: no vagrant here; Debian: make setup-vm\n"
    assert not (cache / "results").exists()


def test_an_unknown_option_is_no_part() -> None:
    done = subprocess.run(
        [VAGRANT / "run-tests.sh", "--fast"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--fast" in done.stderr
