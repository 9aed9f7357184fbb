"""The channel between processes: order, descriptors, deadlines, ends."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from netmgr.process.ipc import MAX_ASKED, Answer, Body, Peer, PeerClosed, PeerRefused, encode_frame

Loops = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(test: Callable[[], Awaitable[None]], loop_factory: Callable[[], asyncio.AbstractEventLoop]):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(test())


def pair(**kwargs: object) -> tuple[Peer, Peer]:
    a, b = socket.socketpair()
    return Peer(a), Peer(b, **kwargs)


async def echo(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
    return Answer({"what": what, **body}, fds)


@pytest.mark.parametrize("loop", Loops)
def test_an_answer_brings_fields_and_descriptors(loop):
    async def main():
        a, b = pair(on_ask=echo)
        read, write = os.pipe()
        answer = await a.ask("x", {"n": 1, "text": "ü"}, fds=[write])
        assert answer.body == {"what": "x", "n": 1, "text": "ü"}
        os.write(answer.fds[0], b"through")
        assert os.read(read, 16) == b"through"
        for fd in (read, write, *answer.fds):
            os.close(fd)
        a.close()
        b.close()

    run(main, loop)


@pytest.mark.parametrize("loop", Loops)
def test_messages_larger_than_the_socket_buffer_keep_order_and_descriptors(loop):
    async def main():
        seen: list[tuple[int, int]] = []
        done = asyncio.Event()

        def on_tell(what: str, body: Body, fds: tuple[int, ...]) -> None:
            seen.append((body["n"], len(fds)))
            for fd in fds:
                os.close(fd)
            if body["n"] == 39:
                done.set()

        a, b = pair(on_tell=on_tell)
        with open(os.devnull) as null:
            for n in range(40):
                a.tell("big", {"n": n, "pad": "p" * 100_000}, fds=[null.fileno()] * (n % 3))
        async with asyncio.timeout(10):
            await done.wait()
        assert seen == [(n, n % 3) for n in range(40)]
        a.close()
        b.close()

    run(main, loop)


def test_a_refusal_arrives_with_its_code():
    async def main():
        async def refuse(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            raise PeerRefused("port_not_allowed", "not that one", {"port": 22})

        a, b = pair(on_ask=refuse)
        with pytest.raises(PeerRefused, match="not that one") as caught:
            await a.ask("x")
        assert (caught.value.code, caught.value.details) == ("port_not_allowed", {"port": 22})
        a.close()
        b.close()

    run(main, asyncio.new_event_loop)


def test_a_late_answer_is_dropped_and_its_descriptors_closed():
    async def main():
        release = asyncio.Event()

        async def late(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            await release.wait()
            return Answer({}, (os.open(os.devnull, os.O_RDONLY),))

        a, b = pair(on_ask=late)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(TimeoutError):
            await a.ask("x", deadline_s=0.02)
        release.set()
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) == before
        a.close()
        b.close()

    run(main, asyncio.new_event_loop)


def test_the_end_of_one_side_fails_what_the_other_waits_for():
    async def main():
        async def never(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            await asyncio.sleep(60)
            return Answer()

        closed = asyncio.Event()
        a, b = pair(on_ask=never)
        a.on_close = closed.set
        waiting = asyncio.ensure_future(a.ask("x"))
        await asyncio.sleep(0)
        b.close()
        with pytest.raises(PeerClosed):
            await waiting
        assert closed.is_set()
        with pytest.raises(PeerClosed):
            a.tell("x")

    run(main, asyncio.new_event_loop)


def test_garbage_ends_the_channel_and_nothing_else():
    async def main():
        raw, ours = socket.socketpair()
        ended = asyncio.Event()
        Peer(ours, on_close=ended.set)
        raw.send(b"\xff" * 64)
        async with asyncio.timeout(5):
            await ended.wait()
        raw.close()

    run(main, asyncio.new_event_loop)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_that_nobody_wants_end_the_channel_and_stay_outside():
    """A hijacked worker must not fill the daemon's table of descriptors."""

    async def main():
        ours, theirs = socket.socketpair()
        closed = asyncio.Event()
        peer = Peer(ours, on_close=closed.set, takes_fds=False)
        with open(os.devnull) as null:
            before = open_descriptors()
            frame = encode_frame({"tell": "x", "body": {}}, 0)
            socket.send_fds(theirs, [frame], [null.fileno()] * 16)
            async with asyncio.timeout(5):
                await closed.wait()
            assert open_descriptors() == before - 1  # the channel's own
        theirs.close()
        peer.close()

    run(main, asyncio.new_event_loop)


