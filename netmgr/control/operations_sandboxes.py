"""Owns: what the OpenAPI document says of sandboxes and policies: a table and its examples."""

from typing import Final

from netmgr import answers
from netmgr.control.operation import CHANGE, NOT_FOUND, Operation

_DIR: Final = "/run/netmgr/sandboxes/build-17"
_POLICY: Final = """\
version: 1
network_policies:
  api:
    endpoints: [{host: api.example.com, port: 443}]
    binaries: [{path: /**}]
"""
_DIGEST: Final = "9f2c5a0e4d7b1c83"
_SANDBOX: Final[answers.Sandbox] = {
    "name": "build-17",
    "id": 17,
    "state": "ready",
    "created": 1763740800.0,
    "tenant": "research",
    "labels": {"runtime": "mine", "container": "4f1a"},
    "address": "10.77.0.17",
    "gateway": "169.254.77.1",
    "mac": "0a:4d:0a:4d:00:11",
    "link": "nm17",
    "netns": "/run/netns/netmgr-build-17",
    "attached": False,
    "policy": {"revision": 1, "digest": _DIGEST, "scope": "sandbox"},
    "run_dir": _DIR,
    "files": {
        "resolv_conf": f"{_DIR}/resolv.conf",
        "hosts": f"{_DIR}/hosts",
        "nsswitch_conf": f"{_DIR}/nsswitch.conf",
        "ca": f"{_DIR}/ca.pem",
        "ca_bundle": f"{_DIR}/ca-bundle.pem",
        "env": f"{_DIR}/env",
        "java_truststore": f"{_DIR}/cacerts.p12",
        "nss_database": None,
    },
    "mounts": [
        {"source": f"{_DIR}/resolv.conf", "target": "/etc/resolv.conf", "optional": False},
        {
            "source": f"{_DIR}/ca-bundle.pem",
            "target": "/etc/ssl/certs/ca-certificates.crt",
            "optional": True,
        },
    ],
    "env": {"SSL_CERT_FILE": f"{_DIR}/ca-bundle.pem", "NODE_EXTRA_CA_CERTS": f"{_DIR}/ca.pem"},
}
_INJECTION: Final[answers.Injection] = {
    "name": "build-18",
    "exists": False,
    "netns": "/run/netns/netmgr-build-18",
    "files": _SANDBOX["files"],
    "mounts": _SANDBOX["mounts"],
    "env": _SANDBOX["env"],
}
_CHANGED: Final[answers.PolicyChange] = {
    "revision": 4,
    "digest": _DIGEST,
    "changed": True,
    "warnings": [],
}


def _policy_operations(path: str, whose: str) -> dict[tuple[str, str], Operation]:
    """The operations on a sandbox's policy, and on the one over all sandboxes."""
    suffix = "_global" if path == "/v1/policy" else ""
    document: answers.PolicyDoc = {
        "text": _POLICY,
        "source": "policy.yaml",
        "revision": 3,
        "digest": _DIGEST,
        "created": 1763740800.0,
        "warnings": [],
    }
    written = {"text": _POLICY, "source": "policy.yaml", "if_revision": 3}
    operations = [{"op": "add_endpoint", "endpoint": {"host": "api.example.com", "port": 443}}]
    return {
        ("GET", path): Operation(
            f"policy_get{suffix}",
            f"One revision of {whose}; the one in force by default",
            answers.PolicyDoc,
            got=document,
            errors=NOT_FOUND,
        ),
        ("PUT", path): Operation(
            f"policy_set{suffix}",
            f"Replace {whose}; in force when this answers",
            answers.PolicyChange,
            sent=written,
            got=_CHANGED,
            errors=CHANGE,
        ),
        ("PATCH", path): Operation(
            f"policy_update{suffix}",
            f"Change {whose} by one atomic batch of operations",
            answers.PolicyChange,
            sent={"operations": operations},
            got=_CHANGED,
            errors=CHANGE,
        ),
        ("DELETE", path): Operation(
            f"policy_delete{suffix}",
            f"Take {whose} away (a sandbox's own cannot be: it is replaced)",
            got={"removed": True},
            errors=CHANGE,
        ),
        ("GET", f"{path}/history"): Operation(
            f"policy_history{suffix}",
            f"Every kept revision of {whose}, without its text",
            answers.Revisions,
            got={"revisions": [{"revision": 3, "digest": _DIGEST, "source": "policy.yaml"}]},
            errors=NOT_FOUND,
        ),
        ("POST", f"{path}/rollback"): Operation(
            f"policy_rollback{suffix}",
            f"Make an older revision of {whose} the newest",
            answers.PolicyChange,
            sent={"revision": 2},
            got=_CHANGED,
            errors=CHANGE,
        ),
    }


