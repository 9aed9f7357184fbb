"""What is logged and counted of refused packets, and that nobody can silence a neighbour."""

import os
import select
import socket
import time

import pytest
from netns.hub_stage import (
    SOON_S,
    HubStage,
    ipv4,
    listener,
    read_log,
    refused_tcp,
    refused_udp,
    send_frames,
    udp,
)

from netmgr.kernel.facts import Counters
from netmgr.kernel.ruleset import GROUP_DENIED, GROUP_SPOOFED, GROUP_UNSEEN, LOG_BUDGET

pytestmark = pytest.mark.root

ALLOWED = "198.18.0.1"


def test_a_false_source_is_dropped_counted_and_logged(stage: HubStage) -> None:
    box, other = stage.sandbox(2), stage.sandbox(3, (443, ALLOWED))
    for source in (other.address, "169.254.77.1", "127.0.0.1", "8.8.8.8"):
        send_frames(box, ipv4(source, ALLOWED, 17, udp(1000, 53)))
    events = read_log(stage)
    assert [event.group for event in events] == [GROUP_SPOOFED] * 4
    assert {str(event.source) for event in events} >= {other.address, "8.8.8.8"}
    assert stage.kernel.counters(box.lease) == Counters()  # of its own address there was nothing
    assert stage.kernel.counters(other.lease) == Counters()  # nobody else is blamed
    with socket.socket(fileno=os.dup(stage.listeners.dns_udp)) as resolver:
        assert not select.select([resolver], [], [], 0)[0]


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.1.2.3", "239.1.2.3"])
def test_what_never_reaches_input_is_logged(stage: HubStage, ip: str) -> None:
    box = stage.sandbox(2)
    send_frames(box, ipv4(box.address, ip, 17, udp(1000, 5353)))
    events = read_log(stage)
    assert [(e.group, str(e.destination), e.dport) for e in events] == [(GROUP_UNSEEN, ip, 5353)]
    assert stage.kernel.counters(box.lease).denied_packets == 1


def test_a_denial_is_logged_with_its_particulars(stage: HubStage) -> None:
    box = stage.sandbox(2)
    refused_tcp(box, "93.184.216.34", 8080)
    event = read_log(stage)[0]
    assert event.group == GROUP_DENIED
    assert str(event.source) == box.address
    assert (str(event.destination), event.dport) == ("93.184.216.34", 8080)
    assert event.protocol == socket.IPPROTO_TCP
    assert event.sport is not None
    assert event.ifindex == stage.kernel.survey().links[box.lease.link].index


def test_one_sandbox_cannot_silence_another(stage: HubStage) -> None:
    loud, quiet = stage.sandbox(2), stage.sandbox(3)
    noise = [ipv4(loud.address, f"93.184.{n}.1", 17, udp(1000, 99)) for n in range(250)]
    send_frames(loud, *noise, times=2)
    send_frames(quiet, ipv4(quiet.address, "93.184.216.34", 17, udp(1000, 99)))
    events = read_log(stage)
    from_loud = sum(str(event.source) == loud.address for event in events)
    assert LOG_BUDGET <= from_loud <= 2 * LOG_BUDGET  # the flood may straddle two seconds
    assert sum(str(event.source) == quiet.address for event in events) == 1
    assert stage.kernel.counters(loud.lease).denied_packets == 500  # exact all the same


def test_one_sandbox_cannot_use_up_the_refusals_of_another(stage: HubStage) -> None:
    loud, quiet = stage.sandbox(2), stage.sandbox(3)
    send_frames(loud, ipv4(loud.address, "93.184.216.34", 17, udp(1000, 99)), times=3000)
    took, kind, code = refused_udp(quiet, "93.184.216.34", 443)
    assert (kind, code) == (3, 13)
    assert took < SOON_S


def test_a_budget_renews_itself_after_a_second(stage: HubStage) -> None:
    box = stage.sandbox(2)
    packet = ipv4(box.address, "93.184.216.34", 17, udp(1000, 99))
    send_frames(box, packet, times=200)
    time.sleep(1.2)
    read_log(stage, 0.05)
    send_frames(box, packet)
    assert len(read_log(stage)) == 1


def test_a_muted_link_is_counted_and_silences_nobody(stage: HubStage) -> None:
    loud, quiet = stage.sandbox(2), stage.sandbox(3)
    packet = ipv4("8.8.8.8", ALLOWED, 17, udp(1000, 53))
    send_frames(loud, packet, times=200)
    assert len(read_log(stage)) == 200
    stage.kernel.mute_spoofing([loud.lease.link])
    send_frames(loud, packet, times=5000)
    send_frames(quiet, packet)
    (event,) = read_log(stage)
    assert event.ifindex == stage.kernel.survey().links[quiet.lease.link].index
    assert stage.kernel.unmute_spoofing() == {loud.lease.link: 5000}
    send_frames(loud, packet)
    assert len(read_log(stage)) == 1


def test_allowed_packets_are_counted_once(stage: HubStage) -> None:
    box = stage.sandbox(2, (443, ALLOWED))
    with listener(stage) as proxy:
        box.run(lambda: socket.create_connection((ALLOWED, 443), 2).close())
        proxy.accept()[0].close()
    time.sleep(0.05)
    found = stage.kernel.counters(box.lease)
    assert 3 <= found.allowed_packets <= 5  # SYN, ACK, FIN, ACK: each once
    assert found.denied_packets == 0
