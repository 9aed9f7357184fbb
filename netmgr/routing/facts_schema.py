"""Owns: reading `endpoints`: what the operator declares about each.

Knows nothing of rules. No key here takes a URL or a credential: both live in the provider's record.
"""

from typing import Final

from netmgr.errors import BadInput
from netmgr.inference.declared import OPERATORS
from netmgr.inference.rules import LEAST, CallRules
from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report
from netmgr.policy.tree import Node, Scalar
from netmgr.routing.contract import Facts
from netmgr.routing.language import Endpoint, Sensitivity
from netmgr.routing.words import Words, is_id, read_amount, read_count, read_duration

MAX_ENDPOINTS: Final = 1000
MAX_CONTEXT: Final = 10**9  # tokens
_ALLOW_KEYS: Final = (
    "server_tools",
    "remote_urls",
    "stored_objects",
)  # as of `inference set`
_ENDPOINT_KEYS: Final = ("provider", "model", "facts", "enabled", *_ALLOW_KEYS)
_FACT_KEYS: Final = (
    "residency",
    "operated_by",
    "retention",
    "clearance",
    "capabilities",
    "context",
    "price",
)
_ELSEWHERE: Final = {
    "base_url": "the URL lives in the provider's record (`netmgr provider update --config`)",
    "url": "the URL lives in the provider's record (`netmgr provider update --config`)",
    "api_key": "credentials live in the provider's record (`netmgr provider update --credential`)",
    "credentials": "credentials live in the provider's record "
    "(`netmgr provider update --credential`)",
}


def read_endpoints(top: Fields, sensitivity: Sensitivity, report: Report) -> tuple[Endpoint, ...]:
    """Every endpoint, in the order of the file."""
    found: list[Endpoint] = []
    for name, line, node in top.entries("endpoints"):
        place = top.where("endpoints") + f".{name}"
        if len(found) >= MAX_ENDPOINTS:
            report.problem(line, "endpoints", f"more than {MAX_ENDPOINTS} endpoints")
            break
        if not is_id(name):
            report.problem(
                line, place, "expected letters, digits, '_', '.', '-', 64 characters at most"
            )
        found.append(_endpoint(name, node, place, sensitivity, report))
    if not found:
        top.problem("endpoints", "expected at least one endpoint: NAME: {provider, model, facts}")
    return tuple(found)


def _endpoint(
    name: str, node: Node, place: str, sensitivity: Sensitivity, report: Report
) -> Endpoint:
    fields = Fields(node, place, (*_ENDPOINT_KEYS, *_ELSEWHERE), report)
    for key in fields.given(_ELSEWHERE):
        fields.problem(key, f"does not belong here: {_ELSEWHERE[key]}")
    provider, model = fields.text("provider"), fields.text("model")
    for key, value in (("provider", provider), ("model", model)):
        if not value:
            fields.missing(f"{key!r} is missing")
    section = fields.section("facts", _FACT_KEYS)
    facts = _facts(section, sensitivity, report) if section is not None else Facts()
    enabled = fields.flag("enabled") is not False
    allows = _allows(fields, report)
    return Endpoint(name, provider or "", model or "", facts, enabled, fields.line, allows)


def _allows(fields: Fields, report: Report) -> CallRules:
    allows = LEAST
    for key in fields.given(_ALLOW_KEYS):
        if fields.is_empty_list(key):
            continue
        words = Words(report).list(fields.node(key), fields.where(key), fields.line_of(key))
        try:
            allows = allows.changed({key: words})
        except BadInput as fault:
            fields.problem(key, fault.message.removeprefix(f"{key}: "))
    return allows


def _facts(fields: Fields, sensitivity: Sensitivity, report: Report) -> Facts:
    words = Words(report)

    def listed(key: str) -> frozenset[str]:
        node = fields.node(key)
        if node is None or fields.is_empty_list(key):
            return frozenset()
        return frozenset(words.list(node, fields.where(key), fields.line_of(key)))

    clearance = fields.text("clearance")
    if clearance is not None and clearance not in sensitivity.order:
        fields.problem("clearance", words.unknown(clearance, sensitivity.order))
        clearance = None
    operated_by = fields.choice("operated_by", ("", *OPERATORS), default="")
    price = fields.section("price", ("in", "out"))
    return Facts(
        residency=listed("residency"),
        operated_by=operated_by or None,
        retention_s=_retention(fields),
        clearance=clearance,
        capabilities=listed("capabilities"),
        context=read_count(fields, "context", 1, MAX_CONTEXT),
        price_in=read_amount(price, "in") if price is not None else None,
        price_out=read_amount(price, "out") if price is not None else None,
    )


def _retention(fields: Fields) -> float | None:
    node = fields.node("retention")
    if isinstance(node, Scalar) and node.value == "none":
        return 0.0
    return read_duration(fields, "retention")
