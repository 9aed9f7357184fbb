"""Owns: what a caller asks for when it creates a sandbox, parsed. No I/O."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.model import NetnsSource, SandboxName, StartingPid, parse_sandbox_name
from netmgr.policy.policy import EMPTY_POLICY, Policy, parse_policy
from netmgr.policy.update import policy_from_allow

EMPTY_TEXT: Final = "version: 1\nnetwork_policies: {}\n"
MAX_KEY: Final = 255
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY}}}")
KEPT_POLICIES: Final = 32  # a runtime has a handful of them
KEPT_TEXT: Final = 64 * 1024  # a longer one is parsed each time, so that what is kept stays small


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One request for a sandbox.

    Attributes:
        policy_text: what the policy's history keeps.
        attach: path of a namespace, or a process in it; None: a new one is made.
        replace_links: remove the links that an attached namespace has.
    """

    name: SandboxName
    policy: Policy
    policy_text: str
    policy_source: str
    tenant: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    attach: NetnsSource | None = None
    replace_links: bool = False
    trust_stores: tuple[str, ...] = ()
    idempotency_key: str | None = None

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "SandboxSpec":
        """From the body of POST /v1/sandboxes.

        Raises:
            BadInput: a name, policy, endpoint or attachment that cannot be meant.
        """
        given = body.get("policy") or {}
        text = given.get("text")
        parse = _policy if len(text or "") <= KEPT_TEXT else _policy.__wrapped__
        wanted = parse(text, given.get("source"), tuple(body.get("allow") or ()))
        return cls(
            name=parse_sandbox_name(body["name"]),
            policy=wanted.policy,
            policy_text=wanted.text,
            policy_source=wanted.source,
            tenant=body.get("tenant"),
            labels=dict(body.get("labels") or {}),
            attach=_attachment(body.get("attach")),
            replace_links=bool((body.get("attach") or {}).get("replace_links")),
            trust_stores=tuple(sorted(body.get("trust_stores") or ())),
            idempotency_key=parse_idempotency_key(body.get("idempotency_key")),
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
        return _digest(facts)

    @property
    def request(self) -> str:
        """Tells a repeated request from another one under the same idempotency key."""
        return _digest([self.name, self.parameters, self.policy_text, list(self.trust_stores)])


@dataclass(frozen=True, slots=True)
class Living:
    """What a runtime says is alive, and which sandboxes it speaks of.

    Attributes:
        keep: names; with `by`, values of that label: a runtime's own ids.
        by: only sandboxes that have this label are meant.
        labels, tenant: only sandboxes that have these are meant.
    """

    keep: frozenset[str]
    by: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tenant: str | None = None

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> "Living":
        """From the body of POST /v1/sandboxes/gc.

        Raises:
            BadInput: a name that can be no sandbox's: a typing error must not delete its owner.
        """
        by = body.get("by")
        keep = frozenset(body["keep"])
        if by is None:
            keep = frozenset(map(parse_sandbox_name, keep))
        return cls(keep, by, dict(body.get("labels") or {}), body.get("tenant"))

    def is_gone(self, name: str, tenant: str | None, labels: Mapping[str, str]) -> bool:
        """Whether this sandbox is one of those meant, and does not live."""
        if self.tenant is not None and tenant != self.tenant:
            return False
        if any(labels.get(key) != value for key, value in self.labels.items()):
            return False
        if self.by is None:
            return name not in self.keep
        return self.by in labels and labels[self.by] not in self.keep


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def parse_idempotency_key(key: str | None) -> str | None:
    """A key as a caller may choose it: 1 to 255 visible characters of ASCII.

    Raises:
        BadInput: it is none.
    """
    if key is None or _KEY.fullmatch(key):
        return key
    raise BadInput(
        f"idempotency key {key[:MAX_KEY]!r}: expected 1 to {MAX_KEY} visible characters of ASCII, "
        "for example a UUID"
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A policy, the text to keep of it, and where it came from."""

    policy: Policy
    text: str
    source: str


@lru_cache(maxsize=KEPT_POLICIES)
def _policy(text: str | None, source: str | None, allow: tuple[str, ...]) -> _Wanted:
    """What a request's policy comes to; `allow` adds endpoints to a file's.

    Kept, because a runtime gives the same few policies to thousands of sandboxes: they share one
    value then, and the second costs nothing.
    """
    if text is None:
        if not allow:
            return _Wanted(EMPTY_POLICY, EMPTY_TEXT, "<nothing is allowed>")
        policy = policy_from_allow(allow)
        return _Wanted(policy, policy.to_yaml(), "--allow")
    assert source is not None, "a policy's text comes with its source"
    policy = parse_policy(text, source)
    if not allow:
        return _Wanted(policy, text, source)
    policy = policy_from_allow(allow, policy)
    return _Wanted(policy, policy.to_yaml(), f"{source} and --allow")


def _attachment(attach: Mapping[str, Any] | None) -> NetnsSource | None:
    if attach is None:
        return None
    path, pid = attach.get("netns"), attach.get("pid")
    if (path is None) == (pid is None):
        raise BadInput("attach: expected exactly one of netns (a path) and pid")
    if path is None:
        assert isinstance(pid, int)
        return StartingPid(pid) if attach.get("starting") else pid
    if attach.get("starting"):
        raise BadInput("attach.starting: goes with pid, the process that is starting")
    if not path.startswith("/"):
        raise BadInput(f"attach.netns: {path!r}: expected an absolute path")
    return Path(path)
