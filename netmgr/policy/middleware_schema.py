"""Owns: reading `network_middlewares`, and what it may not ask of a policy's endpoints.

Knows nothing of what a middleware does; whose configuration is known is checked by
netmgr.middleware.catalogue.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from netmgr.middleware.bounds import MAX_PATTERNS, MAX_STAGES
from netmgr.middleware.catalogue import BUILT_IN, config_problems, name_problem
from netmgr.middleware.chain import Stage
from netmgr.policy.fields import Fields
from netmgr.policy.hosts import parse_host
from netmgr.policy.match import BadPattern
from netmgr.policy.middlewares import (
    NO_MIDDLEWARES,
    Middleware,
    Middlewares,
    Pattern,
    Selector,
    is_opaque,
)
from netmgr.policy.problems import Report
from netmgr.policy.rules import Endpoint
from netmgr.policy.tree import Mapping as MappingNode
from netmgr.policy.tree import Node, Scalar, to_value

SECTION: Final = "network_middlewares"
_KEYS: Final = frozenset(("name", "middleware", "order", "config", "on_error", "endpoints"))
_MAX_KEY: Final = 128
_INT32: Final = range(-(2**31), 2**31)


def parse_middlewares(top: Fields, report: Report) -> Middlewares:
    """The section of a document; what is wrong with it is noted."""
    found: list[Middleware] = []
    orders: dict[int, str] = {}
    for number, (key, line, node) in enumerate(top.entries(SECTION)):
        if number >= MAX_STAGES:
            report.problem(line, SECTION, f"more than {MAX_STAGES} middlewares")
            break
        if not key or len(key) > _MAX_KEY or not key.isprintable():
            report.problem(line, SECTION, f"expected names of 1 to {_MAX_KEY} printable characters")
        fields = Fields(node, f"{SECTION}.{key}", _KEYS, report)
        parsed = _parse(key, fields, report)
        if parsed is None:
            continue
        order = parsed.stage.order
        if order in orders:
            why = f"{order} is the order of {orders[order]!r} already; each needs its own"
            fields.problem("order", why)
        orders.setdefault(order, key)
        found.append(parsed)
    return Middlewares(found) if found else NO_MIDDLEWARES


def _parse(key: str, fields: Fields, report: Report) -> Middleware | None:
    name = fields.text("middleware")
    if name is None:
        fields.missing(f"expected 'middleware', such as {next(iter(BUILT_IN))!r}")
        return None
    if problem := name_problem(name):
        fields.problem("middleware", problem)
    order = fields.integer("order") or 0
    if order not in _INT32:
        fields.problem("order", f"{order}: expected a number of 32 bits")
    on_error = fields.choice("on_error", ("fail_closed", "fail_open"), default="fail_closed")
    config = _parse_config(name, fields, report)
    selector = _parse_selector(fields, report)
    if selector is None:
        return None
    stage = Stage(
        key=key,
        name=fields.text("name") or key,
        middleware=name,
        order=order,
        required=on_error == "fail_closed",
        config=config,
    )
    return Middleware(stage, selector)


def _parse_config(name: str, fields: Fields, report: Report) -> dict[str, object]:
    node = fields.node("config")
    if node is None:
        return {}
    config = to_value(node)
    if not isinstance(config, dict):
        fields.problem("config", "expected keys and values")
        return {}
    lines = node.lines if isinstance(node, MappingNode) else {}
    for key, why in config_problems(name, config):
        where = fields.where("config") + (f".{key}" if key else "")
        report.problem(lines.get(key, fields.line_of("config")), where, why)
    return config


def _parse_selector(fields: Fields, report: Report) -> Selector | None:
    chosen = fields.section("endpoints", ("include", "exclude"))
    if chosen is None:
        fields.missing("expected 'endpoints: {include: [HOST, ...]}': where it looks")
        return None
    include = _parse_patterns(chosen, "include")
    if not include:
        if chosen.node("include") is None or chosen.is_empty_list("include"):
            chosen.missing("expected 'include' with at least one host")
        return None
    return Selector(include, _parse_patterns(chosen, "exclude"))


def _parse_patterns(fields: Fields, key: str) -> tuple[Pattern, ...]:
    found: list[Pattern] = []
    for number, (place, node) in enumerate(fields.items(key)):
        if number >= MAX_PATTERNS:
            fields.problem(key, f"more than {MAX_PATTERNS} hosts")
            break
        pattern = _parse_pattern(fields, key, place, node)
        if pattern is not None:
            found.append(pattern)
    return tuple(found)


def _parse_pattern(fields: Fields, key: str, place: str, node: Node) -> Pattern | None:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        fields.problem(key, f"{place}: expected a host, such as '*.example.com'")
        return None
    if "{" in node.value or "}" in node.value:
        why = "alternates in braces are not supported; write one host per line"
        fields.problem(key, f"{node.value!r}: {why}")
        return None
    try:
        return parse_host(node.value)
    except BadPattern as error:
        fields.problem(key, str(error))
        return None


def check_reach(
    endpoints: Iterable[Endpoint],
    middlewares: Middlewares,
    lines: Mapping[str, int],
    report: Report,
) -> None:
    """Note endpoints that a middleware should look at and cannot, or that change because of it.

    Args:
        lines: where each endpoint stands, by its place.
    """
    if not middlewares.all:
        return
    for endpoint in endpoints:
        over = middlewares.over(endpoint)
        if not over or endpoint.inspects:
            continue
        where = f"network_policies.{endpoint.place}"
        names = ", ".join(repr(each.stage.key) for each in over)
        if not is_opaque(endpoint):
            why = f"its requests are judged, because middleware {names} looks at them: only HTTP"
            report.warn(where, f"{why} passes; exclude the host if it speaks another protocol")
            continue
        said = "tls: skip" if endpoint.tls.value == "skip" else f"protocol: {endpoint.protocol}"
        closed = [each.stage.key for each in over if each.stage.required]
        if closed:
            why = (
                f"'{said}' hides from middleware {closed[0]!r} what it must look at; write "
                f"'exclude: [{endpoint.host.text}]' there, or 'on_error: fail_open'"
            )
            report.problem(lines.get(endpoint.place, 0), where, why)
        else:
            report.warn(where, f"'{said}': middleware {names} does not see it")
