"""What a process of ours must not load: it is memory in every instance, and code beside secrets."""

import subprocess
import sys

import pytest


def loaded_by(statement: str) -> set[str]:
    """The modules of a fresh interpreter after one statement."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True
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
