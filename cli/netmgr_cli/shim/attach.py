"""Owns: a container's namespace attached to its sandbox, and the sandbox's end, found by labels.

Knows nothing of who asks: CNI and netavark do.
"""

import os

from netmgr_cli.shim import wire

Json = dict[str, object]


def attach(socket: str, body: Json, owner: dict[str, str]) -> Json:
    """The sandbox of a container, new or as it stands.

    What stands under the name and is this container's, of another namespace, is from before its
    engine was killed: it is replaced.

    Args:
        body: of POST /v1/sandboxes, with `attach.netns` and `labels`, the owner's among them.
        owner: labels that say whose it is.

    Raises:
        wire.Failure: it was refused, or the name is another container's.
    """
    try:
        return _create(socket, body)
    except wire.Failure as failure:
        if failure.code != "conflict" or not _is_stale(socket, body, owner):
            raise
    detach(socket, owner)
    return _create(socket, body)


def _create(socket: str, body: Json) -> Json:
    return wire.ask(socket, "POST", "/v1/sandboxes", body, wire.CHANGE_S)


def _is_stale(socket: str, body: Json, owner: dict[str, str]) -> bool:
    sandbox, wanted = find(socket, owner), body["attach"]
    assert isinstance(wanted, dict)
    return sandbox is not None and not is_same(str(sandbox["netns"]), str(wanted["netns"]))


def detach(socket: str, owner: dict[str, str]) -> None:
    """Remove what is the owner's, in one question; nothing there is done, too."""
    collect(socket, [], owner)


def collect(socket: str, keep: list[str], labels: dict[str, str], by: str | None = None) -> None:
    """Remove the sandboxes with these labels whose label `by` is not among `keep`.

    Args:
        by: the last of the labels, where it is not named.
    """
    body = {"keep": keep, "by": by or list(labels)[-1], "labels": labels}
    wire.ask(socket, "POST", "/v1/sandboxes/gc", body, wire.CHANGE_S)


def find(socket: str, owner: dict[str, str]) -> Json | None:
    """The owner's sandbox, as it is listed. By its labels, not by its name: nobody needs to know
    how it was named, and another container's is never meant."""
    query = "&".join(f"label={wire.quote(f'{key}={value}')}" for key, value in owner.items())
    found = wire.ask(socket, "GET", f"/v1/sandboxes?{query}").get("sandboxes")
    return found[0] if isinstance(found, list) and found else None


def is_same(one: str, other: str) -> bool:
    """Whether two paths lead to one namespace."""
    try:
        first, second = os.stat(one), os.stat(other)
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
