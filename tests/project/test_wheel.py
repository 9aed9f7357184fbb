"""What is shipped: exactly the four packages, whole and typed, with their metadata."""

import email.parser
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "netmgr": ROOT / "netmgr",
    "netmgr_dns": ROOT / "dns/netmgr_dns",
    "netmgr_proxy": ROOT / "proxy/netmgr_proxy",
    "netmgr_cli": ROOT / "cli/netmgr_cli",
}
BUILD_DEADLINE_S = 100


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel, built from this tree without the network."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    done = subprocess.run(
        [*command, str(ROOT)], capture_output=True, text=True, timeout=BUILD_DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_top_level_is_exactly_the_four_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES.keys()


def test_every_source_file_is_in_it(wheel: zipfile.ZipFile) -> None:
    expected = {
        f"{package}/{path.relative_to(folder)}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*.py")
    }
    assert expected <= set(wheel.namelist())


def test_every_package_is_typed(wheel: zipfile.ZipFile) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(wheel.namelist())


def test_no_door_plate_is_shipped(wheel: zipfile.ZipFile) -> None:
    assert [n for n in wheel.namelist() if n.endswith(".md")] == []


def test_the_metadata_say_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    (folder,) = {n.partition("/")[0] for n in wheel.namelist() if ".dist-info/" in n}
    facts = email.parser.Parser().parsestr(wheel.read(f"{folder}/METADATA").decode())
    assert facts["License-Expression"] == "Apache-2.0"
    assert facts["Requires-Python"] == ">=3.11"
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()
    assert "netmgr = netmgr_cli.main:main" in wheel.read(f"{folder}/entry_points.txt").decode()
