"""A call that asks for another price than its model's is told from one that does not."""

import json
from typing import Any

import pytest

from netmgr_proxy.inference.document import read_document
from netmgr_proxy.inference.tier import tier_of


def tier(body: dict[str, Any]) -> str:
    return tier_of(read_document(json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "flex", "model": "m"}, "flex"),
        ({"Service-Tier": "Priority"}, "Priority"),
        ({"speed": "fast"}, "fast"),
        ({"serviceTier": {"type": "priority"}}, "priority"),
        ({"performanceConfig": {"latency": "optimized"}}, "optimized"),
        ({"extra_body": {"service_tier": "priority"}}, "priority"),
        ({"service_tier": 1}, "1"),
        ({"service_tier": ["priority"]}, "['priority']"),
        ({"service_tier": ""}, "?"),
    ],
)
def test_another_price_is_seen(body: dict[str, Any], asked: str) -> None:
    assert tier(body) == asked


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"service_tier": None},
        {"service_tier": "auto"},
        {"service_tier": "standard_only"},
        {"speed": "standard"},
        {"performanceConfig": {"latency": "standard"}},
        {"serviceTier": {"type": "default"}},
        {"extra_body": {"top_k": 1}},
        {"messages": [{"role": "user", "content": "speed: fast", "service_tier": "priority"}]},
    ],
)
def test_the_usual_price_is(body: dict[str, Any]) -> None:
    assert tier(body) == ""
