"""Owns: the rule set of a hub as one value, and its text. Pure; constant for a given instance.

Set T of the design, with counters and log budgets. Everything that differs between sandboxes is in
sets (sets.py), so a sandbox more or less commits no table. Rules are written by exclusion (not lo,
not in `bind`), so that no link's name is trusted. No connection tracking, no NAT, no RELATED.

Log groups say why a packet was refused:
    5  denied    it came to INPUT and no rule let it in
    6  spoofed   its source is not its link's
    7  unseen    its destination never reaches INPUT (martian, multicast): logged in raw

Log budgets, so that one sandbox cannot silence another (and nobody floods the reader): the first
`LOG_BUDGET` packets of a source within a second are logged. The rule before adds the source to the
set `window`, whose entries live a second and are not refreshed; the log rule matches while the
entry's own packet counter is low. An expired entry starts anew at one. It is all in the kernel,
bounded by the number of sandboxes, and needs no hashlimit (whose options corrupt memory through
python-iptables). Exact counts of refused packets are in `denied`.

A false source names nobody, so there the link is the key, and no match counts by link. The reader
tells the daemon of a link that is loud, and the daemon puts it into `muted` for some seconds: its
packets are then counted there and not logged. SPOOF_LIMIT bounds what may come before that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from netmgr.kernel.sets import SetNames
from netmgr.model import InstanceName

MARK: Final = 1
GROUP_DENIED: Final = 5
GROUP_SPOOFED: Final = 6
GROUP_UNSEEN: Final = 7
GROUPS: Final = (GROUP_DENIED, GROUP_SPOOFED, GROUP_UNSEEN)
NO_POLICY: Final = "-"
"""In place of a policy: a chain that somebody made has none."""
LOG_BUDGET: Final = 50
"""Packets that are logged per source and second."""
SPOOF_LIMIT: Final = ("1000/sec", "2000")
"""Rate and burst of logged false sources, all links together: 2,000 fit the reader's buffer."""

Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Extension:
    """A match or a target with its options, in the words in which the kernel gives them back."""

    name: str
    options: Options = ()

    def text(self) -> str:
        """As iptables-save(8) writes the options. A value that begins with '!' is negated."""
        words = []
        for key, value in self.options:
            negated = value.startswith("!")
            words += ["!"] * negated + [f"--{key}"] + value.removeprefix("!").split()
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. An interface that begins with '!' is negated."""

    target: Extension
    matches: tuple[Extension, ...] = ()
    protocol: str | None = None
    in_interface: str | None = None
    out_interface: str | None = None

    def text(self) -> str:
        """As iptables-save(8) writes it, without the chain."""
        words = []
        for flag, value in (
            ("-i", self.in_interface),
            ("-o", self.out_interface),
            ("-p", self.protocol),
        ):
            if value is not None:
                words += ["!"] * value.startswith("!") + [flag, value.removeprefix("!")]
        for match in self.matches:
            words += ["-m", match.name, match.text()]
        words += ["-j", self.target.name, self.target.text()]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Chain:
    """One built-in chain: its policy and its rules in order."""

    policy: str
    rules: tuple[Rule, ...] = ()


Tables = Mapping[str, Mapping[str, Chain]]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything that stands in a hub: table -> chain -> rules, per family. Chains that are not
    named here are empty and accept, and no chain beside the built-in ones exists."""

    ipv4: Tables
    ipv6: Tables

    def lines(self) -> Iterator[str]:
        """The canonical text, one line per policy and rule."""
        for family, tables in (("ip", self.ipv4), ("ip6", self.ipv6)):
            for table, chains in tables.items():
                for name, chain in chains.items():
                    yield f"{family} {table}: -P {name} {chain.policy}"
                    for rule in chain.rules:
                        yield f"{family} {table}: -A {name} {rule.text()}"

    def text(self) -> str:
        """The canonical text; equal texts are equal rule sets."""
        return "".join(line + "\n" for line in self.lines())


def rule_set(instance: InstanceName, proxy_port: int) -> RuleSet:
    """The rule set of an instance's hub."""
    names = SetNames.of(instance)
    closed = Chain("DROP")
    return RuleSet(
        ipv4={
            "raw": {"PREROUTING": _raw(names), "OUTPUT": Chain("ACCEPT")},
            "mangle": {"PREROUTING": _mangle(names, proxy_port)},
            "filter": {"INPUT": _input(names), "FORWARD": closed, "OUTPUT": _output(names)},
        },
        ipv6={
            "raw": {"PREROUTING": closed, "OUTPUT": closed},
            "filter": {"INPUT": closed, "FORWARD": closed, "OUTPUT": closed},
        },
    )


_ACCEPT: Final = Extension("ACCEPT")
_DROP: Final = Extension("DROP")


def _in(name: str, directions: str, *more: tuple[str, str]) -> Extension:
    return Extension("set", (("match-set", f"{name} {directions}"), *more))


def _not_in(name: str, directions: str) -> Extension:
    return Extension("set", (("match-set", f"!{name} {directions}"),))


# Counters of `allow` are moved by INPUT alone: one packet passes three matches of the same entry.
_UNCOUNTED: Final = ("update-counters", "!")


def _log_in_window(group: int, names: SetNames) -> Rule:
    """Log while the source is within its budget. Its first packet counts twice: adding the entry,
    and matching it."""
    target = Extension("NFLOG", (("nflog-group", str(group)),))
    below = str(LOG_BUDGET + 2)
    return Rule(target, (_in(names.window, "src", ("packets-lt", below)),))


