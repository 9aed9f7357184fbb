"""Owns: reading how a plan is travelled and accounted for: `failure`, `affinity`, `budgets`,
`dial`, `observe`.

Knows nothing of attempts; the keys are handed on as values.
"""

from ipaddress import ip_network
from typing import Final

from netmgr.accounts.limits import parse_money
from netmgr.errors import BadInput
from netmgr.policy.fields import Fields, describe
from netmgr.policy.hosts import parse_host
from netmgr.policy.match import BadPattern
from netmgr.policy.problems import Report
from netmgr.policy.tree import Node, Scalar
from netmgr.routing.contract import EndpointId
from netmgr.routing.language import (
    FAULTS,
    Affinity,
    Breaker,
    Budget,
    Dial,
    Failure,
    Observe,
)
from netmgr.routing.rule_schema import RuleReader
from netmgr.routing.words import (
    Words,
    is_id,
    read_amount_text,
    read_count,
    read_duration,
    word_of,
)

MAX_ATTEMPTS: Final = 10
MAX_WAIT_S: Final = 3600.0
MAX_FAILURES: Final = 1000
MAX_BUDGETS: Final = 1000
MAX_PERIOD_S: Final = 366 * 86400.0
_FAILURE_KEYS: Final = (
    "attempts",
    "deadline",
    "first_byte",
    "idle",
    "retry_on",
    "never_on",
    "breaker",
)
_STATUSES: Final = range(400, 600)


def read_failure(top: Fields, report: Report) -> Failure:
    """How failures are dealt with; each key has a default."""
    fields = top.section("failure", _FAILURE_KEYS)
    if fields is None:
        return Failure()
    default = Failure()
    retry = _faults(fields, "retry_on", FAULTS, report)
    never = _faults(fields, "never_on", (), report)
    first_byte = _time(fields, "first_byte", default.first_byte_s)
    deadline = _time(fields, "deadline", default.deadline_s)
    if first_byte > deadline:
        fields.problem("first_byte", "expected no more than 'deadline'")
    return Failure(
        attempts=read_count(fields, "attempts", 1, MAX_ATTEMPTS) or default.attempts,
        deadline_s=deadline,
        first_byte_s=first_byte,
        idle_s=_time(fields, "idle", default.idle_s),
        retry_on=default.retry_on if retry is None else retry,
        never_on=default.never_on
        if never is None
        else frozenset(each for each in never if isinstance(each, int)),
        breaker=_breaker(fields),
    )


def _breaker(fields: Fields) -> Breaker:
    section, default = fields.section("breaker", ("failures", "window", "open")), Breaker()
    if section is None:
        return default
    return Breaker(
        failures=read_count(section, "failures", 1, MAX_FAILURES) or default.failures,
        window_s=_time(section, "window", default.window_s),
        open_s=_time(section, "open", default.open_s),
    )


def _time(fields: Fields, key: str, default: float) -> float:
    found = read_duration(fields, key)
    if found is None:
        return default
    if not 0 < found <= MAX_WAIT_S:
        fields.problem(key, f"expected more than 0 and at most {MAX_WAIT_S:.0f}s")
        return default
    return found


def _faults(
    fields: Fields, key: str, named: tuple[str, ...], report: Report
) -> frozenset[str | int] | None:
    """Statuses and named faults; None where the key is missing."""
    if key not in fields:
        return None
    found: set[str | int] = set()
    for place, node in fields.items(key):
        value = node.value if isinstance(node, Scalar) else None
        status = type(value) is int and value in _STATUSES
        if isinstance(value, str | int) and (status or value in named):
            found.add(value)
        else:
            expected = ", ".join((*named, "a status from 400 to 599"))
            hint = report.suggest(value, named) if isinstance(value, str) else ""
            line = node.line or fields.line_of(key)
            report.problem(line, place, f"expected {expected}, got {describe(node)}{hint}")
    return frozenset(found)


def read_affinity(top: Fields) -> Affinity:
    """What of an earlier call holds for the next one."""
    fields = top.section("affinity", ("key", "else", "ratchet", "reset", "sticky"))
    if fields is None:
        return Affinity()
    key = fields.choice("key", ("conversation", "sandbox"), default="sandbox")
    fields.choice("else", ("sandbox",), default="sandbox")
    fields.choice("reset", ("operator",), default="operator")
    ratchet = fields.choice("ratchet", ("", "sensitivity"), default="")
    return Affinity(key, ratchet == "sensitivity", fields.flag("sticky") is True)


