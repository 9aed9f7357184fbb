"""The little programs that runtimes execute."""

import subprocess
from pathlib import Path

import pytest

from netmgr.errors import BadInput, Conflict
from netmgr_cli import programs

MODULE = "netmgr_cli.shim.cni.plugin"


@pytest.fixture
def text() -> str:
    return programs.render_program("cni", MODULE, programs.interpreter())


def test_a_program_runs_without_the_environments_site(text: str, tmp_path: Path) -> None:
    path = tmp_path / "netmgr"
    assert programs.install_program(path, text)
    hostile = tmp_path / "json.py"
    hostile.write_text("raise SystemExit('read from the working directory')")
    done = subprocess.run(
        [path],
        input=b"{}",
        capture_output=True,
        env={"CNI_COMMAND": "VERSION", "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"supportedVersions" in done.stdout


def test_a_host_needs_an_interpreter_and_no_netmgr(tmp_path: Path) -> None:
    home = tmp_path / "home"
    programs.copy_shim(home)
    path = tmp_path / "netmgr"
    text = programs.render_program("cni", MODULE, programs.interpreter(), home=home)
    assert str(Path(programs.__file__).parents[1]) not in text
    programs.install_program(path, text)
    done = subprocess.run(
        [path], input=b"{}", capture_output=True, env={"CNI_COMMAND": "VERSION"}, timeout=20,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"supportedVersions" in done.stdout


def test_install_twice_is_once(text: str, tmp_path: Path) -> None:
    path = tmp_path / "netmgr"
    assert programs.install_program(path, text)
    assert not programs.install_program(path, text)
    assert programs.remove_program(path)
    assert not programs.remove_program(path)


def test_what_others_put_there_stays(text: str, tmp_path: Path) -> None:
    path = tmp_path / "netmgr"
    path.write_bytes(b"\x7fELF\xff")
    with pytest.raises(Conflict, match="did not write it"):
        programs.install_program(path, text)
    with pytest.raises(Conflict, match="did not write it"):
        programs.remove_program(path)
    assert path.read_bytes() == b"\x7fELF\xff"


@pytest.mark.parametrize("python", ["python3", "/opt/my python/bin/python3", "/" + "x" * 300])
def test_an_interpreter_fits_into_a_first_line(python: str) -> None:
    with pytest.raises(BadInput, match="absolute path without spaces"):
        programs.render_program("cni", MODULE, Path(python))
