"""What a process of ours must not load: it is memory in every instance, and code beside secrets."""

import subprocess
import sys
from pathlib import Path

import pytest

CLI = Path(__file__).parents[2] / "cli"


def loaded_by(statement: str, *, bare: bool = False) -> set[str]:
    """The modules of a fresh interpreter after one statement; `bare` has no site directories."""
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    if bare:
        script = f"import sys; sys.path.append({str(CLI)!r})\n{script}"
    options = ["-I", "-S"] if bare else ["-I"]
    done = subprocess.run(
        [sys.executable, *options, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


def test_the_rules_helper_loads_no_packaging_tools() -> None:
    """15 MiB in a root process, for one path that sysconfig knows as well."""
    pytest.importorskip("iptc", reason="the packages of iptables are not installed")
    loaded = loaded_by("from netmgr.kernel.tables import LegacyTables; LegacyTables()")
    assert "iptc.ip4tc" in loaded
    assert not {"setuptools", "pkg_resources"} & loaded


def test_a_proxy_worker_loads_the_grammar_of_graphql_and_no_executor() -> None:
    """What comes later still gets the whole library."""
    loaded = loaded_by("import netmgr_proxy.server")
    assert "graphql.language.parser" in loaded
    assert not {name for name in loaded if name.startswith(("graphql.execution", "graphql.type"))}
    whole = loaded_by("import netmgr_proxy.server; from graphql import graphql_sync")
    assert "graphql.execution.execute" in whole


def test_what_engines_execute_loads_little() -> None:
    """Each is a new interpreter for every container: only what starts fast."""
    slow = {"typing", "dataclasses", "argparse", "pathlib", "subprocess", "logging", "ctypes"}
    for module in ("oci.hook", "oci.runc", "cni.plugin"):
        loaded = loaded_by(f"import netmgr_cli.shim.{module}", bare=True)
        assert not loaded & slow, module
