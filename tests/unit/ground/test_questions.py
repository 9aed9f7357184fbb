"""What a hijacked worker gets out of the daemon: as little as its kind needs."""

import asyncio
from pathlib import Path

import pytest

from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.questions import MAX_OWNERS, Questions, is_terminated
from netmgr.daemon.sandbox_spec import SandboxSpec
from netmgr.policy.policy import parse_policy
from netmgr.process.ipc import PeerRefused

POLICY = """
version: 1
network_policies:
  judged:
    endpoints:
      - {host: api.example.com, port: 443, protocol: rest, access: read-only}
      - {host: "*.judged.example", port: 8443, protocol: rest, access: read-only}
      - {host: 203.0.113.9, port: 443, protocol: rest, access: read-only}
    binaries: [{path: /**}]
  relayed:
    endpoints:
      - {host: git.example.com, port: 443}
      - {host: "*.relayed.example", port: 443}
      - {host: 203.0.113.8, port: 443}
    binaries: [{path: /**}]
"""


@pytest.mark.parametrize(
    ("name", "signed"),
    [
        ("inference.local", True),
        ("api.example.com", True),
        ("x.judged.example", True),
        ("203.0.113.9", True),
        ("git.example.com", False),
        ("x.relayed.example", False),
        ("203.0.113.8", False),
        ("203.0.113.7", False),
        ("elsewhere.example", False),
        ("host.openshell.internal", False),
    ],
)
def test_certificates_are_signed_for_what_is_judged_and_nothing_else(name, signed):
    assert is_terminated(parse_policy(POLICY, "p"), name) is signed


def ask(open_core, kind: str, what: str, body: dict[str, object]):
    async def main():
        async with open_core() as core:
            spec = {"name": "a", "policy": {"text": POLICY, "source": "p"}}
            await Lifecycle(core).create(SandboxSpec.parse(spec))
            return (await Questions(core).answer(kind, what, body)).body

    return asyncio.run(main())


def test_a_proxy_gets_a_leaf_for_what_it_terminates(open_core, tmp_path: Path):
    body = {"address": "10.77.0.1", "name": "api.example.com"}
    assert "BEGIN CERTIFICATE" in ask(open_core, "proxy", "leaf", body)["chain"]


@pytest.mark.parametrize(
    "name", ["git.example.com", "API.example.com", "a b", "*.judged.example", "\ud800", ""]
)
def test_a_proxy_gets_no_leaf_for_what_it_relays(open_core, name):
    with pytest.raises(PeerRefused):
        ask(open_core, "proxy", "leaf", {"address": "10.77.0.1", "name": name})


@pytest.mark.parametrize("kind", ["dns", "watch", "dialer", "rules"])
@pytest.mark.parametrize("what", ["leaf", "owner"])
def test_nobody_else_gets_a_key_or_learns_of_processes(open_core, kind, what):
    with pytest.raises(PeerRefused, match="does not answer"):
        ask(open_core, kind, what, {"address": "10.77.0.1", "name": "api.example.com"})


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("leaf", {}),
        ("leaf", {"address": 7, "name": "api.example.com"}),
        ("leaf", {"address": "10.77.0.1", "name": ["api.example.com"]}),
        ("owner", {"address": "10.77.0.1"}),
        ("owner", {"address": "10.77.0.1", "sport": True, "dport": 1, "ip": "1.1.1.1"}),
        ("owner", {"address": "10.77.0.1", "sport": 1, "dport": 70000, "ip": "1.1.1.1"}),
        ("owner", {"address": "10.77.0.1", "sport": 1, "dport": 1, "ip": "::1"}),
    ],
)
def test_a_question_that_is_none_is_refused_without_a_fault(open_core, what, body):
    with pytest.raises(PeerRefused) as caught:
        ask(open_core, "proxy", what, body)
    assert caught.value.code == "invalid_input"


def test_a_flood_of_questions_for_owners_is_answered_without_looking(open_core):
    async def main():
        async with open_core() as core:
            await Lifecycle(core).create(SandboxSpec.parse({"name": "a", "allow": ["b.example"]}))
            questions = Questions(core)
            looked = 0

            def find(*_: object) -> object:
                nonlocal looked
                looked += 1
                return original(*_)

            original = core.kernel.find_owners
            core.kernel.find_owners = find
            body = {"address": "10.77.0.1", "sport": 1, "dport": 443, "ip": "198.18.0.3"}
            flood = (questions.answer("proxy", "owner", body) for _ in range(3 * MAX_OWNERS))
            answers = await asyncio.gather(*flood)
            assert all(answer.body == {"process": None} for answer in answers)
            assert looked == MAX_OWNERS

    asyncio.run(main())
