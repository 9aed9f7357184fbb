"""A worker that was there all along and one that starts anew know the same."""

from hypothesis import given
from hypothesis import strategies as st

from netmgr.daemon.roster import Member, Roster, ops_for
from netmgr.model import SandboxName
from netmgr.policy.update import policy_from_allow
from netmgr.process.view import View

POLICIES = [policy_from_allow([host]) for host in ("a.example.com", "b.example.com", "c.org:8443")]
NAMES = [SandboxName(name) for name in ("one", "two", "three")]

puts = st.tuples(st.just("put"), st.sampled_from(NAMES), st.sampled_from(POLICIES))
removes = st.tuples(st.just("remove"), st.sampled_from(NAMES), st.none())
routes = st.tuples(st.just("route"), st.sampled_from([None, *NAMES]), st.booleans())
changes = st.lists(st.one_of(puts, removes, routes), max_size=20)


def member(name: SandboxName, policy) -> Member:
    address = f"10.77.0.{NAMES.index(name) + 1}"
    return Member(name, address, None, {}, policy, 1, {"inference.local": "198.18.0.1"}, name)


def change(roster: Roster, what: str, name, detail) -> list[dict]:
    if what == "put":
        return roster.put(member(name, detail))
    if what == "remove":
        return roster.remove(name)
    route = (
        {"id": "r", "base_url": "http://h/v1", "credentials": {"KEY": "secret"}} if detail else None
    )
    return roster.set_route(name, route)


def know(view: View, ops: list[dict], known_routes: dict) -> None:
    for op in ops:
        if op["op"] == "inference":
            known_routes[op["scope"]] = op["route"]
        elif op["op"] not in ("leaf.forget", "flow.judge", "meter", "routing"):
            view.apply(op)


@given(changes, st.sampled_from(["dns", "proxy", "dialer"]))
def test_all_changes_together_are_the_full_state(steps, kind):
    roster, old, new = Roster(), View(), View()
    old_routes: dict = {}
    new_routes: dict = {}
    for step in steps:
        know(old, ops_for(kind, change(roster, *step)), old_routes)
    know(new, roster.full_state(kind), new_routes)
    assert old.sandboxes == new.sandboxes
    assert {s: r for s, r in old_routes.items() if r} == new_routes


@given(changes)
def test_only_proxies_ever_see_a_credential(steps):
    roster = Roster()
    for step in steps:
        ops = change(roster, *step)
        assert "secret" not in repr(ops_for("dns", ops)) + repr(ops_for("dialer", ops))
        assert not ops_for("rules", ops) + ops_for("watch", ops)
    for kind in ("dns", "dialer", "rules", "watch"):
        assert "secret" not in repr(roster.full_state(kind))
