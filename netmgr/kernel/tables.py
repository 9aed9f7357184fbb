"""Owns: python-iptables, the only file that imports it, and every remedy for its hazards.

Imported in the rules helper alone: one process, one thread, inside the hub. Source of the hazards:
python-iptables 1.2.0 read and tried; each one below has a test.

    autocommit swallows errors       every table has autocommit off; `commit` raises
    `reset` frees what it points at  `_safe_reset` gives each extension a buffer that stays
    a table is bound to a namespace  the process enters the hub before the first table is made
    parse state is process-wide      no second thread here, ever
    libxtables may call exit()       it is a process of its own; the daemon starts it anew
    no lock: a writer gives EAGAIN   read anew, build anew, try again, ATTEMPTS times
    options of iptables >= 1.8.11    `_mend_lookup`: their entries are longer than it knows
    a commit may do less than said   everything is read back and compared (rules_helper.py)
"""

import ctypes
import ctypes.util
import importlib
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from netmgr.errors import HostFailed
from netmgr.kernel.ruleset import NO_POLICY, Chain, Extension, Rule, RuleSet, Tables

LIBRARIES: Final = ("ip4tc", "ip6tc", "xtables")
ATTEMPTS: Final = 10  # writers hold a table for a millisecond
RETRY_S: Final = 0.01
_MAX_BASE: Final = 0xFFFF_FFFF  # an unsigned int
_LISTS: Final = {"ip": "ip_tables_names", "ip6": "ip6_tables_names"}
_ANYWHERE: Final = ("0.0.0.0/0.0.0.0", "0.0.0.0/0", "::/0", "::/::", None)
_MODULES: Final = "xt_set xt_TPROXY xt_NFLOG xt_mark xt_tcpudp ipt_REJECT ip_set"


def _load() -> Any:
    """Import python-iptables, or say which package or library is missing."""
    missing = [f"lib{name}" for name in LIBRARIES if ctypes.util.find_library(name) is None]
    if missing:
        raise HostFailed(
            f"shared libraries not found: {', '.join(missing)}; install the package iptables",
            missing=missing,
        )
    # It asks distutils for a directory and, without one, sysconfig for the same. Where setuptools
    # lends a distutils, that question alone loads 130 modules, 15 MiB in a root process.
    sys.modules.setdefault("distutils", None)  # type: ignore[arg-type]  # None: "there is none"
    try:
        import iptc
    except ImportError as absent:
        raise HostFailed(
            "python-iptables is not installed: pip install python-iptables"
        ) from absent
    except Exception as fault:  # its import runs ldconfig and reads compiled parts
        raise HostFailed(
            f"python-iptables cannot be loaded: {fault}; is the package iptables whole "
            "(directory xtables with extensions)?"
        ) from fault
    return iptc


_buffers: dict[tuple[str, int], Any] = {}


def _safe_reset(extension: Any) -> None:
    """Give an extension class a `reset` whose private buffer outlives the call.

    The original points the extension's `udata` at a buffer that Python frees on return; NFLOG
    with a prefix then writes into freed memory, and a hashlimit rule fails to commit.
    """
    original = extension.reset
    if getattr(original, "is_safe", False):
        return

    def reset(self: Any) -> None:
        original(self)
        size = getattr(self._module, "udata_size", 0)
        if size:
            key = (self._name, self._rule.nfproto)
            buffer = _buffers.setdefault(key, ctypes.create_string_buffer(size))
            ctypes.memset(buffer, 0, size)
            self._module.udata = ctypes.addressof(buffer)

    reset.is_safe = True  # type: ignore[attr-defined]
    extension.reset = reset


def _mend_lookup(xtables: Any) -> None:
    """Let options of an extension be found whichever libxtables there is."""

    def lookup(_: Any, entries: Any, name: bytes) -> Any:
        return find_option(entries, name)

    xtables.xtables._option_lookup = lookup


