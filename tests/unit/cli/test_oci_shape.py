"""A configuration means to a runtime in Go what it means here, or it is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from netmgr_cli.shim.oci.container import read_container
from netmgr_cli.shim.oci.judge import refuse_powers
from netmgr_cli.shim.oci.words import Refused


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "config.json"
    path.write_text(text)
    return read_container(str(path))


def test_what_is_plain_is_taken(tmp_path: Path) -> None:
    config = {
        "ociVersion": "1.0.2",
        "annotations": {"Process": "any", "process": "too"},
        "linux": {"namespaces": [{"type": "network"}], "seccomp": None},
        "process": {"capabilities": {"bounding": None}, "rlimits": []},
    }
    assert read(tmp_path, json.dumps(config)) == config


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"Linux": {}}', "'linux'"),
        ('{"process": {"Capabilities": {"effective": ["CAP_SYS_ADMIN"]}}}', "'capabilities'"),
        ('{"process": {"capabilitie\u017f": {}}}', "'capabilities'"),
        ('{"linux": {"namespaces": [{"Type": "network"}]}}', "linux.namespaces[].Type"),
        ('{"process": {"capabilities": {"EFFECTIVE": []}}}', "'effective'"),
        ('{"process": {}, "process": {}}', "'process' stands twice"),
        ('{"linux": []}', "linux: expected an object"),
        ('{"linux": {"namespaces": ["network"]}}', "expected objects"),
        ('{"linux": {"namespaces": [{"path": 1}]}}', "expected a text"),
        ('{"process": {"env": ["A=1", 2]}}', "process.env: expected texts"),
        ('{"mounts": [{"type": "proc"}]}', "lacks 'destination'"),
    ],
)
def test_what_another_reader_would_read_otherwise_is_refused(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(Refused) as refusal:
        read(tmp_path, text)
    assert told in str(refusal.value)


def test_so_is_it_in_the_process_of_an_exec() -> None:
    with pytest.raises(Refused, match="'capabilities'"):
        refuse_powers({"CAPABILITIES": {"effective": ["CAP_NET_ADMIN"]}})
