"""The guard in a configuration, and what it says of a namespace's links."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netmgr.errors import BadInput
from netmgr_cli.cni import cni
from netmgr_cli.guard import guarded
from netmgr_cli.shim.oci.guard import refuse_second_doors
from netmgr_cli.shim.oci.words import Refused

PYTHON = Path("/usr/bin/python3")
HEAD = "Inter-|   Receive\n face |bytes    packets\n"


def test_a_configuration_gets_the_guard_once_and_first() -> None:
    other = {"path": "/bin/other", "args": ["other"]}
    given = {"ociVersion": "1.0.2", "root": {"path": "x"}, "hooks": {"createRuntime": [other]}}
    once = guarded(json.dumps(given), PYTHON)
    config = json.loads(once)
    ours, kept = config["hooks"]["createRuntime"]
    assert kept == other
    assert config["root"] == given["root"]
    assert ours["path"] == "/bin/sh"
    assert "netmgr_cli.shim.oci.guard" in ours["args"][-1]
    assert guarded(once, PYTHON) == once


def test_for_another_host_it_finds_its_modules_there() -> None:
    text = guarded('{"ociVersion": "1.0.2"}', PYTHON, Path("/opt/cni/netmgr"))
    assert "/opt/cni/netmgr" in text
    assert str(Path(__file__).parents[3]) not in text


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected an OCI configuration"):
        guarded(text, PYTHON)


def test_the_command_is_a_filter() -> None:
    done = CliRunner().invoke(cni, ["guard"], input='{"ociVersion": "1.0.2"}')
    assert json.loads(done.output)["hooks"]["createRuntime"]


@pytest.mark.parametrize(
    ("links", "told"),
    [
        (["lo", "eth0"], None),
        (["lo"], None),
        (["eth0", "lo", "sit0", "tunl0"], None),
        (["lo", "eth0", "eth1"], "besides it: eth1"),
        (["lo", "eth0", "net1", "tun0"], "besides it: net1, tun0"),
    ],
)
def test_a_second_door_is_refused(tmp_path: Path, links: list[str], told: str | None) -> None:
    table = tmp_path / "dev"
    table.write_text(HEAD + "".join(f"{name:>6}: 0 0\n" for name in links))
    if told is None:
        refuse_second_doors(str(table))
    else:
        with pytest.raises(Refused, match=told):
            refuse_second_doors(str(table))
