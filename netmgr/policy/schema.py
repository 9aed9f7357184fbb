"""Owns: reading a whole policy document: sections, entries, and what is refused at load.

Knows nothing of files or of decisions. Every key is known or an error; what netmgr understands
but does not enforce is refused, never ignored.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from netmgr.policy.cases import Case, parse_cases
from netmgr.policy.defaults import NO_DEFAULTS, Defaults, parse_defaults
from netmgr.policy.earlier import Earlier
from netmgr.policy.endpoint_schema import Mode, parse_endpoint
from netmgr.policy.expiry import parse_expiry
from netmgr.policy.fields import Fields, describe
from netmgr.policy.foreign import FOREIGN_SECTIONS, parse_foreign
from netmgr.policy.limits import parse_limits
from netmgr.policy.middleware_schema import SECTION, check_reach, parse_middlewares
from netmgr.policy.middlewares import NO_MIDDLEWARES, Middlewares
from netmgr.policy.overlap import report_conflicts, report_crowds
from netmgr.policy.problems import PolicyError, Report
from netmgr.policy.program_schema import parse_programs
from netmgr.policy.programs import Programs
from netmgr.policy.rules import Endpoint, Entry, Expiry
from netmgr.policy.source import parse_source
from netmgr.policy.tree import Node, Scalar, Unread, from_value, parse_yaml

VERSION: Final = 1
MAX_ENDPOINTS: Final = 20_000  # of one policy; each takes about half a kilobyte in every process
MAX_KEY: Final = 128

_TOP_KEYS: Final = frozenset(
    ("version", "defaults", "network_policies", SECTION, "tests", *FOREIGN_SECTIONS)
)
_ENTRY_KEYS: Final = frozenset(
    (
        "name",
        "mode",
        "expires",
        "endpoints",
        "binaries",
        "limits",
        "source",
    )
)
_PROVIDER_PREFIX: Final = "_provider_"


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the reading of one document has in common.

    Attributes:
        lines: where each endpoint stands, by its place; filled on the way.
        warned: places of endpoints that had something to tell, or might have; filled on the way.
        earlier: endpoints that were read before.
    """

    defaults: Defaults
    earlier: Earlier
    report: Report
    lines: dict[str, int] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Document:
    """A policy file that has been read.

    Attributes:
        foreign: sections that the runtime enforces, as they were.
        warnings: what loads but will surprise somebody.
        cases: the tests that it carries.
        warned: places of endpoints that some of the warnings may be about.
        middlewares: what looks at requests before they leave.
    """

    entries: tuple[Entry, ...] = ()
    foreign: dict[str, Any] = field(default_factory=dict)
    defaults: Defaults = NO_DEFAULTS
    warnings: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    warned: frozenset[str] = frozenset()
    middlewares: Middlewares = NO_MIDDLEWARES

    def earlier(self) -> Earlier:
        """Its endpoints, for the reading of its successor."""
        return Earlier(self.entries, self.doc["network_policies"], self.warned)

    @cached_property
    def doc(self) -> dict[str, Any]:
        """What `to_doc` gives, made once: to be read only."""
        return self.to_doc()

    def to_doc(self) -> dict[str, Any]:
        """The canonical document: JSON values, in the order of the file, without defaults."""
        defaults = self.defaults.to_doc()
        observe = self.defaults.observe
        doc: dict[str, Any] = {
            "version": VERSION,
            **self.foreign,
            **({"defaults": defaults} if defaults else {}),
            "network_policies": {entry.key: entry.to_doc(observe) for entry in self.entries},
        }
        if self.middlewares.all:
            doc[SECTION] = self.middlewares.to_doc()
        if self.cases:
            doc["tests"] = [case.to_doc() for case in self.cases]
        return doc


def read_text(text: str, source: str, like: Document | None = None) -> Document:
    """A policy from YAML.

    Args:
        like: a policy that was read before, whose endpoints are taken over where they are the same.

    Raises:
        PolicyError: everything that is wrong with it.
    """
    report = Report()
    node = parse_yaml(text, report)
    return _read(node, source, report, (like or Document()).earlier())


def read_value(value: object, source: str, like: Document | None = None) -> Document:
    """A policy from JSON values. Arguments and errors as `read_text`."""
    report = Report()
    node = from_value(value if like is None else _leave_endpoints(value), report)
    return _read(node, source, report, (like or Document()).earlier())


