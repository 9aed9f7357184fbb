"""Sandboxes in memory are found in one step, and by nothing once they are gone."""

from ipaddress import IPv4Address

from netmgr.addresses import NamePool
from netmgr.daemon.residents import Resident, Residents
from netmgr.model import parse_sandbox_name
from netmgr.policy.policy import EMPTY_POLICY
from netmgr.settings.table import Settings
from netmgr.store import Sandbox


def resident(number: int) -> Resident:
    settings = Settings.for_instance("t1")
    row = Sandbox(
        id=number,
        name=parse_sandbox_name(f"s{number}"),
        created=0.0,
        address=IPv4Address(0x0A4D0001 + number),
        link=f"nm{number}",
        netns=f"/run/netns/t1-s{number}",
        netns_dev=0,
        netns_ino=0,
        attached=False,
        tenant=None,
        labels={},
        revision=1,
        digest=EMPTY_POLICY.digest,
        parameters={},
    )
    names = NamePool(settings.name_pool, 10, 60)
    return Resident(row, EMPTY_POLICY, names)


def test_each_is_found_by_all_that_names_it_until_it_is_gone():
    residents = Residents()
    for number in (1, 2):
        residents[parse_sandbox_name(f"s{number}")] = resident(number)
    second = residents[parse_sandbox_name("s2")]
    address = str(second.row.address)
    assert residents.at(address) is residents.on_link("nm2") is residents.numbered(2) is second
    assert residents.at("10.9.9.9") is residents.on_link("nm3") is residents.numbered(3) is None
    assert list(residents) == ["s1", "s2"]
    assert residents.pop(parse_sandbox_name("s2"), None) is second
    assert residents.at(address) is residents.on_link("nm2") is residents.numbered(2) is None
    assert residents.on_link("nm1") is residents[parse_sandbox_name("s1")]
    assert len(residents) == 1
