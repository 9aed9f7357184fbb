"""Owns: how one value of the configuration file becomes a typed one, and which values it may take.

Each parser takes what YAML gave, returns the value or raises ValueError with what was expected.
Knows nothing of which keys there are.
"""

import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final

Network = IPv4Network | IPv6Network
Parser = Callable[[Any], Any]

DNS_PORT: Final = 53

# Loopback, this host, link-local, multicast and broadcast (RFC 6890): no setting opens these.
NEVER_PUBLIC: Final[tuple[Network, ...]] = (
    ip_network("0.0.0.0/8"),
    ip_network("127.0.0.0/8"),
    ip_network("169.254.0.0/16"),
    ip_network("224.0.0.0/3"),
    ip_network("::/127"),
    ip_network("::ffff:0:0/96"),
    ip_network("fe80::/10"),
    ip_network("ff00::/8"),
)


class Direction(StrEnum):
    """Which way an operator may move a number away from its default."""

    NONE = "-"  # not a number
    DOWN = "down"
    UP = "up"
    BOTH = "down and up"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration file: everything about it but its name and default.

    Attributes:
        section: heading under which docs/config.md lists it.
        doc: one or two sentences.
        parse: from YAML's value to ours; raises ValueError.
        unit: of a number.
        least: smallest value of a number.
        most: largest value of a number.
        live: whether SIGHUP applies a new value; otherwise the daemon has to be restarted.
        shown: what the docs print for a default that depends on the instance or the host.
    """

    section: str
    doc: str
    parse: Parser
    unit: str = ""
    least: float | None = None
    most: float | None = None
    live: bool = False
    shown: str | None = None

    def direction(self, default: Any) -> Direction:
        """Which way the value may go from `default`."""
        if self.least is None or self.most is None:
            return Direction.NONE
        if default >= self.most:
            return Direction.DOWN
        return Direction.UP if default <= self.least else Direction.BOTH

    def accept(self, raw: Any) -> Any:
        """The value of `raw`.

        Raises:
            ValueError: what was expected, in words.
        """
        value = self.parse(raw)
        if self.least is not None and value < self.least:
            raise ValueError(
                f"{raw} is below the least, {_number(self.least)} {self.unit}".rstrip()
            )
        if self.most is not None and value > self.most:
            raise ValueError(f"{raw} is above the most, {_number(self.most)} {self.unit}".rstrip())
        return value


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a worker runs as; both numeric, because a worker has no user database."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return str(self.uid) if self.uid == self.gid else f"{self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True)
class Nameserver:
    """An upstream DNS server: address as text, and port."""

    ip: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        if self.port == DNS_PORT:
            return self.ip
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def parse_int(raw: Any) -> int:
    """A whole number; YAML's booleans are none."""
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError(f"expected a whole number, found {raw!r}")
    return raw


def parse_seconds(raw: Any) -> float:
    """A finite number of seconds."""
    if isinstance(raw, bool) or not isinstance(raw, int | float) or raw != raw:
        raise ValueError(f"expected a number of seconds, found {raw!r}")
    try:
        return float(raw)
    except OverflowError:
        raise ValueError("expected a number of seconds, found one beyond all bounds") from None


def parse_text(raw: Any) -> str:
    """A text that is not empty and has no control characters."""
    if not isinstance(raw, str) or not raw or not raw.isprintable():
        raise ValueError(f"expected a text, found {raw!r}")
    return raw


def parse_path(raw: Any) -> Path:
    """An absolute path."""
    path = Path(parse_text(raw))
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"expected an absolute path without '..', found {raw!r}")
    return path


def parse_flag(raw: Any) -> bool:
    """true or false."""
    if not isinstance(raw, bool):
        raise ValueError(f"expected true or false, got {raw!r}")
    return raw


def parse_optional_path(raw: Any) -> Path | None:
    """An absolute path, or null."""
    return None if raw is None else parse_path(raw)


