"""What the metrics page says of routing decisions, and that no sandbox can make it grow."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from netmgr.daemon.routing_series import MAX_SERIES, RoutingSeries


def page(*calls: dict[str, Any] | None) -> str:
    registry = CollectorRegistry()
    series = RoutingSeries(registry)
    for call in calls:
        series.count({"verdict": "allowed", "inference": call})
    return generate_latest(registry).decode()


def test_a_decision_its_rules_and_its_attempts_are_counted() -> None:
    call = {
        "route": "default",
        "label": "internal",
        "plan": ["near"],
        "rejected": {"far": "clearance", "other": "clearance"},
        "tried": [
            {"endpoint": "near", "reason": "upstream_timeout"},
            {"endpoint": "near", "reason": None},
        ],
        "shadow": {"differs": True},
    }
    shown = page(call, None, {"plan": None}, {"shadow": {"differs": False}})
    for line in (
        'netmgr_routing_decisions_total{label="internal",route="default",verdict="allowed"} 1.0',
        'netmgr_routing_removed_total{rule="clearance"} 2.0',
        'netmgr_routing_attempts_total{endpoint="near",result="upstream_timeout"} 1.0',
        'netmgr_routing_attempts_total{endpoint="near",result="answered"} 1.0',
        "netmgr_routing_shadow_differences_total 1.0",
        "netmgr_routing_plan_endpoints_count 1.0",
    ):
        assert line in shown


def test_series_are_bounded() -> None:
    calls = ({"plan": [], "rejected": {"e": f"rule-{n}"}} for n in range(MAX_SERIES + 5))
    assert 'netmgr_routing_removed_total{rule="other"} 5.0' in page(*calls)
