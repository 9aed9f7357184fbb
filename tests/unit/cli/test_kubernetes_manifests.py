"""packaging/kubernetes, judged by Kubernetes' own schemas, and by what netmgr takes."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from netmgr.policy.policy import parse_policy
from netmgr_cli.shim.cni.request import parse_request

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    import kubernetes_validate

FOLDER = Path(__file__).parents[3] / "packaging" / "kubernetes"
VERSIONS = ("1.28", "1.31")


def manifests() -> list[dict[str, Any]]:
    return [
        manifest
        for path in sorted(FOLDER.glob("*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text())
    ]


def found(kind: str, name: str) -> dict[str, Any]:
    return next(m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "manifest", manifests(), ids=lambda m: f"{m['kind']}-{m['metadata']['name']}"
)
def test_a_manifest_is_as_kubernetes_has_it(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_the_network_is_one_that_the_plugin_takes() -> None:
    network = json.loads(found("ConfigMap", "netmgr-network")["data"]["netmgr.conflist"])
    [plugin] = network["plugins"]
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "x",
        "CNI_NETNS": "/run/netns/x",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K8S_POD_NAMESPACE=agents;K8S_POD_NAME=agent",
    }
    annotations = found("Pod", "agent")["metadata"]["annotations"]
    runtime = {"io.kubernetes.cri.pod-annotations": annotations}
    whole = {**plugin, "name": network["name"], "cniVersion": network["cniVersion"]}
    request = parse_request(env, whole | {"runtimeConfig": runtime})
    policies = found("ConfigMap", "netmgr-policies")["data"]
    assert f"{request.chosen('policy')}.yaml" in policies
    assert f"{plugin['policy']}.yaml" in policies
    mount = found("Pod", "agent")["spec"]["containers"][0]["volumeMounts"][0]
    expected = mount["subPathExpr"].replace("$(NAMESPACE)", "agents").replace("$(POD)", "agent")
    assert expected == f"{request.sandbox}.pem"


@pytest.mark.parametrize("name", ["default.yaml", "agents.yaml"])
def test_the_policies_are_policies(name: str) -> None:
    parse_policy(found("ConfigMap", "netmgr-policies")["data"][name], name)


def test_the_account_of_the_daemon_may_nothing() -> None:
    account = found("ServiceAccount", "netmgr")["metadata"]["name"]
    bound = [
        subject
        for manifest in manifests()
        for subject in manifest.get("subjects", [])
        if subject["kind"] == "ServiceAccount" and subject["name"] == account
    ]
    assert bound == []