def find_option(entries: Any, name: bytes) -> Any:
    """An option of an extension by name, or None; what `_option_lookup` of python-iptables gives.

    iptables 1.8.11 put a number, `base`, behind what python-iptables 1.2.0 knows of an entry
    (include/xtables.h, struct xt_option_entry), without a new version of libxtables. Where the
    next entry would begin by the old size is then that number instead of the pointer to a name,
    and addresses of 64 bits are no small numbers. (An only entry has zeros there in both.)

    Args:
        entries: ctypes pointer to the first of them; the last has no name.
    """
    kind = entries._type_
    start = ctypes.addressof(entries.contents)
    size = ctypes.sizeof(kind)
    if ctypes.c_uint64.from_address(start + size).value <= _MAX_BASE:
        size += ctypes.sizeof(ctypes.c_uint64)  # the number, and what aligns the next entry
    while (entry := kind.from_address(start)).name:
        if entry.name == name:
            return entry
        start += size
    return None


class LegacyTables:
    """The legacy iptables backend of the namespace that the process is in.

    Raises:
        HostFailed: a library, a package or the kernel's legacy tables are missing.
    """

    def __init__(self) -> None:
        self._iptc = _load()
        _safe_reset(self._iptc.Match)
        _safe_reset(self._iptc.Target)
        _mend_lookup(importlib.import_module("iptc.xtables"))

    def install(self, wanted: RuleSet) -> None:
        """Make the tables be as wanted, each in one commit; tables that are so already are left.

        Tables that `wanted` does not name are emptied: the hub is nobody else's.

        Raises:
            HostFailed: a table, a match, a target or a set is missing, or a writer never rests.
        """
        for family, tables in _families(wanted):
            empty: Mapping[str, Chain] = {}
            for name in dict.fromkeys([*tables, *_standing_tables(family)]):
                chains = tables.get(name, empty)
                if self._notable(family, name, chains) != dict(chains):
                    self._write_table(family, name, chains)

    def read(self, wanted: RuleSet) -> RuleSet:
        """What stands in the tables of `wanted` and in any other table that exists.

        Built-in chains that are empty and accept, and that `wanted` does not name, are left out.
        """
        found: dict[str, dict[str, Any]] = {}
        for family, tables in _families(wanted):
            names = dict.fromkeys([*tables, *_standing_tables(family)])
            found[family] = {}
            for name in names:
                chains = self._notable(family, name, tables.get(name, {}))
                if name in tables or chains:
                    found[family][name] = chains
        return RuleSet(found["ip"], found["ip6"])

    def show(self, wanted: RuleSet) -> list[dict[str, Any]]:
        """Every chain of the tables of `wanted` with its rules and counters, as JSON values."""
        return [
            {
                "family": family,
                "table": table,
                "chain": chain.name,
                "policy": _policy(chain),
                "counters": list(chain.get_counters() or (0, 0)),
                "rules": [
                    {"rule": _read_rule(rule).text(), "counters": list(rule.get_counters())}
                    for rule in chain.rules
                ],
            }
            for family, tables in _families(wanted)
            for table in tables
            for chain in self._fresh(family, table).chains
            if chain.name in tables[table] or chain.rules
        ]

    # -- one table ---------------------------------------------------------------------------

    def _fresh(self, family: str, name: str) -> Any:
        """A table as it stands now. A cached one is read anew, in this namespace."""
        kind = self._iptc.Table if family == "ip" else self._iptc.Table6
        try:
            table = kind(name, autocommit=False)
            table.refresh()
        except self._iptc.IPTCError as refusal:
            raise HostFailed(
                f"the kernel has no legacy {family}tables table {name!r} ({refusal}); it needs the "
                f"module {family}table_{name} (kernel option CONFIG_IP_NF_IPTABLES_LEGACY)",
                table=name,
            ) from refusal
        return table

    def _read_table(self, family: str, name: str) -> dict[str, Chain]:
        table = self._fresh(family, name)
        return {
            chain.name: Chain(_policy(chain), tuple(_read_rule(rule) for rule in chain.rules))
            for chain in table.chains
        }

    def _notable(self, family: str, name: str, kept: Collection[str]) -> dict[str, Chain]:
        """The chains of a table but those that do nothing and are not in `kept`."""
        chains = self._read_table(family, name)
        return {k: v for k, v in chains.items() if k in kept or v != Chain("ACCEPT")}

    def _write_table(self, family: str, name: str, chains: Mapping[str, Chain]) -> None:
        for _ in range(ATTEMPTS):
            table = self._fresh(family, name)
            try:
                self._fill(table, family, chains)
                table.commit()
            except (self._iptc.IPTCError, self._iptc.XTablesError, ValueError) as refusal:
                if "temporarily unavailable" not in str(refusal):
                    raise self._explain(family, name, refusal) from refusal
                time.sleep(RETRY_S)
                continue
            finally:
                table.refresh()
            return
        raise HostFailed(
            f"{family}tables table {name}: another program kept writing to it "
            f"({ATTEMPTS} attempts)",
            table=name,
        )

    def _fill(self, table: Any, family: str, chains: Mapping[str, Chain]) -> None:
        """Build the whole table in the handle; nothing is in force before the commit."""
        built_in = [chain for chain in table.chains if table.builtin_chain(chain)]
        for chain in table.chains:
            chain.flush()
        for chain in table.chains:
            if not table.builtin_chain(chain):
                table.delete_chain(chain)
        for chain in built_in:
            wanted = chains.get(chain.name, Chain("ACCEPT"))
            chain.set_policy(wanted.policy)
            for rule in wanted.rules:
                chain.append_rule(self._build(family, rule))

    def _build(self, family: str, wanted: Rule) -> Any:
        rule = self._iptc.Rule() if family == "ip" else self._iptc.Rule6()
        if wanted.protocol is not None:
            rule.protocol = wanted.protocol
        if wanted.in_interface is not None:
            rule.in_interface = wanted.in_interface
        if wanted.out_interface is not None:
            rule.out_interface = wanted.out_interface
        for match in wanted.matches:
            _set_options(rule.create_match(match.name), match)
        _set_options(rule.create_target(wanted.target.name), wanted.target)
        return rule

    def _explain(self, family: str, name: str, refusal: Exception) -> HostFailed:
        text = str(refusal)
        why = text.removeprefix("b'").rstrip("'")
        return HostFailed(
            f"{family}tables table {name}: {why}; is a set missing, a kernel module (one of "
            f"{_MODULES}), or an extension of the package iptables?",
            table=name,
        )


