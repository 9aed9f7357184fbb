"""Owns: the life of a worker process, the same for every kind.

    exec as root -> import the room -> `loaded`
    `start` (settings, descriptors) -> enter the hub -> give up every privilege -> `confined`
    `change` n (operations) -> apply -> answer: that is the acknowledgement of n
    channel closed -> exit: without the daemon nobody may decide

A room supplies a `Role`; the composition root (netmgr_cli.worker) puts both together.
"""

from typing import Any, Protocol

from netmgr.ipc import Answer, Body, Peer


class Role(Protocol):
    """What a kind of worker does, seen from its life cycle."""

    def open(self, settings: Body, fds: dict[str, int], daemon: Peer) -> None:
        """Take settings and inherited descriptors (listeners, ...) by name. Still privileged,
        already in the right namespaces; must not read a byte from a sandbox yet."""

    def serve(self) -> None:
        """Begin to read from sandboxes. Called unprivileged, after the first full state."""

    def apply(self, op: dict[str, Any]) -> None:
        """Apply one operation of a numbered change. Raising ends the process (it is then
        restarted with the full state)."""

    async def on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        """Answer a question of the daemon other than `start` and `change`."""

    async def close(self) -> None:
        """Stop serving; flows may end in good order for a few seconds."""
