"""The dialer's parts: sharing of places, deadlines, connecting."""

import asyncio
import socket
from ipaddress import ip_address

import pytest

from netmgr.dialer.connect import ATTEMPT_S, NotConnected, attempt_deadline, connect_first, is_local
from netmgr.dialer.gate import DialGate
from netmgr.errors import LimitExceeded
from netmgr.reasons import Reason


def fill(gate: DialGate, caller: str) -> int:
    """Enter until refused; how often it went well. The places stay taken."""
    entered = 0
    while True:
        place = gate.enter(caller)
        try:
            place.__enter__()
        except LimitExceeded:
            return entered
        HELD.append(place)
        entered += 1


HELD: list[object] = []


def test_one_sandbox_alone_gets_its_own_bound() -> None:
    assert fill(DialGate(in_all=100, per_caller=30), "a") == 30


def test_many_greedy_sandboxes_leave_room_for_the_next() -> None:
    gate = DialGate(in_all=100, per_caller=100)
    shares = [fill(gate, name) for name in "abcde"]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] >= 1
    assert gate.under_way <= 100


def test_places_are_given_back_even_after_a_failure() -> None:
    gate = DialGate(in_all=2, per_caller=1)
    for _ in range(5):
        with pytest.raises(RuntimeError, match="boom"), gate.enter("a"):
            raise RuntimeError("boom")
    assert gate.under_way == 0
    with gate.enter("a"), pytest.raises(LimitExceeded, match="1 connections"), gate.enter("a"):
        pass


def test_the_last_address_gets_all_the_rest() -> None:
    assert attempt_deadline(10.0, 4) == ATTEMPT_S
    assert attempt_deadline(4.0, 4) == 1.0
    assert attempt_deadline(7.0, 1) == 7.0
    assert attempt_deadline(-1.0, 3) == 0.0


def test_the_next_address_is_tried_and_the_first_that_answers_wins() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            addresses = [ip_address("127.0.0.2"), ip_address("127.0.0.1")]
            with await connect_first(addresses, port, 5.0) as sock:
                assert sock.getpeername() == ("127.0.0.1", port)

    asyncio.run(test())


def test_a_silent_address_is_a_timeout_and_a_mixture_is_unreachable() -> None:
    async def test() -> None:
        # A full backlog: the kernel drops further SYNs, as a black hole would.
        with socket.create_server(("127.0.0.3", 0), backlog=0) as server:
            port = server.getsockname()[1]
            with socket.create_connection(server.getsockname()):
                silent, closed = ip_address("127.0.0.3"), ip_address("127.0.0.4")
                with pytest.raises(NotConnected) as caught:
                    await connect_first([silent], port, 0.3)
                assert caught.value.reason is Reason.UPSTREAM_TIMEOUT
                with pytest.raises(NotConnected) as caught:
                    await connect_first([silent, closed], port, 0.4)
                assert caught.value.reason is Reason.UPSTREAM_UNREACHABLE
                assert "did not answer within 0.2 s" in caught.value.message
                assert "refused" in caught.value.message

    asyncio.run(test())


def test_the_kernel_knows_which_addresses_are_local() -> None:
    assert is_local(ip_address("127.0.0.1"))
    assert is_local(ip_address("127.0.0.1")) is not is_local(ip_address("192.0.2.1"))
