"""Who may import whom: the contracts of pyproject.toml, and two that it cannot say."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("netmgr", "dns", "proxy", "cli")

# Foreign library -> the files that may import it. One fence per library.
FENCES = {
    "iptc": ("netmgr/kernel/",),
    "pyroute2": ("netmgr/kernel/",),
    "dnslib": ("dns/netmgr_dns/", "netmgr/dialer/"),
    "click": ("cli/netmgr_cli/",),
    "rich": ("cli/netmgr_cli/",),
    "h11": ("proxy/netmgr_proxy/", "netmgr/testing/"),
    "httptools": ("proxy/netmgr_proxy/",),
    "re2": ("proxy/netmgr_proxy/scan/",),
    "detect_secrets": ("proxy/netmgr_proxy/scan/",),
    "phonenumbers": ("proxy/netmgr_proxy/scan/",),
    "stdnum": ("proxy/netmgr_proxy/scan/",),
    "fastapi": ("netmgr/control/",),
    "uvicorn": ("netmgr/control/",),
    "pydantic": ("netmgr/control/",),
    "pydantic_core": ("netmgr/journal/",),
    "sqlite3": ("netmgr/",),
    "subprocess": ("netmgr/", "cli/netmgr_cli/"),
}


def imports() -> Iterator[tuple[str, str]]:
    """(file, top-level module that it imports)."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((name, alias.name.partition(".")[0]) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    yield name, node.module.partition(".")[0]


def test_the_contracts_of_pyproject_hold() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout


def test_foreign_libraries_stay_behind_their_fence() -> None:
    outside = sorted(
        {
            f"{name} imports {module}"
            for name, module in imports()
            if module in FENCES and not name.startswith(FENCES[module])
        }
    )
    assert outside == []


def test_no_product_file_imports_a_test() -> None:
    assert [name for name, module in imports() if module in {"tests", "world", "pytest"}] == []