def read_budgets(top: Fields, rules: RuleReader, report: Report) -> tuple[Budget, ...]:
    """What calls may cost."""
    found: list[Budget] = []
    for place, node in top.items("budgets"):
        if len(found) >= MAX_BUDGETS:
            top.problem("budgets", f"more than {MAX_BUDGETS} budgets")
            break
        budget = _budget(node, place, rules, report)
        if any(other.id == budget.id for other in found):
            report.problem(node.line, place, f"{budget.id!r} stands twice")
        found.append(budget)
    return tuple(found)


def _budget(node: Node, place: str, rules: RuleReader, report: Report) -> Budget:
    fields = Fields(node, place, ("id", "scope", "limit", "at_80", "on_exceed"), report)
    name = fields.text("id") or ""
    if not is_id(name):
        fields.problem("id", "expected an id of letters, digits, '_', '.', '-'")
    scope = fields.section("scope", ("tenant",))
    tenant = scope.text("tenant") if scope is not None else None
    limit, per = _limit(fields)
    warn = fields.choice("at_80", ("", "warn"), default="") == "warn"
    exceeded = fields.node("on_exceed")
    require = None
    if exceeded is None:
        fields.missing("'on_exceed' is missing: deny, or {require: ...}")
    elif word_of(exceeded) is not None:
        fields.choice("on_exceed", ("deny",), default="deny")
    else:
        section = fields.section("on_exceed", ("require",))
        require = rules.require(section) if section is not None else None
    return Budget(name, tenant, limit, per, warn, require)


def _limit(fields: Fields) -> tuple[int, float]:
    section = fields.section("limit", ("usd", "per"))
    if section is None:
        fields.missing("'limit' is missing: {usd: 500, per: 30d}")
        return 0, 1.0
    text, per = read_amount_text(section, "usd"), read_duration(section, "per")
    if text is None or per is None:
        section.missing("expected both 'usd' and 'per'")
        return 0, 1.0
    if not 60 <= per <= MAX_PERIOD_S:
        section.problem("per", "expected 1m to 366d")
    try:
        return parse_money(text, section.where("usd")), per
    except BadInput as problem:
        section.problem("usd", problem.message)
        return 0, per


def read_dial(
    top: Fields, endpoints: frozenset[EndpointId], report: Report
) -> dict[EndpointId, Dial]:
    """Where endpoints have to be."""
    found: dict[EndpointId, Dial] = {}
    words = Words(report)
    for name, line, node in top.entries("dial"):
        place = f"dial.{name}"
        if name not in endpoints:
            report.problem(line, place, words.unknown(name, endpoints))
        fields = Fields(node, place, ("hosts", "cidrs"), report)
        if not fields.given(("hosts", "cidrs")):
            fields.missing("expected 'hosts', 'cidrs' or both")
        found[name] = Dial(
            tuple(filter(None, (_host(fields, h) for h in _listed(fields, "hosts", words)))),
            tuple(filter(None, (_network(fields, c) for c in _listed(fields, "cidrs", words)))),
        )
    return found


def _listed(fields: Fields, key: str, words: Words) -> tuple[str, ...]:
    if key not in fields:
        return ()
    return words.list(fields.node(key), fields.where(key), fields.line_of(key))


def _host(fields: Fields, text: str) -> str | None:
    try:
        return parse_host(text).text
    except BadPattern as problem:
        fields.problem("hosts", str(problem))
        return None


def _network(fields: Fields, text: str) -> str | None:
    try:
        return str(ip_network(text))
    except ValueError as problem:
        fields.problem("cidrs", f"{text!r}: {problem}")
        return None


def read_observe(top: Fields) -> Observe:
    """What is told of decisions."""
    fields = top.section("observe", ("ledger", "headers"))
    if fields is None:
        return Observe()
    fields.choice("ledger", ("on",), default="on")  # the journal's chain is never off
    return Observe(fields.choice("headers", _HEADERS, default="request-id"))


_HEADERS: Final = ("request-id", "route", "off")