def _families(rules: RuleSet) -> Iterator[tuple[str, Tables]]:
    yield "ip", rules.ipv4
    yield "ip6", rules.ipv6


def _standing_tables(family: str) -> list[str]:
    """Tables that exist in this namespace; reading them by name would make them exist."""
    try:
        return Path("/proc/net", _LISTS[family]).read_text().split()
    except OSError:
        return []


def _policy(chain: Any) -> str:
    policy = chain.get_policy()
    return NO_POLICY if policy is None else str(policy.name)


def _set_options(extension: Any, wanted: Extension) -> None:
    for key, value in wanted.options:
        words = value.removeprefix("!").split()
        if value.startswith("!"):
            words.insert(0, "!")
        setattr(extension, key.replace("-", "_"), words if len(words) > 1 else words[0])


def _read_rule(rule: Any) -> Rule:
    """A rule in our words. What our rules never use is kept as a match called `also`, so that it
    shows up as a difference."""
    matches = [_read_extension(match) for match in rule.matches]
    also = tuple(
        (key, str(value))
        for key, value in (("src", rule.src), ("dst", rule.dst), ("fragment", _fragment(rule)))
        if value not in _ANYWHERE
    )
    if also:
        matches.append(Extension("also", also))
    return Rule(
        target=_read_extension(rule.target),
        matches=tuple(matches),
        protocol=None if rule.protocol in ("ip", "ipv6", "all", 0, None) else rule.protocol,
        in_interface=rule.in_interface,
        out_interface=rule.out_interface,
    )


def _fragment(rule: Any) -> str | None:
    return "yes" if getattr(rule, "fragment", False) else None


def _read_extension(extension: Any) -> Extension:
    options = []
    for key, words in extension.get_all_parameters().items():
        text = " ".join([words] if isinstance(words, str) else words)
        options.append((key, "!" + text[2:] if text.startswith("! ") else text))
    return Extension(extension.name, tuple(options))
