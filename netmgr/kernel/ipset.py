"""Owns: the ipset protocol: making, filling, counting and removing sets over raw netlink.

Raw because a set entry is added while a DNS answer waits: 5 us here, 145 us through a general
library, 870 us through the command (measured). Knows nothing of what a set is for. A client works
in the namespace that its thread was in when it was made.

Source: include/uapi/linux/netfilter/ipset/ip_set.h, protocol 7.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from netmgr.errors import HostFailed, LimitExceeded
from netmgr.kernel.fence import kernel_errors
from netmgr.kernel.ipset_codec import (
    NFGEN,
    Attr,
    Command,
    Entry,
    Listed,
    SetSpec,
    SetType,
    pack_command,
    pack_entry,
    pack_spec,
    pack_text,
    parse_listed,
    parse_spec,
    parse_text,
)
from netmgr.kernel.netlink import NetlinkSocket, iter_attrs, pack_attr, pack_nested, parse_attrs

_NETLINK_NETFILTER: Final = 12

_ERR_FIND_TYPE: Final = 4098
_ERR_BUSY: Final = 4100
_ERR_EXIST_NAME: Final = 4101
_ERR_TYPE_MISMATCH: Final = 4102
_ERR_EXIST: Final = 4103
_ERR_REFERENCED: Final = 4108
_ERR_HASH_FULL: Final = 4352
_ENOENT: Final = 2
_EEXIST: Final = 17

_ERRORS: Final = {
    4097: "protocol error",
    _ERR_FIND_TYPE: "the kernel has no such set type",
    4099: "the kernel's limit of sets is reached",
    _ERR_BUSY: "the set is in use",
    _ERR_EXIST_NAME: "the name is taken",
    _ERR_TYPE_MISMATCH: "a set of another type has that name",
    _ERR_EXIST: "the entry is there already, or is not there",
    _ERR_REFERENCED: "a rule refers to the set",
    4104: "invalid prefix length",
}


class Ipset:
    """A connection to the ipsets of the namespace that it was opened in."""

    def __init__(self) -> None:
        with kernel_errors("open netlink to ipset"):
            self._netlink = NetlinkSocket(_NETLINK_NETFILTER)
        self._revisions: dict[SetType, int] = {}

    def close(self) -> None:
        """Close the connection; sets stay."""
        self._netlink.close()

    def revision(self, kind: SetType) -> int:
        """The newest revision of a set type that the kernel has.

        Raises:
            HostFailed: the kernel has no such type; names the module that would bring it.
        """
        if kind not in self._revisions:
            payload = pack_text(Attr.TYPENAME, kind.kernel_name) + pack_attr(
                Attr.FAMILY, bytes([socket.AF_INET])
            )
            try:
                reply = self._netlink.ask(pack_command(Command.TYPE, payload))
            except OSError as refusal:
                module = "ip_set_" + kind.kernel_name.replace(":", "_").replace(",", "")
                raise HostFailed(
                    f"the kernel has no ipset type {kind.kernel_name}: load the module {module} "
                    "(kernel option CONFIG_IP_SET and its hash types)",
                    set_type=kind.kernel_name,
                ) from refusal
            self._revisions[kind] = parse_attrs(reply[len(NFGEN) :])[Attr.REVISION][0]
        return self._revisions[kind]

    def create(self, spec: SetSpec) -> None:
        """Make a set, or leave the one that stands with the same parameters.

        Raises:
            HostFailed: a set of that name stands with other parameters.
        """
        payload = (
            pack_text(Attr.SETNAME, spec.name)
            + pack_text(Attr.TYPENAME, spec.type.kernel_name)
            + pack_attr(Attr.REVISION, bytes([self.revision(spec.type)]))
            + pack_attr(Attr.FAMILY, bytes([socket.AF_INET]))
            + pack_nested(Attr.DATA, pack_spec(spec))
        )
        error = self._netlink.send_batch([pack_command(Command.CREATE, payload)])[0]
        if error in (_EEXIST, _ERR_EXIST_NAME, _ERR_TYPE_MISMATCH):
            raise HostFailed(
                f"set {spec.name} stands with other parameters than {spec.type.kernel_name}, "
                f"{spec.max_entries} entries; remove the hub first, or keep its limits",
                set=spec.name,
            )
        self._judge(error, "create set", spec.name)

    def destroy(self, name: str) -> None:
        """Remove a set, if it is there.

        Raises:
            HostFailed: a rule refers to it.
        """
        self._simple(Command.DESTROY, "destroy set", name)

    def flush(self, name: str) -> None:
        """Remove every entry of a set, if the set is there."""
        self._simple(Command.FLUSH, "flush set", name)

    def swap(self, name: str, other: str) -> None:
        """Let two sets of one type change places at once, also where rules refer to them.

        Raises:
            HostFailed: one is missing, or they are of different types.
        """
        payload = pack_text(Attr.SETNAME, name) + pack_text(Attr.TYPENAME, other)
        error = self._netlink.send_batch([pack_command(Command.SWAP, payload)])[0]
        self._judge(error, "swap set", name)

    def add(self, name: str, entries: Iterable[Entry]) -> None:
        """Add entries; those that stand stay as they are, with their counters.

        Raises:
            LimitExceeded: the set is full; entries before that one were added.
        """
        self.run([("add", name, entry) for entry in entries])

    def delete(self, name: str, entries: Iterable[Entry]) -> None:
        """Remove entries; those that are absent are removed already."""
        self.run([("del", name, entry) for entry in entries])

    def run(self, changes: list[tuple[str, str, Entry]]) -> None:
        """Several `("add" or "del", set name, entry)` at once, in order.

        Raises:
            LimitExceeded: a set is full.
            HostFailed: any other refusal; all other changes were made.
        """
        messages = [
            pack_command(
                Command.ADD if verb == "add" else Command.DEL,
                pack_text(Attr.SETNAME, name) + pack_nested(Attr.DATA, pack_entry(entry)),
            )
            for verb, name, entry in changes
        ]
        with kernel_errors("change sets"):
            errors = self._netlink.send_batch(messages)
        for (verb, name, entry), error in zip(changes, errors, strict=True):
            gone = verb == "del" and error in (_ERR_EXIST, _ENOENT)
            if error and not gone:
                self._judge(error, f"{verb} {entry} in set", name)

    def test(self, name: str, entry: Entry) -> bool:
        """Whether the entry is in the set."""
        return self.test_each([(name, entry)])[0]

    def test_each(self, members: Sequence[tuple[str, Entry]]) -> list[bool]:
        """Of each (set, entry) whether it is there."""
        messages = [
            pack_command(
                Command.TEST,
                pack_text(Attr.SETNAME, name) + pack_nested(Attr.DATA, pack_entry(entry)),
            )
            for name, entry in members
        ]
        errors = self._netlink.send_batch(messages)
        for (name, _), error in zip(members, errors, strict=True):
            if error != _ERR_EXIST:
                self._judge(error, "test set", name)
        return [not error for error in errors]

    def list(self, name: str) -> tuple[SetSpec, tuple[Listed, ...]] | None:
        """A set with all entries, or None where there is no such set."""
        message = pack_command(Command.LIST, pack_text(Attr.SETNAME, name))
        try:
            replies = self._netlink.dump(message)
        except FileNotFoundError:
            return None
        except OSError as refusal:
            self._judge(refusal.errno or 0, "list set", name)
            raise
        spec: SetSpec | None = None
        entries: list[Listed] = []
        for reply in replies:
            attrs = parse_attrs(reply[len(NFGEN) :])
            if spec is None and Attr.DATA in attrs:
                spec = parse_spec(attrs)
            if Attr.ADT in attrs:
                entries += (parse_listed(item) for _, item in iter_attrs(attrs[Attr.ADT]))
        return None if spec is None else (spec, tuple(entries))

    def names(self) -> tuple[str, ...]:
        """Names of all sets of the namespace."""
        with kernel_errors("list sets"):
            replies = self._netlink.dump(pack_command(Command.LIST, b""))
        attrs = (parse_attrs(reply[len(NFGEN) :]) for reply in replies)
        return tuple(dict.fromkeys(parse_text(found[Attr.SETNAME]) for found in attrs))

    def _simple(self, command: Command, doing: str, name: str) -> None:
        error = self._netlink.send_batch([pack_command(command, pack_text(Attr.SETNAME, name))])[0]
        if error != _ENOENT:
            self._judge(error, doing, name)

    def _judge(self, error: int, doing: str, name: str) -> None:
        if not error:
            return
        if error == _ERR_HASH_FULL:
            raise LimitExceeded(f"set {name} is full", set=name)
        why = _ERRORS.get(error) or os.strerror(error)
        raise HostFailed(f"{doing} {name}: {why}", set=name, errno=error)
