"""Owns: what a policy may call a host: a name, a name with wildcards, an IPv4 address.

Knows nothing of rules or DNS. Wildcards, label by label from the left:

    *.example.com           exactly one label before example.com
    **.example.com          one label or more
    api-*.example.com       stars inside the first label
    *.s3.*.example.com      a whole label in the middle
The apex is never included, and what remains after the last wildcard must belong to somebody:
two labels at least, and no public suffix (`*.com`, `*.co.uk`).
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

from netmgr.errors import BadInput
from netmgr.model import HOST_ALIASES, HOST_NAME, INFERENCE_NAME, parse_dns_name
from netmgr.policy.match import BadPattern, StarText, parse_star_text

HOST_NAMES: Final = frozenset((HOST_NAME, *HOST_ALIASES))
# Served by netmgr itself on every sandbox's terms; no policy gives or takes them.
OWN_NAMES: Final = frozenset((INFERENCE_NAME, "policy.local"))
RESERVED_NAMES: Final = HOST_NAMES | OWN_NAMES

# What country registries sell names under, curated from the ICANN part of the public suffix list:
# that list has 7,000 rules, and refusing a wildcard by mistake costs more than it helps.
_UNDER_MANY: Final = "ac co com edu gov mil net org ne or go gob gouv govt gub gv nom sch"
_UNDER_SOME: Final = """
    ltd.uk me.uk nhs.uk plc.uk police.uk asn.au id.au asso.fr tm.fr ad.jp ed.jp gr.jp lg.jp pe.kr
    re.kr idv.tw idv.hk web.za law.za gen.nz geek.nz iwi.nz kiwi.nz maori.nz school.nz firm.in
    gen.in ind.in res.in adv.br art.br blog.br eng.br ind.br tv.br bel.tr biz.tr gen.tr info.tr
    k12.tr name.tr pol.tr web.tr my.id web.id
"""
_REGISTRY_LABELS: Final = frozenset(_UNDER_MANY.split())
_REGISTRY_SUFFIXES: Final = frozenset(_UNDER_SOME.split())
_LABEL_WITH_STARS = re.compile(r"(?!-)[a-z0-9_*-]{1,63}(?<!-)")
_UNUSUAL = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
MAX_SPELLING: Final = 64  # characters of an address that is looked at for a suggestion
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class ExactHost:
    """One name, in its canonical spelling."""

    text: str


@dataclass(frozen=True, slots=True)
class LiteralHost:
    """An address that a policy names itself."""

    text: str
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class WildcardHost:
    """A name with wildcards.

    Attributes:
        first: `**`, or None for a whole `*`, or the fixed or starred first label.
        rest: the labels after it; None for a whole `*`.
        anchor: the fixed labels after the last wildcard, joined: what the index is keyed by.
    """

    text: str
    first: str | StarText | None
    rest: tuple[str | None, ...]
    anchor: str

    def matches(self, name: str) -> bool:
        """Whether the canonical `name` fits. Reserved names are the caller's to exclude."""
        labels = name.split(".")
        surplus = len(labels) - len(self.rest)
        if surplus < 1 or (surplus > 1 and self.first != "**"):
            return False
        if any(w not in (None, h) for w, h in zip(self.rest, labels[surplus:], strict=True)):
            return False
        return _label_fits(self.first, labels[0])


@dataclass(frozen=True, slots=True)
class AnyHost:
    """No host at all: every name but the reserved ones, and the addresses of `allowed_ips`."""

    text: str = ""


Host = ExactHost | LiteralHost | WildcardHost | AnyHost


def parse_host(text: str) -> ExactHost | LiteralHost | WildcardHost:
    """A host as an endpoint names it.

    Raises:
        BadPattern: with what would be right, where that can be said.
    """
    if not text.isascii():
        raise BadPattern(f"{text!r}: expected ASCII{_suggest_ascii(text)}")
    if "/" in text or ":" in text:
        raise BadPattern(f"{text!r}: {_explain_separator(text)}")
    if "*" in text:
        return _parse_wildcard(text.lower().removesuffix("."))
    if _NUMBER.fullmatch(text.rstrip(".").rpartition(".")[2]):
        return _parse_literal(text)
    try:
        return ExactHost(parse_dns_name(text))
    except BadInput as error:
        raise BadPattern(error.message.removeprefix("host name ")) from None