def parse_pool(raw: Any) -> IPv4Network:
    """An IPv4 network of at least four addresses."""
    network = parse_network(raw)
    if not isinstance(network, IPv4Network) or network.prefixlen > 30:
        raise ValueError(
            f"expected an IPv4 network such as 10.77.0.0/16, /30 at most, found {raw!r}"
        )
    return network


def parse_network(raw: Any) -> Network:
    """One network in CIDR notation without host bits."""
    try:
        return ip_network(parse_text(raw))
    except ValueError as problem:
        raise ValueError(f"expected a network such as 192.0.2.0/24: {problem}") from None


def parse_public_networks(raw: Any) -> tuple[Network, ...]:
    """A list of networks, none of which reaches the host itself or its link."""
    networks = tuple(parse_network(item) for item in _list(raw))
    for network in networks:
        for never in NEVER_PUBLIC:
            if network.version == never.version and network.overlaps(never):
                raise ValueError(f"{network} overlaps {never}, which never counts as public")
    return networks


def parse_ports(raw: Any) -> tuple[int, ...]:
    """A list of port numbers, sorted."""
    ports = [parse_int(item) for item in _list(raw)]
    for port in ports:
        if not 1 <= port <= 65535:
            raise ValueError(f"expected ports from 1 to 65535, found {port}")
    return tuple(sorted(set(ports)))


def parse_nameservers(raw: Any) -> tuple[Nameserver, ...]:
    """A list of `address`, `ipv4:port` or `[ipv6]:port`."""
    return tuple(parse_nameserver(parse_text(item)) for item in _list(raw))


def parse_nameserver(text: str) -> Nameserver:
    """One DNS server.

    Raises:
        ValueError: neither an address nor an address with a port.
    """
    host, port = text, str(DNS_PORT)
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(
            f"expected an address such as 9.9.9.9 or 9.9.9.9:53, found {text!r}"
        ) from None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"expected a port from 1 to 65535 in {text!r}")
    return Nameserver(str(address), int(port))


def parse_account(raw: Any) -> Account:
    """A numeric uid (the gid is the same number) or the name of a user of this host."""
    if isinstance(raw, str):
        try:
            entry = pwd.getpwnam(raw)
        except KeyError:
            raise ValueError(f"this host has no user {raw!r}") from None
        account = Account(entry.pw_uid, entry.pw_gid)
    else:
        number = parse_int(raw)
        account = Account(number, number)
    if account.uid <= 0 or account.gid <= 0 or account.uid >= 2**32 - 1:
        raise ValueError(f"expected a user other than root, found {raw!r}")
    return account


def parse_choice(*choices: str) -> Parser:
    """A parser for one of a few words."""

    def parse(raw: Any) -> str:
        if raw not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, found {raw!r}")
        return str(raw)

    return parse


def parse_choices(*choices: str) -> Parser:
    """A parser for a list of a few words, sorted."""
    one = parse_choice(*choices)

    def parse(raw: Any) -> tuple[str, ...]:
        return tuple(sorted({one(item) for item in _list(raw)}))

    return parse


def _list(raw: Any) -> list[Any]:
    if not isinstance(raw, list):
        raise ValueError(f"expected a list, found {raw!r}")
    return raw


_KEY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")


class KeyStore(StrEnum):
    """Where the key of what is encrypted at rest may live."""

    FILE = "file"
    CREDENTIAL = "credential"
    KEYRING = "keyring"


@dataclass(frozen=True, slots=True)
class KeySource:
    """One of these places. `name`: of the credential, or the key's description."""

    kind: KeyStore = KeyStore.FILE
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind.value


def parse_key_source(raw: object) -> KeySource:
    """`file`, `credential:NAME` or `keyring:DESCRIPTION`.

    Raises:
        ValueError: none of these.
    """
    kind, colon, name = str(raw).partition(":")
    if raw == KeyStore.FILE:
        return KeySource()
    if kind in (KeyStore.CREDENTIAL, KeyStore.KEYRING) and colon and _KEY_NAME.fullmatch(name):
        return KeySource(KeyStore(kind), name)
    raise ValueError(f"expected file, credential:NAME or keyring:DESCRIPTION, found {raw!r}")
