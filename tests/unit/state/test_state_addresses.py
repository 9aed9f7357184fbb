"""Address pools: order of reuse, quarantine, budgets, collisions."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from netmgr.addresses import (
    AddressPool,
    NameAddress,
    NamePool,
    check_routes,
    fixed_addresses,
)
from netmgr.errors import HostFailed, LimitExceeded

SMALL = IPv4Network("10.0.0.0/29")  # .1 to .6
NAMES = IPv4Network("198.18.0.0/29")  # .3 to .6 beside the fixed two


def ip(last: int, base: str = "10.0.0.0") -> IPv4Address:
    return IPv4Address(base) + last


def taken(pool: AddressPool, now: float = 0.0) -> IPv4Address:
    address = pool.choose(now)
    pool.take(address)
    return address


def test_choosing_changes_nothing() -> None:
    pool = AddressPool(SMALL, 60.0)
    assert pool.choose(0.0) == pool.choose(0.0) == ip(1)
    assert len(pool) == 0


def test_fresh_addresses_go_first_then_the_first_released() -> None:
    pool = AddressPool(SMALL, 60.0)
    assert [taken(pool) for _ in range(4)] == [ip(1), ip(2), ip(3), ip(4)]
    pool.release(ip(3), 10.0)
    pool.release(ip(1), 20.0)
    assert [taken(pool, 500.0), taken(pool, 500.0)] == [ip(5), ip(6)]
    assert [taken(pool, 500.0), taken(pool, 500.0)] == [ip(3), ip(1)]


def test_no_address_leaves_its_quarantine_early() -> None:
    pool = AddressPool(SMALL, 60.0)
    for _ in range(pool.size):
        taken(pool)
    with pytest.raises(LimitExceeded, match=r"all 6 addresses of .* are in use"):
        pool.choose(0.0)
    pool.release(ip(2), 100.0)
    with pytest.raises(LimitExceeded, match="free in 1 s") as caught:
        pool.choose(159.0)
    assert caught.value.details == {"retry_after_s": 1.0}
    assert pool.choose(160.0) == ip(2)


def test_release_and_take_twice_are_once() -> None:
    pool = AddressPool(SMALL, 60.0)
    pool.take(ip(1))
    pool.take(ip(1))
    pool.release(ip(1), 5.0)
    pool.release(ip(1), 99.0)
    assert len(pool) == 0
    for _ in range(5):
        taken(pool)
    assert pool.choose(65.0) == ip(1)


def test_a_stored_pool_goes_on_where_it_was() -> None:
    pool = AddressPool(SMALL, 60.0, in_use=[ip(1), ip(3)], released={ip(4): 9.0, ip(2): 3.0})
    assert ip(3) in pool
    assert [taken(pool), taken(pool)] == [ip(5), ip(6)]
    assert [taken(pool, 100.0), taken(pool, 100.0)] == [ip(2), ip(4)]


def test_addresses_of_an_earlier_pool_are_kept_but_not_given() -> None:
    foreign = IPv4Address("10.9.9.9")
    pool = AddressPool(SMALL, 0.0, in_use=[foreign], released={IPv4Address("10.9.9.8"): 1.0})
    pool.release(foreign, 5.0)
    assert {taken(pool, 100.0) for _ in range(6)} == {ip(n) for n in range(1, 7)}


def test_the_fixed_names_have_the_first_addresses() -> None:
    assert {name: str(at) for name, at in fixed_addresses(NAMES).items()} == {
        "inference.local": "198.18.0.1",
        "host.openshell.internal": "198.18.0.2",
    }
    pool = NamePool(NAMES, 10, 60.0)
    for name, address in fixed_addresses(NAMES).items():
        assert pool.name_at(address) == name
    assert str(pool.get("inference.local")) == "198.18.0.1"
    assert len(pool) == 0


def name_taken(pool: NamePool, name: str, now: float = 0.0, *, wildcard: bool = False) -> str:
    row = pool.choose(name, now, wildcard=wildcard)
    pool.take(row)
    return str(row.ip)


def test_a_name_keeps_its_address() -> None:
    pool = NamePool(NAMES, 10, 60.0)
    first = name_taken(pool, "a.example")
    assert first == "198.18.0.3"
    assert name_taken(pool, "a.example") == first
    pool.release("a.example", 5.0)
    assert pool.get("a.example") is None
    assert name_taken(pool, "b.example", 6.0) == "198.18.0.4"
    assert name_taken(pool, "a.example", 6.0) == first  # it means what it meant


def test_an_address_stands_for_another_name_only_after_its_rest() -> None:
    pool = NamePool(NAMES, 10, 60.0)
    for name in "abcd":
        name_taken(pool, name)
    pool.release("b", 100.0)
    with pytest.raises(LimitExceeded):
        pool.choose("e", 159.0, wildcard=False)
    row = pool.choose("e", 160.0, wildcard=False)
    assert pool.take(row) == "b"
    assert pool.get("e") == row.ip
    with pytest.raises(LimitExceeded):  # the address of b is e's now
        pool.choose("b", 161.0, wildcard=False)


def test_wildcard_names_have_a_budget() -> None:
    pool = NamePool(NAMES, 2, 60.0)
    name_taken(pool, "a", wildcard=True)
    name_taken(pool, "b", wildcard=True)
    with pytest.raises(LimitExceeded, match=r"c: .* 2 names .* wildcard_names_per_sandbox"):
        pool.choose("c", 0.0, wildcard=True)
    name_taken(pool, "a", wildcard=True)  # it is there already
    name_taken(pool, "d")  # exact names have none
    pool.release("a", 1.0)
    name_taken(pool, "c", wildcard=True)


def test_a_wildcard_name_that_becomes_exact_frees_budget() -> None:
    pool = NamePool(NAMES, 1, 60.0)
    first = name_taken(pool, "a", wildcard=True)
    assert name_taken(pool, "a") == first
    name_taken(pool, "b", wildcard=True)
    assert [row.name for row in pool] == ["a", "b"]


def test_a_stored_name_pool_goes_on_where_it_was() -> None:
    rows = [
        NameAddress("a", ip(3, "198.18.0.0"), True),
        NameAddress("b", ip(4, "198.18.0.0"), False, 7.0),
    ]
    pool = NamePool(NAMES, 1, 60.0, rows)
    assert str(pool.get("a")) == "198.18.0.3"
    assert pool.get("b") is None
    with pytest.raises(LimitExceeded):
        pool.choose("c", 0.0, wildcard=True)
    assert name_taken(pool, "b") == "198.18.0.4"
    assert name_taken(pool, "c") == "198.18.0.5"


def test_releasing_an_unknown_name_does_nothing() -> None:
    assert NamePool(NAMES, 1, 60.0).release("a", 1.0) is None


def test_a_route_into_a_pool_is_named_with_its_setting() -> None:
    pools = {"sandbox_pool": IPv4Network("10.77.0.0/16"), "name_pool": NAMES}
    routes = [
        (IPv4Network("0.0.0.0/0"), "via 192.0.2.1 dev eth0"),
        (IPv4Network("10.0.0.0/8"), "via 192.0.2.2 dev vpn0"),
        (IPv4Network("192.0.2.0/24"), "dev eth0"),
    ]
    with pytest.raises(HostFailed) as caught:
        check_routes(pools, routes)
    assert caught.value.message.splitlines() == [
        "sandbox_pool 10.77.0.0/16 overlaps the host's route 10.0.0.0/8 via 192.0.2.2 dev vpn0",
        "set sandbox_pool in the configuration to a free network",
    ]
    assert caught.value.details == {"settings": ["sandbox_pool"]}
    check_routes(pools, [routes[0], routes[2]])


def test_a_route_inside_a_pool_is_a_collision_too() -> None:
    with pytest.raises(HostFailed, match=r"198\.18\.0\.4/32"):
        check_routes({"name_pool": NAMES}, [(IPv4Network("198.18.0.4/32"), "dev x")])
