"""Owns: getting a sandbox for a container from the daemon, and giving it back.

One container has one sandbox, named after the container's id and labelled with the whole of it. A
container that joins another's network namespace (a pod, `--network=container:NAME`) joins its
sandbox as it is.
"""

import os

from netmgr_cli.shim.names import sandbox_name
from netmgr_cli.shim.oci.judge import Shape
from netmgr_cli.shim.oci.words import (
    BUNDLE_LABEL,
    CONTAINER_LABEL,
    DEFAULT_POLICY,
    MAX_VALUE,
    POLICY_LABEL,
    Refused,
    Wish,
    Words,
)
from netmgr_cli.shim.policies import Unreadable, has_policy, read_policy
from netmgr_cli.shim.wire import CHANGE_S, Failure, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Lodger:
    """A container, as whoever has a sandbox: its id, which is unique in one engine, and its bundle,
    which tells containers of several engines apart."""

    __slots__ = ("bundle", "container")

    def __init__(self, container: str, bundle: str) -> None:
        self.container = container
        self.bundle = bundle

    @property
    def labels(self) -> dict[str, str]:
        """What its own sandbox is labelled with."""
        return {CONTAINER_LABEL: self.container, BUNDLE_LABEL: self.bundle[-MAX_VALUE:]}

    def owns(self, sandbox: "dict[str, Any]") -> bool:
        """Whether a sandbox is its own, and not one of the same name."""
        return all(sandbox["labels"].get(key) == value for key, value in self.labels.items())


def lodge(
    lodger: Lodger, attach: "dict[str, Any] | None", wish: Wish, words: Words
) -> "dict[str, Any]":
    """The container's sandbox: a new one, or the one that its namespace belongs to.

    Args:
        attach: the namespace, as the control API has it; None: the daemon makes one.

    Raises:
        Refused: a namespace or a policy that cannot be meant.
        Failure: the daemon says no, or nobody answers.
    """
    body = _wanted(lodger, attach, wish, words)
    try:
        return _create(body, words)
    except Failure as failure:
        if failure.code != "conflict":
            raise
        owner = failure.details.get("sandbox")
        if isinstance(owner, str):
            return _join(owner, wish, words)
        if "links" in failure.details:
            raise Refused(f"{failure.message}. Start it with --network=none") from failure
        named = find(lodger.container, words)
        if named is None:
            raise
        place = identity(str(named["netns"]))
        if attach is not None and place == identity(str(attach.get("netns"))):
            return _join(named["name"], wish, words)  # a CNI plugin made it for this very pod
        if not lodger.owns(named) or place in inhabited():
            raise
    # From before, and nobody is in it: its engine was killed, and now starts the container again.
    leave(lodger, words)
    return _create(body, words)


def _wanted(
    lodger: Lodger, attach: "dict[str, Any] | None", wish: Wish, words: Words
) -> "dict[str, Any]":
    labels = wish.labels | lodger.labels
    body: dict[str, Any] = {"name": sandbox_name(lodger.container), "labels": labels}
    policy = _policy(wish, words)
    if policy is not None:
        body["policy"] = policy
        labels[POLICY_LABEL] = (wish.policy or DEFAULT_POLICY)[-MAX_VALUE:]
    if wish.tenant is not None:
        body["tenant"] = wish.tenant
    if attach is not None:
        body["attach"] = attach
    return body


def _create(body: "dict[str, Any]", words: Words) -> "dict[str, Any]":
    return ask(words.socket, "POST", "/v1/sandboxes", body, CHANGE_S)


def _own(lodger: Lodger, words: Words) -> "dict[str, Any] | None":
    """The container's own sandbox, if there is one."""
    sandbox = find(lodger.container, words)
    return sandbox if sandbox is not None and lodger.owns(sandbox) else None


def find(container: str, words: Words) -> "dict[str, Any] | None":
    """The sandbox that has a container's name; None: there is none.

    Raises:
        Failure: the daemon says no, or nobody answers.
    """
    try:
        return ask(words.socket, "GET", f"/v1/sandboxes/{sandbox_name(container)}")
    except Failure as failure:
        if failure.code != "not_found":
            raise
        return None


def foretell(lodger: Lodger, wish: Wish, words: Words) -> dict[str, str]:
    """The variables that the container's sandbox will give, before there is one.

    Raises:
        Refused, Failure: there will be none.
    """
    body = _wanted(lodger, None, wish, words) | {"dry_run": True}
    env: dict[str, str] = ask(words.socket, "POST", "/v1/sandboxes", body)["env"]  # type: ignore[assignment]
    return env


def inhabited() -> set[tuple[int, int]]:
    """The network namespaces that processes are in."""
    found = (identity(f"/proc/{name}/ns/net") for name in os.listdir("/proc") if name.isdigit())
    return {one for one in found if one is not None}


def identity(path: str) -> tuple[int, int] | None:
    """Which namespace a path leads to; None: to nothing."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _join(owner: str, wish: Wish, words: Words) -> "dict[str, Any]":
    sandbox: dict[str, Any] = ask(words.socket, "GET", f"/v1/sandboxes/{owner}")
    labels = sandbox["labels"] | {"tenant": sandbox["tenant"]}
    asked = wish.labels | {POLICY_LABEL: wish.policy, "tenant": wish.tenant}
    for key, value in asked.items():
        if value is not None and labels.get(key) != value:
            raise Refused(
                f"it joins the network namespace of sandbox {owner!r}, whose {key} is "
                f"{labels.get(key)!r}, not {value!r}: one namespace is one sandbox. Leave the "
                "annotation away, or give the container a namespace of its own"
            )
    return sandbox


def _policy(wish: Wish, words: Words) -> dict[str, str] | None:
    if wish.policy is None and not has_policy(DEFAULT_POLICY, words.policies):
        return None  # nothing but inference.local
    try:
        return read_policy(wish.policy or DEFAULT_POLICY, words.policies)
    except Unreadable as problem:
        raise Refused(str(problem)) from problem


def leave(lodger: Lodger, words: Words) -> bool:
    """Remove the container's own sandbox; whether there was one. Twice is once.

    Raises:
        Failure: the daemon says no, or nobody answers.
    """
    sandbox = _own(lodger, words)
    if sandbox is None:
        return False  # none, or somebody else's of that name: this container joined one
    try:
        ask(words.socket, "DELETE", f"/v1/sandboxes/{sandbox['name']}", deadline_s=CHANGE_S)
    except Failure as failure:
        if failure.code != "not_found":
            raise
    return True


def attachment(shape: Shape) -> "dict[str, Any] | None":
    """What the control API is asked to attach for a namespace that exists already.

    Raises:
        Refused: it is the host's.
    """
    if not shape.netns:
        return None
    joined = identity(shape.netns)
    if joined is None:
        raise Refused(f"its network namespace {shape.netns} is not there")
    if joined == identity("/proc/self/ns/net"):
        raise Refused(
            f"{shape.netns} is the host's network namespace: there is no sandbox then. "
            "Start it with --network=none"
        )
    return {"netns": shape.netns}
