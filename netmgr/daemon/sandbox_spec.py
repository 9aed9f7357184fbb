"""Owns: what a caller asks for when it creates a sandbox, parsed. No I/O."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netmgr.errors import BadInput
from netmgr.model import SandboxName, parse_sandbox_name
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.update import policy_from_allow

EMPTY_POLICY = "version: 1\nnetwork_policies: {}\n"


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One request for a sandbox.

    Attributes:
        policy_text: what the policy's history keeps.
        attach: path of a namespace, or pid of a process in it; None: a new one is made.
    """

    name: SandboxName
    policy: Policy
    policy_text: str
    policy_source: str
    tenant: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    attach: Path | int | None = None
    idempotency_key: str | None = None

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "SandboxSpec":
        """From the body of POST /v1/sandboxes.

        Raises:
            BadInput: a name, policy, endpoint or attachment that cannot be meant.
        """
        text, source = _policy_text(body)
        return cls(
            name=parse_sandbox_name(body["name"]),
            policy=parse_policy(text, source),
            policy_text=text,
            policy_source=source,
            tenant=body.get("tenant"),
            labels=dict(body.get("labels") or {}),
            attach=_attachment(body.get("attach")),
            idempotency_key=body.get("idempotency_key"),
        )

    @property
    def parameters(self) -> str:
        """Tells a repeated create from one with other parameters."""
        facts = [
            self.policy.digest,
            self.tenant,
            dict(self.labels),
            None if self.attach is None else str(self.attach),
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _policy_text(body: Mapping[str, Any]) -> tuple[str, str]:
    """The text to keep, and where it came from. `allow` adds endpoints to a file's."""
    given, allow = body.get("policy"), list(body.get("allow") or [])
    if given is None:
        if not allow:
            return EMPTY_POLICY, "<nothing is allowed>"
        return policy_from_allow(allow).to_yaml(), "--allow"
    if not allow:
        return given["text"], given["source"]
    base = parse_policy(given["text"], given["source"])
    return policy_from_allow(allow, base).to_yaml(), f"{given['source']} and --allow"


def _attachment(attach: Mapping[str, Any] | None) -> Path | int | None:
    if attach is None:
        return None
    path, pid = attach.get("netns"), attach.get("pid")
    if (path is None) == (pid is None):
        raise BadInput("attach: expected exactly one of netns (a path) and pid")
    if path is None:
        assert isinstance(pid, int)
        return pid
    if not path.startswith("/"):
        raise BadInput(f"attach.netns: {path!r}: expected an absolute path")
    return Path(path)
