"""What leases and destinations mean as set entries, there and back."""

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from netmgr.kernel.facts import AllowEntry, HubSpec
from netmgr.kernel.ipset_codec import Entry, SetType, pack_entry, parse_listed
from netmgr.kernel.sets import SetNames, allow_entries, lease_entries, parse_allow, set_specs
from netmgr.model import InstanceName, Lease

NAMES = SetNames.of(InstanceName("netmgr"))
ADDRESS = IPv4Address("10.77.0.2")

addresses = st.ip_addresses(v=4).map(lambda ip: IPv4Address(int(ip)))
networks = st.builds(
    lambda ip, length: IPv4Network((ip, length), strict=False), addresses, st.integers(0, 32)
)
allows = st.builds(AllowEntry, addresses, st.integers(1, 65535), networks)


def test_what_counts_stands_before_what_opens() -> None:
    assert [name for name, _ in lease_entries(NAMES, Lease(ADDRESS, "nm2"))] == [
        "netmgr-denied",
        "netmgr-bind",
    ]


def test_a_single_address_goes_to_the_exact_set() -> None:
    entries = allow_entries(NAMES, [AllowEntry.single(ADDRESS, 443, IPv4Address("198.18.0.1"))])
    assert [(name, str(entry)) for name, entry in entries] == [
        ("netmgr-allow", "10.77.0.2,tcp:443,198.18.0.1")
    ]


def test_everywhere_is_two_halves() -> None:
    entries = allow_entries(NAMES, [AllowEntry(ADDRESS, 443, IPv4Network("0.0.0.0/0"))])
    assert [str(entry) for _, entry in entries] == [
        "10.77.0.2,tcp:443,0.0.0.0/1",
        "10.77.0.2,tcp:443,128.0.0.0/1",
    ]


def test_one_half_alone_stays_a_half() -> None:
    half = AllowEntry(ADDRESS, 443, IPv4Network("128.0.0.0/1"))
    assert parse_allow(entry for _, entry in allow_entries(NAMES, [half])) == {half}


@given(st.sets(allows.filter(lambda a: a.destination.prefixlen != 1), max_size=8))
def test_destinations_there_and_back(wanted: set[AllowEntry]) -> None:
    assert parse_allow(entry for _, entry in allow_entries(NAMES, wanted)) == wanted


@given(
    st.builds(
        Entry,
        net=networks.filter(lambda net: net.prefixlen > 0),
        port=st.none() | st.integers(0, 65535),
        net2=st.none() | networks.filter(lambda net: net.prefixlen > 0),
        iface=st.none() | st.sampled_from(["nm1", "nm123456789abc"]),
    )
)
def test_entries_there_and_back(entry: Entry) -> None:
    listed = parse_listed(memoryview(pack_entry(entry)))
    assert listed.entry == entry
    assert listed.packets is None


def test_every_set_has_a_bound_and_a_name() -> None:
    specs = set_specs(HubSpec(InstanceName("netmgr")))
    assert {spec.name for spec in specs} == {getattr(NAMES, each) for each in NAMES.__slots__}
    assert all(spec.max_entries > 0 for spec in specs)


def test_kernel_names_of_set_types() -> None:
    assert [kind.kernel_name for kind in SetType] == [
        "hash:ip",
        "hash:net",
        "hash:net,iface",
        "hash:ip,port,ip",
        "hash:ip,port,net",
    ]