def test_descriptors_that_no_frame_claims_do_not_pile_up():
    async def main():
        ours, theirs = socket.socketpair()
        closed = asyncio.Event()
        peer = Peer(ours, on_close=closed.set)
        with open(os.devnull) as null:
            before = open_descriptors()
            frame = encode_frame({"tell": "x", "body": {}}, 0)
            for _ in range(4):
                socket.send_fds(theirs, [frame], [null.fileno()] * 8)
            async with asyncio.timeout(5):
                await closed.wait()
            assert open_descriptors() == before - 1
        theirs.close()
        peer.close()

    run(main, asyncio.new_event_loop)


BROKEN = [
    b"no json",
    b"[" * 100_000,
    b"[]",
    b'"tell"',
    b"{}",
    b'{"tell":"x"}',
    b'{"tell":7,"body":{}}',
    b'{"ask":"x","body":{}}',
    b'{"ask":["x"],"id":1,"body":{}}',
    b'{"answer":1}',
    b'{"answer":1,"error":{"code":"x"}}',
    b'{"answer":1,"error":7}',
]


@pytest.mark.parametrize("payload", BROKEN, ids=lambda payload: payload[:20].decode())
def test_what_is_no_message_ends_the_channel(payload):
    async def main():
        ours, theirs = socket.socketpair()
        closed = asyncio.Event()
        peer = Peer(ours, on_close=closed.set)
        waiting = asyncio.ensure_future(peer.ask("x"))
        await asyncio.sleep(0)
        theirs.send(struct.pack("!IB", len(payload), 0) + payload)
        async with asyncio.timeout(5):
            await closed.wait()
        with pytest.raises(PeerClosed):
            await waiting
        theirs.close()

    run(main, asyncio.new_event_loop)


def test_a_word_that_is_not_understood_ends_the_channel():
    async def main():
        def fail(what: str, body: Body, fds: tuple[int, ...]) -> None:
            raise KeyError(what)

        closed = asyncio.Event()
        a, b = pair(on_tell=fail, on_close=closed.set)
        a.tell("x")
        async with asyncio.timeout(5):
            await closed.wait()
        assert b.closed
        a.close()

    run(main, asyncio.new_event_loop)


def test_questions_under_way_are_bounded():
    async def main():
        async def never(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            await asyncio.sleep(60)
            return Answer()

        a, b = pair(on_ask=never)
        asked = [asyncio.ensure_future(a.ask("x")) for _ in range(MAX_ASKED + 1)]
        with pytest.raises(PeerRefused) as caught:
            await asked[-1]
        assert caught.value.code == "limit_exceeded"
        assert not any(question.done() for question in asked[:-1])
        a.close()
        b.close()
        await asyncio.gather(*asked, return_exceptions=True)

    run(main, asyncio.new_event_loop)


def test_a_message_that_is_too_long_ends_the_channel():
    async def main():
        closed = asyncio.Event()
        a, b = pair(max_frame=1000, on_close=closed.set)
        a.tell("x", {"pad": "p" * 1000})
        async with asyncio.timeout(5):
            await closed.wait()
        a.close()
        b.close()

    run(main, asyncio.new_event_loop)


def test_an_answer_that_nobody_waits_for_any_more_leaks_no_descriptor():
    """The asker is cancelled in the very turn of the loop in which the answer is there."""

    async def main():
        async def give(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            return Answer({}, (os.open(os.devnull, os.O_RDONLY),))

        a, b = pair(on_ask=give)
        before = open_descriptors()
        take = a._take_answer

        def take_and_cancel(message: Body, fds: tuple[int, ...]) -> None:
            take(message, fds)
            question.cancel()

        a._take_answer = take_and_cancel
        question = asyncio.ensure_future(a.ask("x"))
        with pytest.raises(asyncio.CancelledError):
            await question
        assert open_descriptors() == before
        a.close()
        b.close()

    run(main, asyncio.new_event_loop)


def test_half_a_surrogate_pair_travels_like_any_other_character():
    """JSON can say it, UTF-8 cannot: a reply that quotes a question must not fail for it."""

    async def main():
        a, b = pair(on_ask=echo)
        answer = await a.ask("x", {"text": "\ud800ü"})
        assert answer.body["text"] == "\ud800ü"
        a.close()
        b.close()

    run(main, asyncio.new_event_loop)
