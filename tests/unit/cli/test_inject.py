"""What goes into containers and services, as each runtime wants it written."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from netmgr.answers import Injection
from netmgr.errors import BadInput
from netmgr.keys.injection import TrustPaths, files, mounts, trust_env
from netmgr_cli import inject

DIRECTORY = Path("/run/netmgr/sandboxes/demo")


def injection(name: str = "demo", **env: str) -> Injection:
    paths = TrustPaths(DIRECTORY / "ca.pem", DIRECTORY / "ca-bundle.pem", DIRECTORY / "java.p12")
    return {
        "name": name,
        "exists": True,
        "netns": f"/run/netns/netmgr-{name}",
        "files": files(DIRECTORY, paths),
        "mounts": mounts(DIRECTORY, paths),
        "env": trust_env(paths) | env,
    }


def test_a_cdi_specification_is_as_the_standard_has_it() -> None:
    spec: dict[str, Any] = json.loads(inject.render_cdi(injection()))
    assert spec.keys() == {"cdiVersion", "kind", "devices"}
    vendor, slash, kind = spec["kind"].partition("/")
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9.-]*[a-zA-Z0-9]", vendor)
    assert slash
    assert re.fullmatch(r"[a-zA-Z0-9]+", kind)
    [device] = spec["devices"]
    assert device.keys() == {"name", "containerEdits"}
    edits = device["containerEdits"]
    assert edits.keys() == {"env", "mounts"}
    assert all(re.fullmatch(r"[^=]+=.+", item) for item in edits["env"])
    for mount in edits["mounts"]:
        assert mount.keys() == {"hostPath", "containerPath", "options"}
        assert mount["options"][0] == "ro"
    targets = [mount["containerPath"] for mount in edits["mounts"]]
    assert {"/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"} < set(targets)
    assert len(targets) == len(set(targets))


def test_a_name_that_can_be_no_device_is_refused() -> None:
    with pytest.raises(BadInput, match="ends with a letter or a digit"):
        inject.render_cdi(injection("demo-"))


def test_a_drop_in_says_where_and_with_what() -> None:
    lines = inject.render_systemd(injection(WORD='a "b" 100% \\'), "netmgr-sandbox@demo.service")
    assert "NetworkNamespacePath=/run/netns/netmgr-demo\n" in lines
    assert f"BindReadOnlyPaths={DIRECTORY}/resolv.conf:/etc/resolv.conf\n" in lines
    assert f"BindReadOnlyPaths=-{DIRECTORY}/ca-bundle.pem:/etc/ssl/cert.pem\n" in lines
    assert 'Environment="WORD=a \\"b\\" 100%% \\\\"\n' in lines
    assert "Requires=netmgr-sandbox@demo.service\n" in lines
    assert "CAP_NET_ADMIN" in lines
    assert "[Unit]" not in inject.render_systemd(injection())


@pytest.mark.parametrize("path", ["/run/a b", "/run/a:b", '/run/"', "/run/a\\x"])
def test_a_path_that_a_unit_would_cut_is_refused(path: str) -> None:
    with pytest.raises(BadInput, match="cannot stand in a unit file"):
        inject.render_systemd(injection() | {"netns": path})  # type: ignore[typeddict-item]


def test_words_for_an_engine_are_words_of_a_shell() -> None:
    words = shlex.split(inject.FORMS["podman"](injection(WORD="a b")))
    assert words[:2] == ["--network", "ns:/run/netns/netmgr-demo"]
    assert words[words.index("WORD=a b") - 1] == "--env"
    assert f"{DIRECTORY}/ca.pem:{DIRECTORY}/ca.pem:ro" in words


def test_words_for_bubblewrap_end_with_zeros() -> None:
    words = inject.FORMS["bwrap"](injection(WORD="a b")).split("\0")
    assert words[-1] == ""
    assert words[words.index("WORD") - 1 : -1] == ["--setenv", "WORD", "a b"]
    assert ["--ro-bind-try", f"{DIRECTORY}/nsswitch.conf", "/etc/nsswitch.conf"] == words[6:9]
