"""Stories of the journal that need a process of their own: to be killed, or to fill a disk."""

import asyncio
import subprocess
import sys
import time
from contextlib import aclosing, suppress
from pathlib import Path

from netmgr.errors import HostFailed
from netmgr.journal import RING_ROWS, Filter, Journal, Retention
from netmgr.model import Destination, Record
from netmgr.reasons import Kind, Reason, Verdict

KEEP = Retention(rows=1_000_000, days=30)
LOST = 37


def put(journal: Journal, number: int) -> None:
    """A record that repeats no other."""
    record = Record(
        time=time.time(),
        sandbox=f"s{number // 100}",
        kind=Kind.CONNECTION,
        verdict=Verdict.DENIED,
        reason=Reason.NO_MATCHING_RULE,
        destination=Destination(name=f"h{number}.example", port=443),
    )
    journal.append(record.to_wire())


async def wait_for(what: str, met: object) -> None:
    """Wait until `met()` holds, ten seconds at most."""
    assert callable(met)
    for _ in range(1000):
        if met():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what)


async def write(path: Path) -> None:
    """Write for ever and print every number that a follower sees."""
    journal = Journal(path, KEEP)
    await journal.start()

    async def fill() -> None:
        for number in range(10**9):
            put(journal, number)
            if number % 20 == 0:
                await asyncio.sleep(0.002)

    filling = asyncio.ensure_future(fill())
    async for record in journal.subscribe(Filter()):
        print(record["seq"], flush=True)
    await filling


async def full_disk(directory: Path) -> None:
    """A disk fills up, the ring fills up, and then there is space again."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", directory], check=True)
    flips: list[bool] = []
    journal = Journal(directory / "journal.db", KEEP, on_available=flips.append)
    await journal.start()
    put(journal, 0)
    await journal.flush()
    journal.require_writable()

    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)

    async with aclosing(journal.subscribe(Filter())) as followed:
        put(journal, 1)
        for number in range(2, 12):
            put(journal, number)
        seen = [await asyncio.wait_for(anext(followed), 10) for _ in range(11)]
        assert [r["seq"] for r in seen] == list(range(2, 13)), "a follower sees the ring"
        await wait_for("the failure is known", lambda: not writable(journal))
        assert journal.available
        assert flips == []
        asked = [r["seq"] for r in await journal.query(Filter(sandbox="s0"))]
        assert asked == list(range(1, 13)), asked

        for number in range(12, RING_ROWS + LOST + 1):
            put(journal, number)
        assert flips == [False], flips
        assert not journal.available
        await asyncio.sleep(1.2)
        assert flips == [False]

        subprocess.run(["mount", "-o", "remount,size=64m", directory], check=True)
        filler.unlink()
        await wait_for("recovery", lambda: flips == [False, True])
        await journal.flush()
        journal.require_writable()

    records = await journal.query(Filter(limit=100_000))
    assert [r["seq"] for r in records] == list(range(1, len(records) + 1))
    finding = records[-1]
    assert finding["reason"] == "journal_unavailable", finding
    assert finding["count"] == LOST, finding
    await journal.close()
    print("recovered", len(records) - 2)


def writable(journal: Journal) -> bool:
    """Whether changes are taken."""
    try:
        journal.require_writable()
    except HostFailed:
        return False
    return True


if __name__ == "__main__":
    stories = {"write": write, "full-disk": full_disk}
    asyncio.run(stories[sys.argv[1]](Path(sys.argv[2])))
