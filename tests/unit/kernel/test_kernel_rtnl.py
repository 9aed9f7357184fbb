"""Route netlink: what is packed here is what pyroute2 reads out of it; batches and questions."""

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netmgr.kernel import netlink, rtnl
from netmgr.kernel.netlink import NetlinkSocket

ADDRESS = IPv4Address("100.64.3.9")
MAC = "06:6e:64:40:03:09"
NEW = netlink.NLM_F_REQUEST | netlink.NLM_F_CREATE | netlink.NLM_F_EXCL
REPLACE = netlink.NLM_F_REQUEST | netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE


def decoded(message: bytearray, form: type[Any]) -> Any:
    """The message as pyroute2 understands it."""
    found = form(bytes(message))
    found.decode()
    assert found["header"]["length"] == len(message)
    return found


def head(found: Any) -> tuple[int, int]:
    return found["header"]["type"], found["header"]["flags"]


def test_a_link_is_set_up() -> None:
    found = decoded(rtnl.set_link_up(7), ifinfmsg)
    assert head(found) == (16, netlink.NLM_F_REQUEST)
    assert (found["index"], found["flags"], found["change"]) == (7, 1, 1)


def test_a_link_is_deleted_by_name() -> None:
    found = decoded(rtnl.del_link("nm7"), ifinfmsg)
    assert head(found) == (17, netlink.NLM_F_REQUEST)
    assert (found["index"], found.get_attr("IFLA_IFNAME")) == (0, "nm7")


def test_a_pair_is_made_across_namespaces() -> None:
    found = decoded(rtnl.new_veth("eth0", MAC, "nm7", "02:6e:6d:00:00:01", 5), ifinfmsg)
    assert head(found) == (16, NEW)
    assert found.get_attr("IFLA_IFNAME") == "eth0"
    assert found.get_attr("IFLA_ADDRESS") == MAC
    info = found.get_attr("IFLA_LINKINFO")
    assert info.get_attr("IFLA_INFO_KIND") == "veth"
    peer = info.get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert peer["flags"] == peer["change"] == rtnl.IFF_NOARP
    assert peer.get_attr("IFLA_IFNAME") == "nm7"
    assert peer.get_attr("IFLA_NET_NS_FD") == 5


def test_an_address_is_added() -> None:
    found = decoded(rtnl.new_address(2, ADDRESS), ifaddrmsg)
    assert head(found) == (20, NEW)
    assert (found["family"], found["prefixlen"], found["index"]) == (2, 32, 2)
    assert found.get_attr("IFA_LOCAL") == found.get_attr("IFA_ADDRESS") == str(ADDRESS)


def test_a_permanent_neighbour_replaces() -> None:
    found = decoded(rtnl.new_neighbour(3, ADDRESS, MAC), ndmsg)
    assert head(found) == (28, REPLACE)
    assert (found["family"], found["ifindex"], found["state"]) == (2, 3, 0x80)
    assert (found.get_attr("NDA_DST"), found.get_attr("NDA_LLADDR")) == (str(ADDRESS), MAC)


def test_routes() -> None:
    default = decoded(rtnl.new_default_route(2, ADDRESS), rtmsg)
    assert head(default) == (24, NEW)
    assert (default["dst_len"], default["scope"], default["flags"]) == (0, 0, 4)
    assert (default.get_attr("RTA_GATEWAY"), default.get_attr("RTA_OIF")) == (str(ADDRESS), 2)
    host = decoded(rtnl.new_host_route(9, ADDRESS), rtmsg)
    assert head(host) == (24, REPLACE)
    assert (host["dst_len"], host["scope"], host["flags"]) == (32, 253, 0)
    assert (host.get_attr("RTA_DST"), host.get_attr("RTA_OIF")) == (str(ADDRESS), 9)
    for route in (default, host):
        assert (route["table"], route["proto"], route["type"]) == (254, 4, 1)


@pytest.fixture
def own() -> Iterator[NetlinkSocket]:
    sock = NetlinkSocket(rtnl.NETLINK_ROUTE)
    yield sock
    sock.close()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["none1"], [errno.ENODEV]),
        (["none1", "none2"], [errno.ENODEV] * 2),
        ([f"none{number}" for number in range(netlink.WINDOW + 3)], [errno.ENODEV] * 103),
    ],
)
def test_each_failure_of_a_batch_is_told(
    own: NetlinkSocket, names: list[str], expected: list[int]
) -> None:
    """Asked of the real kernel: it needs no power to be told that there is no such link."""
    questions = [rtnl.ask_link(name) for name in names]
    assert own.send_batch(questions) == expected


def test_a_failure_before_the_last_is_told(own: NetlinkSocket) -> None:
    good, bad = rtnl.ask_route(IPv4Address("127.0.0.1")), rtnl.ask_link("none1")
    assert own.send_batch([bad, good]) == [errno.ENODEV, 0]


def test_questions_are_answered_in_their_order(own: NetlinkSocket) -> None:
    lo, none, again = own.ask_each([rtnl.ask_link(name) for name in ("lo", "none1", "lo")])
    for answer in (lo, again):
        assert (rtnl.read_link(answer) or pytest.fail("no lo")).index == 1
    assert rtnl.read_link(none) is None
    assert rtnl.read_route(none) is None
    with pytest.raises(OSError, match="No such device"):
        own.ask(rtnl.ask_link("none1"))
