"""Owns: the cases of `inference set` with verification, against a provider scripted per path."""

import json
from typing import Any

from acceptance.inference.model_stage import ModelStage

Case = dict[str, Any]


def play_verification(stage: ModelStage, case: Case) -> None:
    """Set a route and look at exit status, words, probes, and at what is in force then."""
    want = case["answer"]
    route = stage.route(case["route"], **case.get("with", {}))
    words = stage.set_words(route)
    stage.put_in_force(None)
    stage.provider.play(case["script"])
    done = stage.netmgr(*words, "-o", "json", status=want["exit"])
    stage.forget_routes()
    probes = stage.provider.requests
    if "verified" in want:
        (found,) = json.loads(done.stdout)["validated"]
        assert found["protocol"] == want["verified"], done.stdout
        assert found["url"].endswith(probes[-1]["target"]), done.stdout
    for text in want.get("says", []):
        assert text in done.stderr, done.stderr
    if "failure" in want:
        assert want["failure"] in done.stderr, done.stderr
    saved = want.get("saved", "verified" in want)
    routes = stage.netmgr("inference", "get", "-o", "json", status=0 if saved else 3).stdout
    assert bool(json.loads(routes)["routes"]) is saved, routes
    targets = [probe["target"] for probe in probes]
    assert targets == case.get("probes", targets), targets
    if "last_probe" in case:
        assert case["last_probe"].items() <= json.loads(probes[-1]["body"]).items(), probes[-1]
    for probe in probes:
        assert dict(probe["headers"])["authorization"] == f"Bearer {route['key']}", probe