def may_overlap(one: WildcardHost, other: WildcardHost) -> bool:
    """Whether some name may fit both. Errs towards yes for labels with several stars."""
    long, short = (one, other) if len(one.rest) >= len(other.rest) else (other, one)
    if len(long.rest) == len(short.rest):
        if "**" not in (one.first, other.first) and not _labels_meet(one.first, other.first):
            return False
    elif short.first != "**":
        return False
    tail = long.rest[len(long.rest) - len(short.rest) :]
    return all(a is None or b is None or a == b for a, b in zip(tail, short.rest, strict=True))


def _label_fits(want: str | StarText | None, label: str) -> bool:
    if want is None or want == "**":
        return True
    return want == label if isinstance(want, str) else want.matches(label)


def _labels_meet(one: str | StarText | None, other: str | StarText | None) -> bool:
    if one is None or other is None:
        return True
    if isinstance(one, str):
        return _label_fits(other, one)
    if isinstance(other, str):
        return one.matches(other)
    return one.may_meet(other)


def _parse_wildcard(text: str) -> WildcardHost:
    labels = text.split(".")
    if len(text) > 253 or not all(_LABEL_WITH_STARS.fullmatch(label) for label in labels):
        raise BadPattern(f"{text!r}: expected a host name, with '*' or '**' as wildcards")
    for number, label in enumerate(labels):
        if "**" in label and (number or label != "**"):
            raise BadPattern(f"{text!r}: '**' may only be the whole first label")
        if number and "*" in label and label != "*":
            raise BadPattern(
                f"{text!r}: {label!r}: after the first label, '*' must be the whole label"
            )
    last = max(number for number, label in enumerate(labels) if "*" in label)
    anchor = labels[last + 1 :]
    if len(anchor) < 2:
        raise BadPattern(
            f"{text!r} matches under a whole top-level domain; "
            "expected two fixed labels at the end, as in '*.example.com'"
        )
    if is_public_suffix(anchor):
        raise BadPattern(
            f"{text!r} matches under the public suffix {'.'.join(anchor)!r}, where anybody can "
            "register names; name the domain that you mean"
        )
    if _NUMBER.fullmatch(anchor[-1]):
        raise BadPattern(f"{text!r}: an address takes no wildcard")
    first = labels[0]
    return WildcardHost(
        text=text,
        first=_parse_first(first),
        rest=tuple(None if label == "*" else label for label in labels[1:]),
        anchor=".".join(anchor),
    )


def is_public_suffix(labels: list[str]) -> bool:
    """Whether two labels are what a country's registry sells names under."""
    if len(labels) != 2 or len(labels[1]) != 2:
        return False
    return labels[0] in _REGISTRY_LABELS or ".".join(labels) in _REGISTRY_SUFFIXES


def _parse_first(label: str) -> str | StarText | None:
    if label == "*":
        return None
    if "*" not in label or label == "**":
        return label
    return parse_star_text(label.split("*"))


def _parse_literal(text: str) -> LiteralHost:
    try:
        address = IPv4Address(text)
    except AddressValueError:
        raise BadPattern(
            f"{text!r}: a host that ends in a number is an address; expected four decimal numbers"
            f"{suggest_address(text)}"
        ) from None
    return LiteralHost(str(address), address)


def _explain_separator(text: str) -> str:
    try:
        IPv6Address(text.strip("[]"))
    except AddressValueError:
        pass
    else:
        return "sandboxes have no IPv6; name the host, or give its IPv4 address"
    if "://" in text:
        return "expected a host name alone, without scheme and path"
    if ":" in text:
        return "expected a host name alone; the port belongs into 'port'"
    return "expected a host name; networks belong into 'allowed_ips', paths into 'rules'"


def _suggest_ascii(text: str) -> str:
    try:
        return f"; its form in DNS is {text.encode('idna').decode()!r}"
    except UnicodeError:
        return " (the name's form in DNS, xn--...)"


def suggest_address(text: str) -> str:
    """What an address in an unusual spelling (hexadecimal, octal, fewer numbers) is, for an error;
    '' where it is none. Read as inet_aton(3) does, which is how most programs read it."""
    parts = text.split(".")
    if len(text) > MAX_SPELLING or len(parts) > 4 or not all(map(_UNUSUAL.fullmatch, parts)):
        return ""
    *high, low = (int(p, 16 if p[:2].lower() == "0x" else 8 if p[0] == "0" else 10) for p in parts)
    bits = 32 - 8 * len(high)  # the last number fills what the others leave
    if low >> bits or any(number > 255 for number in high):
        return ""
    address = IPv4Address(int.from_bytes(bytes(high)) << bits | low)
    return f"; in the usual spelling this is {address}"