SANDBOXES: Final = {
    ("POST", "/v1/sandboxes"): Operation(
        "sandbox_create",
        "Create a sandbox, or attach an existing network namespace",
        answers.Sandbox,
        sent={
            "name": "build-17",
            "allow": ["api.example.com"],
            "tenant": "research",
            "labels": {"runtime": "mine", "container": "4f1a"},
            "attach": {"pid": 4711},
            "trust_stores": ["java"],
        },
        got=_SANDBOX,
        errors=(404, 409, 429),
    ),
    ("GET", "/v1/sandboxes"): Operation(
        "sandbox_list",
        "Every sandbox, or those with all of the given labels, by name",
        answers.Sandboxes,
        got={"sandboxes": [_SANDBOX]},
    ),
    ("DELETE", "/v1/sandboxes"): Operation(
        "sandbox_delete_all", "Delete every sandbox", answers.Removed, got={"removed": ["build-17"]}
    ),
    ("POST", "/v1/sandboxes/gc"): Operation(
        "sandbox_gc",
        "Delete every sandbox that a runtime does not name as living",
        answers.Removed,
        sent={"keep": ["4f1a", "77c0"], "by": "container", "labels": {"runtime": "mine"}},
        got={"removed": ["build-16"]},
    ),
    ("GET", "/v1/sandboxes/{name}"): Operation(
        "sandbox_show",
        "One sandbox, with the kernel's truth beside the record",
        answers.Sandbox,
        got=_SANDBOX,
        errors=NOT_FOUND,
    ),
    ("DELETE", "/v1/sandboxes/{name}"): Operation(
        "sandbox_delete",
        "Delete one sandbox with all its flows",
        answers.Removed,
        got={"removed": ["build-17"]},
        errors=NOT_FOUND,
    ),
    ("POST", "/v1/sandboxes/{name}/trust"): Operation(
        "sandbox_trust",
        "Make further stores of certificates; those that are there stay",
        answers.Sandbox,
        sent={"stores": ["java", "nss"]},
        got=_SANDBOX,
        errors=NOT_FOUND,
    ),
    ("GET", "/v1/sandboxes/{name}/injection"): Operation(
        "sandbox_injection",
        "What a runtime puts into a container of this sandbox, which need not exist yet",
        answers.Injection,
        got=_INJECTION,
    ),
    ("GET", "/v1/sandboxes/{name}/check"): Operation(
        "sandbox_check",
        "Compare the record with the kernel and the files",
        answers.CheckReport,
        got={"ok": True, "differences": []},
        errors=NOT_FOUND,
    ),
    ("GET", "/v1/sandboxes/{name}/policy/proposals"): Operation(
        "policy_propose",
        "Rules that would have allowed what was denied or audited",
        got={"proposals": []},
        errors=NOT_FOUND,
    ),
    **_policy_operations("/v1/sandboxes/{name}/policy", "a sandbox's policy"),
    **_policy_operations("/v1/policy", "the policy over all sandboxes"),
    ("POST", "/v1/explain"): Operation(
        "explain",
        "What would become of a target, judged by the object that enforces",
        answers.Explanation,
        sent={"sandbox": "build-17", "target": "https://api.example.com/v1", "method": "GET"},
        got={
            "verdict": "denied",
            "reason": "no_matching_rule",
            "rule": None,
            "nearest": "api",
            "message": "no rule names api.example.org",
            "remedy": "netmgr policy update build-17 --add-endpoint api.example.org:443",
            "treatment": None,
            "expires": None,
            "policy_revision": 1,
        },
        errors=NOT_FOUND,
    ),
}
