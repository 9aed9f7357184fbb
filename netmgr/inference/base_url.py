"""Owns: what a provider's base URL may be, and its one canonical spelling.

Knows nothing of providers, of DNS or of dialling: a *name* that resolves to a forbidden address
is the dialer's to refuse; here stands what the text alone tells.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from netmgr.errors import BadInput
from netmgr.model import HOST_NAME, INFERENCE_NAME, parse_dns_name

MAX_BASE_URL: Final = 2048  # characters; vendors' longest (Vertex) are about 150
_SCHEMES: Final = {"http": 80, "https": 443}
MOCK: Final = "mock"  # the scheme of a provider that is made up; it is never dialled
_PATH = re.compile(r"(?:/[A-Za-z0-9._~@:+=-]+)*")  # no escapes, no empty segment
_NUMERIC_HOST = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*\.?", re.IGNORECASE)

# Cleartext with a key is for the own host and the own LAN (RFC 1918, RFC 4193) only.
_PRIVATE: Final[tuple[IPv4Network | IPv6Network, ...]] = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("fc00::/7"),
)
# IPv6 space in which an IPv4 address hides: NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380).
_TRANSLATED: Final = (
    IPv6Network("64:ff9b::/96"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("2002::/16"),
    IPv6Network("2001::/32"),
)
# Where clouds keep their metadata services outside of link-local space.
_METADATA_ADDRESSES: Final = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"))
)
_METADATA_NAMES: Final = frozenset(
    {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
)


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A checked base URL.

    Attributes:
        scheme: `http` or `https`.
        host: canonical DNS name, or an address as text (IPv6 without brackets).
        port: 1 to 65535.
        path: '' or '/...' without a trailing slash.
        query: without '?'; '' where there is none.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    query: str = ""

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port: the value of a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == _SCHEMES.get(self.scheme, 0)
        return host if usual else f"{host}:{self.port}"

    @property
    def on_loopback(self) -> bool:
        """Whether it leads to this very host, whatever name says so."""
        if self.host in ("localhost", HOST_NAME):
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def is_below(self, domains: tuple[str, ...]) -> bool:
        """Whether the host is one of those domains or below one."""
        return any(self.host == domain or self.host.endswith("." + domain) for domain in domains)

    @property
    def origin(self) -> str:
        """`scheme://authority`."""
        return f"{self.scheme}://{self.authority}"

    def __str__(self) -> str:
        tail = f"?{self.query}" if self.query else ""
        return f"{self.origin}{self.path}{tail}"


def parse_base_url(
    text: str,
    where: str,
    *,
    query_allowed: bool = False,
    cleartext_anywhere: bool = False,
    mock_allowed: bool = False,
) -> BaseUrl:
    """Parse and judge a base URL.

    Args:
        where: what the text is called in an error (`config key OPENAI_BASE_URL`).
        query_allowed: whether this kind of provider keeps something in the query.
        cleartext_anywhere: whether http:// may lead further than the own host and LAN (a proxy:
            what goes through it is encrypted once more).
        mock_allowed: whether `mock://NAME` is one: in the test mode only.

    Raises:
        BadInput: it is no such URL, or sends the key where it must not go. The message never
            repeats a URL that has user information.
    """
    parts = _split(text, where)
    scheme = parts.scheme
    if scheme == MOCK:
        if mock_allowed:
            return BaseUrl(MOCK, parse_dns_name(parts.hostname or ""), 0)
        raise BadInput(f"{where}: mock:// URLs exist in the test mode only; expected https://")
    if scheme not in _SCHEMES:
        raise BadInput(f"{where}: {text!r} has no usable scheme; expected https://HOST[:PORT]/PATH")
    if parts.query and not query_allowed:
        raise BadInput(f"{where}: {text!r} has a query; this provider type's base URL takes none")
    host = _parse_host(parts, where)
    if not cleartext_anywhere:
        _judge_cleartext(scheme, host, where)
    path = parts.path.rstrip("/")
    segments = path.split("/")
    if not _PATH.fullmatch(path) or "." in segments or ".." in segments:
        raise BadInput(
            f"{where}: path {parts.path!r}: expected plain segments without '.', '..', '//' or '%'"
        )
    return BaseUrl(scheme, host, _port(parts, where), path, parts.query)


def _split(text: str, where: str) -> SplitResult:
    if not text or len(text) > MAX_BASE_URL:
        raise BadInput(f"{where}: expected a URL of 1 to {MAX_BASE_URL} characters")
    if any(not 0x21 <= ord(c) <= 0x7E or c == "\\" for c in text):
        raise BadInput(f"{where}: has a blank, a control or a non-ASCII character, or a backslash")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise BadInput(f"{where}: is no URL: expected https://HOST[:PORT]/PATH") from error
    if "@" in parts.netloc:
        raise BadInput(f"{where}: has user information before '@'; give the key as a credential")
    if "#" in text:
        raise BadInput(f"{where}: {text!r} has a fragment; it would never be sent")
    if text.endswith("?"):
        raise BadInput(f"{where}: {text!r} ends in an empty query")
    return parts


def _port(parts: SplitResult, where: str) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None and not parts.netloc.endswith(":"):
        return _SCHEMES[parts.scheme]
    if not port:
        raise BadInput(f"{where}: {parts.netloc!r}: expected a port from 1 to 65535")
    return port


def _parse_host(parts: SplitResult, where: str) -> str:
    host = parts.hostname or ""
    if parts.netloc.startswith("[") or ":" in host or _NUMERIC_HOST.fullmatch(host):
        return _parse_address(host, where)
    try:
        name = parse_dns_name(host)
    except BadInput as error:
        raise BadInput(f"{where}: {error.message}") from None
    if name == INFERENCE_NAME:
        raise BadInput(f"{where}: {name} is the sandboxes' own entrance; it would call itself")
    if name in _METADATA_NAMES:
        raise BadInput(f"{where}: {name} is a cloud's metadata service, never a model provider")
    return name


def _parse_address(host: str, where: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        # inet_aton() spellings (127.1, 0x7f000001): readers disagree about what they mean.
        raise BadInput(
            f"{where}: {host!r} is no plainly written address (like 192.0.2.7 or [2001:db8::7])"
        ) from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise BadInput(f"{where}: {host!r}: an address with a zone cannot be dialled")
    plain = _unmapped(address)
    if isinstance(plain, IPv6Address) and any(plain in net for net in _TRANSLATED):
        raise BadInput(f"{where}: {host} hides an IPv4 address; write that address itself")
    if plain in _METADATA_ADDRESSES or plain.is_link_local:
        raise BadInput(
            f"{where}: {host} is link-local or a metadata service, never a model provider"
        )
    if plain.is_unspecified or plain.is_multicast or _reserved(plain):
        raise BadInput(f"{where}: {host} is no address of a host")
    return str(plain)


def _reserved(address: IPv4Address | IPv6Address) -> bool:
    # Python counts ::1 among IPv6's reserved space.
    return address.is_reserved and not address.is_loopback


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped if mapped is not None else address


def _judge_cleartext(scheme: str, host: str, where: str) -> None:
    if scheme == "https" or host in ("localhost", HOST_NAME):
        return
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is not None and (address.is_loopback or any(address in net for net in _PRIVATE)):
        return
    raise BadInput(
        f"{where}: http:// would send the key in the clear to {host}; expected https:// "
        f"(http:// is for loopback, {HOST_NAME} and private addresses like 192.168.1.5)"
    )