def _leave_endpoints(doc: object) -> object:
    """A document whose endpoints are not made into trees: most of them will not be read."""
    entries = doc.get("network_policies") if isinstance(doc, dict) else None
    if not isinstance(doc, dict) or not isinstance(entries, dict):
        return doc
    left = {
        key: entry | {"endpoints": [Unread(item) for item in entry["endpoints"]]}
        if isinstance(entry, dict) and isinstance(entry.get("endpoints"), list)
        else entry
        for key, entry in entries.items()
    }
    return doc | {"network_policies": left}


def _read(node: Node | None, source: str, report: Report, earlier: Earlier) -> Document:
    if node is None:
        raise PolicyError(report.problems, source)
    top = Fields(node, "", _TOP_KEYS, report)
    _check_version(top)
    foreign = parse_foreign(top, report)
    defaults = parse_defaults(top, report)
    middlewares = parse_middlewares(top, report)
    reading = _Reading(defaults, earlier, report)
    entries = tuple(
        _parse_entry(key, line, item, reading)
        for key, line, item in top.entries("network_policies")
    )
    endpoints = [endpoint for entry in entries for endpoint in entry.endpoints]
    if len(endpoints) > MAX_ENDPOINTS:
        top.problem("network_policies", f"more than {MAX_ENDPOINTS} endpoints")
    elif not report_crowds(endpoints, report):
        report_conflicts(endpoints, reading.lines, report)
    check_reach(endpoints, middlewares, reading.lines, report)
    cases = parse_cases(top, report)
    report.raise_if_any(source)
    warned = frozenset(reading.warned)
    warnings = tuple(report.warnings)
    return Document(entries, foreign, defaults, warnings, cases, warned, middlewares)


def _check_version(top: Fields) -> None:
    node = top.node("version")
    if node is None:
        top.missing("expected 'version: 1'")
    elif not (isinstance(node, Scalar) and type(node.value) is int and node.value == VERSION):
        top.problem("version", f"expected the number {VERSION}, got {describe(node)}")


def _parse_entry(key: str, line: int, node: Node, reading: _Reading) -> Entry:
    report = reading.report
    where = f"network_policies.{key}"
    if not key or len(key) > MAX_KEY or not key.isprintable():
        report.problem(
            line, "network_policies", f"expected names of 1 to {MAX_KEY} printable characters"
        )
    if key.startswith(_PROVIDER_PREFIX):
        report.problem(line, where, f"names that begin with {_PROVIDER_PREFIX!r} are reserved")
    fields = Fields(node, where, _ENTRY_KEYS, report)
    mode = fields.choice("mode", ("", "enforce", "observe"), default="")
    observe = mode == "observe" or (not mode and reading.defaults.observe)
    programs = reading.earlier.known(parse_programs(fields, report))
    endpoints = tuple(_parse_endpoints(key, fields, Mode(observe, bool(mode)), programs, reading))
    if fields.node("endpoints") is None or fields.is_empty_list("endpoints"):
        report.warn(where, "no endpoints: it allows nothing")
    return Entry(
        key=key,
        name=fields.text("name") or key,
        endpoints=endpoints,
        observe=observe,
        limits=parse_limits(fields),
        source=parse_source(fields),
        expires=_parse_expires(fields),
        programs=programs,
    )


def _parse_endpoints(
    key: str, fields: Fields, mode: Mode, programs: Programs, reading: _Reading
) -> Iterator[Endpoint]:
    report = reading.report
    for number, (path, item) in enumerate(fields.items("endpoints")):
        place = f"{key}.endpoints[{number}]"
        reading.lines[place] = item.line
        endpoint = reading.earlier.find(item, place, mode, programs)
        if endpoint is None:
            told = len(report.warnings)
            node = from_value(item.value, report, path) if isinstance(item, Unread) else item
            endpoint = parse_endpoint(node, path, place, mode, programs, report)
            if len(report.warnings) > told or report.is_full:
                reading.warned.add(place)
        if endpoint is not None:
            yield endpoint


def _parse_expires(fields: Fields) -> Expiry | None:
    text = fields.text("expires")
    if text is None:
        return None
    try:
        return parse_expiry(text)
    except ValueError as error:
        fields.problem("expires", str(error))
        return None
