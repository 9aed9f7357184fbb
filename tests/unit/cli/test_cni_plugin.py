"""The CNI plugin without containers: what it reads, what it answers, what it asks the daemon."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from netmgr_cli.shim.cni import faults, plugin
from netmgr_cli.shim.cni.faults import Fault
from netmgr_cli.shim.cni.request import VERSIONS, Request, parse_request
from netmgr_cli.shim.cni.result import render_attachment
from netmgr_cli.shim.names import sandbox_name

ID = "b85e04a579665479c74c41b2af0684f3dc12f347f7e5fdeb2d3f7c1156f34951"
ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": ID,
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=team;K8S_POD_NAME=web-0",
}
BOX = {"address": "10.77.0.2", "gateway": "169.254.77.1", "mac": "06:6e:0a:4d:00:02"}


def config(**more: object) -> dict[str, object]:
    return {"cniVersion": "1.0.0", "name": "sand", "type": "netmgr", **more}


def ask(env: dict[str, str] | None = None, **more: object) -> Request:
    return parse_request(ENV | (env or {}), config(**more))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_is_of_the_version_that_was_asked(version: str) -> None:
    result: Any = render_attachment(version, "/run/netns/x", BOX)
    assert result["cniVersion"] == version
    assert result["interfaces"] == [
        {"name": "eth0", "mac": "06:6e:0a:4d:00:02", "sandbox": "/run/netns/x"}
    ]
    [address] = result["ips"]
    assert address["address"] == "10.77.0.2/32"
    assert ("version" in address) == (version < "1.0.0")
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.77.1"}]
    assert result["dns"] == {"nameservers": ["169.254.77.1"]}


@pytest.mark.parametrize(
    ("env", "more", "code", "says"),
    [
        ({"CNI_COMMAND": "JUMP"}, {}, faults.INVALID_ENVIRONMENT, "expected one of ADD, DEL"),
        ({"CNI_NETNS": ""}, {}, faults.INVALID_ENVIRONMENT, "ADD needs CNI_NETNS"),
        ({"CNI_IFNAME": "net1"}, {}, faults.INVALID_ENVIRONMENT, "one door"),
        ({"CNI_ARGS": "half"}, {}, faults.INVALID_ENVIRONMENT, "KEY=VALUE"),
        ({"CNI_ARGS": "NETMGR_POLICI=x"}, {}, faults.INVALID_ENVIRONMENT, "NETMGR_POLICY"),
        ({}, {"cniVersion": "2.0.0"}, faults.INCOMPATIBLE_VERSION, "0.3.0, 0.3.1"),
        ({"CNI_COMMAND": "GC"}, {}, faults.INCOMPATIBLE_VERSION, "GC came with 1.1.0"),
        ({}, {"polici": "x"}, faults.UNSUPPORTED_FIELD, "unknown key 'polici'"),
        ({}, {"policy": 1}, faults.INVALID_CONFIG, "policy: expected"),
        ({}, {"ipam": {"type": "host-local"}}, faults.UNSUPPORTED_FIELD, "of netmgr"),
        ({}, {"earlierLinks": "keep"}, faults.INVALID_CONFIG, "'refuse' or 'remove'"),
        ({}, {"labels": {"a": 1}}, faults.INVALID_CONFIG, "object of texts"),
        ({}, {"selectable": {"name": []}}, faults.UNSUPPORTED_FIELD, "policy, tenant"),
        ({}, {"selectable": {"policy": "x"}}, faults.INVALID_CONFIG, "list of texts"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    env: dict[str, str], more: dict[str, object], code: int, says: str
) -> None:
    with pytest.raises(Fault, match=says) as caught:
        ask(env, **more)
    assert caught.value.code == code


def test_a_container_chooses_only_what_its_network_offers() -> None:
    pod = {"io.kubernetes.cri.pod-annotations": {"netmgr.policy": "build"}}
    assert ask(policy="agents").chosen("policy") == "agents"
    assert ask(runtimeConfig=pod, policy="build").chosen("policy") == "build"
    offered = ask(runtimeConfig=pod, policy="agents", selectable={"policy": ["build"]})
    assert offered.chosen("policy") == "build"
    with pytest.raises(Fault, match="does not offer"):
        ask(runtimeConfig=pod, policy="agents").chosen("policy")
    with pytest.raises(Fault, match="does not offer"):
        ask({"CNI_ARGS": "NETMGR_TENANT=other"}, tenant="ours").chosen("tenant")


def test_a_pods_policy_cannot_lead_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text("version: 1\n")
    (tmp_path / "policies").mkdir()
    pod = {"io.kubernetes.cri.pod-annotations": {"netmgr.policy": "../outside"}}
    request = ask(
        runtimeConfig=pod, selectable={"policy": ["*"]}, policyDir=str(tmp_path / "policies")
    )
    with pytest.raises(Fault, match="does not offer"):
        plugin.wanted(request)


def test_a_pods_policy_is_no_path_even_where_all_are_offered(tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text("version: 1\n")
    pod = {"io.kubernetes.cri.pod-annotations": {"netmgr.policy": str(file)}}
    with pytest.raises(Fault, match="does not offer"):
        ask(runtimeConfig=pod, selectable={"policy": ["*"]}).chosen("policy")


def test_what_the_daemon_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "agents.yaml").write_text("version: 1\n")
    request = ask(policy="agents", policyDir=str(tmp_path), tenant="t", labels={"team": "a"})
    assert plugin.wanted(request) == {
        "name": "b85e04a57966",
        "policy": {"text": "version: 1\n", "source": f"{tmp_path}/agents.yaml"},
        "tenant": "t",
        "labels": {
            "team": "a",
            "cni.network": "sand",
            "cni.container": ID,
            "pod.namespace": "team",
            "pod.name": "web-0",
        },
        "attach": {"netns": "/run/netns/x", "replace_links": False},
    }


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ("K8S_POD_NAMESPACE=team;K8S_POD_NAME=web-0", "team-web-0"),
        ("K8S_POD_NAMESPACE=demo;K8S_POD_NAME=demo", "demo"),  # as podman has it
        ("", "b85e04a57966"),
    ],
)
def test_a_sandbox_may_be_named_after_its_pod(args: str, name: str) -> None:
    assert ask({"CNI_ARGS": args}, nameFrom="pod").sandbox == name


@pytest.mark.parametrize(
    ("container", "name"),
    [(ID, "b85e04a57966"), ("job-7", "job-7"), ("hub", None), ("Web.1", None), ("x" * 80, None)],
)
def test_names_of_containers(container: str, name: str | None) -> None:
    found = sandbox_name(container)
    assert name is None or found == name
    assert found == sandbox_name(container)
    assert len(found) <= 63


def run(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], stdin: str) -> int:
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    return plugin.main()


def test_version_is_answered_in_the_version_of_the_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, {"CNI_COMMAND": "VERSION"}, '{"cniVersion": "0.4.0"}') == 0
    assert json.loads(capsys.readouterr().out) == {
        "cniVersion": "0.4.0",
        "supportedVersions": list(VERSIONS),
    }


def test_an_error_is_json_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    absent = json.dumps(config(socket=str(tmp_path / "absent.sock")))
    assert run(monkeypatch, ENV, absent) == 1
    error = json.loads(capsys.readouterr().out)
    assert error["cniVersion"] == "1.0.0"
    assert error["code"] == faults.TRY_AGAIN
    assert "no netmgr daemon at" in error["msg"]


def test_what_is_no_json_is_a_decoding_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, ENV, "{") == 1
    assert json.loads(capsys.readouterr().out)["code"] == faults.DECODING_FAILURE


@pytest.mark.parametrize(
    ("version", "result", "files", "status"),
    [
        ("1.0.0", None, False, 0),  # ADD has made nothing
        ("1.0.0", None, True, 1),  # it has, and died before it could say so
        ("1.0.0", {"ips": []}, False, 1),
        ("0.3.1", None, False, 1),  # a runtime that keeps no results
    ],
)
def test_without_a_daemon_a_del_is_done_where_nothing_was_made(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    version: str,
    result: object,
    files: bool,
    status: int,
) -> None:
    if files:
        (tmp_path / "sandboxes" / ID[:12]).mkdir(parents=True)
    asked = config(cniVersion=version, prevResult=result, socket=str(tmp_path / "api.sock"))
    assert run(monkeypatch, ENV | {"CNI_COMMAND": "DEL"}, json.dumps(asked)) == status