def _open_window(names: SetNames, *first: Extension) -> Rule:
    """Counts the packet in `denied` and opens the second in which its source may be logged."""
    target = Extension("SET", (("add-set", f"{names.window} src"),))
    return Rule(target, (*first, _in(names.denied, "src")))


def _raw(names: SetNames) -> Chain:
    bound = _in(names.bind, "src,src")
    unbound = _not_in(names.bind, "src,src")
    rate, burst = SPOOF_LIMIT
    limit = Extension("limit", (("limit", rate), ("limit-burst", burst)))
    spoof_log = Extension("NFLOG", (("nflog-group", str(GROUP_SPOOFED)),))
    return Chain(
        "DROP",
        (
            Rule(_ACCEPT, in_interface="lo"),
            Rule(_ACCEPT, (bound, _not_in(names.unseen, "dst"))),
            Rule(_DROP, (unbound, _in(names.muted, "src,src"))),
            Rule(spoof_log, (unbound, limit)),
            Rule(_DROP, (unbound,)),
            _open_window(names),
            _log_in_window(GROUP_UNSEEN, names),
            Rule(_DROP),
        ),
    )


def _mangle(names: SetNames, proxy_port: int) -> Chain:
    def tproxy(port: int) -> Extension:
        return Extension(
            "TPROXY",
            (
                ("on-port", str(port)),
                ("on-ip", "0.0.0.0"),  # noqa: S104  # not bound here: any address of the listener
                ("tproxy-mark", f"{MARK:#x}/0xffffffff"),
            ),
        )

    return Chain(
        "ACCEPT",
        (
            Rule(_ACCEPT, in_interface="lo"),
            Rule(tproxy(proxy_port), (_in(names.allow, "src,dst,dst", _UNCOUNTED),), "tcp"),
            Rule(tproxy(proxy_port), (_in(names.networks, "src,dst,dst", _UNCOUNTED),), "tcp"),
            Rule(tproxy(53), (Extension("tcp", (("dport", "53"),)),), "tcp"),
            Rule(Extension("MARK", (("set-xmark", f"{MARK:#x}/0xffffffff"),))),
        ),
    )


def _input(names: SetNames) -> Chain:
    return Chain(
        "DROP",
        (
            Rule(_ACCEPT, in_interface="lo"),
            Rule(_ACCEPT, (_in(names.allow, "src,dst,dst"),), "tcp"),
            Rule(_ACCEPT, (_in(names.networks, "src,dst,dst"),), "tcp"),
            Rule(_ACCEPT, (Extension("tcp", (("dport", "53"),)),), "tcp"),
            Rule(_ACCEPT, (Extension("udp", (("dport", "53"),)),), "udp"),
            _open_window(names),
            _log_in_window(GROUP_DENIED, names),
            Rule(Extension("REJECT", (("reject-with", "tcp-reset"),)), protocol="tcp"),
            Rule(Extension("REJECT", (("reject-with", "icmp-admin-prohibited"),))),
        ),
    )


def _output(names: SetNames) -> Chain:
    tcp_reset = Extension("tcp", (("tcp-flags", "RST RST"),))
    prohibited = Extension("icmp", (("icmp-type", "3/13"),))
    return Chain(
        "DROP",
        (
            Rule(_ACCEPT, out_interface="lo"),
            Rule(_DROP, (_not_in(names.bind, "dst,dst"),)),
            Rule(_ACCEPT, (_in(names.allow, "dst,src,src", _UNCOUNTED),), "tcp"),
            Rule(_ACCEPT, (_in(names.networks, "dst,src,src", _UNCOUNTED),), "tcp"),
            Rule(_ACCEPT, (Extension("tcp", (("sport", "53"),)),), "tcp"),
            Rule(_ACCEPT, (Extension("udp", (("sport", "53"),)),), "udp"),
            Rule(_ACCEPT, (tcp_reset,), "tcp"),
            Rule(_ACCEPT, (prohibited,), "icmp"),
        ),
    )


def differences(expected: RuleSet, found: RuleSet) -> tuple[str, ...]:
    """What differs, one sentence each; empty where they are the same."""
    words: list[str] = []
    for family, wanted, standing in (
        ("ip", expected.ipv4, found.ipv4),
        ("ip6", expected.ipv6, found.ipv6),
    ):
        for table in dict.fromkeys([*wanted, *standing]):
            ours, theirs = wanted.get(table, {}), standing.get(table, {})
            for name in dict.fromkeys([*ours, *theirs]):
                place = f"{family}tables {table} {name}"
                words += _chain_differences(place, ours.get(name), theirs.get(name))
    return tuple(words)


def _chain_differences(place: str, wanted: Chain | None, found: Chain | None) -> list[str]:
    if found is None:
        return [f"{place}: the chain is missing"]
    if wanted is None and found.policy == NO_POLICY:
        return [f"{place}: a chain that is not ours"]
    if wanted is None:
        wanted = Chain("ACCEPT")  # a built-in chain that we do not name must do nothing
    words = []
    if wanted.policy != found.policy:
        words.append(f"{place}: policy is {found.policy} instead of {wanted.policy}")
    ours = [rule.text() for rule in wanted.rules]
    theirs = [rule.text() for rule in found.rules]
    for verb, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if verb == "equal":
            continue
        words += [f"{place}: rule {n + 1} is missing: {ours[n]}" for n in range(a, b)]
        words += [f"{place}: rule {n + 1} is not ours: {theirs[n]}" for n in range(c, d)]
    return words
