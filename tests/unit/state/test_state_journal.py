"""The journal: numbers, visibility, questions, followers, retention, kills and full disks."""

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from netmgr.errors import BadInput, HostFailed, LimitExceeded, TryLater
from netmgr.journal import MAX_FOLLOWERS, RING_ROWS, Filter, Journal, Retention
from netmgr.journal import writer as writer_module
from netmgr.journal.disk import JournalFile
from netmgr.journal.repeats import MAX_IDS
from netmgr.journal.wire import parse_record, parse_records
from netmgr.model import RECORDS_PER_MESSAGE, Destination, Record
from netmgr.reasons import Kind, Reason, Verdict

HERE = Path(__file__).parent
KEEP = Retention(rows=100_000, days=30)
VISIBLE_S = 0.2  # the contract's


def a_record(name: str = "x.example", **values: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "time": time.time(),
        "sandbox": "a",
        "kind": Kind.CONNECTION,
        "verdict": Verdict.DENIED,
        "reason": Reason.NO_MATCHING_RULE,
        "destination": Destination(name=name, port=443, protocol="tcp"),
    }
    return Record(**(plain | values)).to_wire()


@asynccontextmanager
async def opened(path: Path, keep: Retention = KEEP, **more: Any) -> AsyncGenerator[Journal, None]:
    journal = Journal(path, keep, **more)
    await journal.start()
    try:
        yield journal
    finally:
        await journal.close()


def run(path: Path, story: Callable[[Journal], Awaitable[None]], **more: Any) -> None:
    async def whole() -> None:
        async with opened(path / "journal.db", **more) as journal:
            await asyncio.wait_for(story(journal), 60)

    asyncio.run(whole())


async def take(
    records: AsyncGenerator[dict[str, Any], None], number: int, within_s: float = 10.0
) -> list[dict[str, Any]]:
    async def some() -> list[dict[str, Any]]:
        return [await anext(records) for _ in range(number)]

    return await asyncio.wait_for(some(), within_s)


def test_a_record_has_every_field_of_the_contract(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        journal.append(a_record(time=1_700_000_000.25, extra={"http": {"method": "GET"}}))
        (record,) = await journal.query(Filter())
        assert " ".join(record) == (
            "seq time sandbox tenant kind verdict reason rule policy_revision destination process "
            "http inference bytes_in bytes_out duration_ms count message remedy"
        )
        assert record["time"] == "2023-11-14T22:13:20.250000Z"
        assert record["seq"] == 1
        assert record["http"] == {"method": "GET"}
        assert record["process"] is None

    run(tmp_path, story)


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        for number in range(3):
            journal.append(a_record(f"{number}.{time.time()}"))

    for _ in range(3):
        run(tmp_path, story)

    async def look(journal: Journal) -> None:
        assert [r["seq"] for r in await journal.query(Filter())] == list(range(1, 10))
        assert journal.last_seq == 9

    run(tmp_path, look)


def test_a_denial_is_seen_by_a_follower_in_time(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        async with aclosing(journal.subscribe(Filter())) as records:
            waits = []
            for number in range(5):
                began = time.monotonic()
                journal.append(a_record(str(number)))
                await take(records, 1)
                waits.append(time.monotonic() - began)
            assert sorted(waits)[2] < VISIBLE_S, waits

    run(tmp_path, story)


def test_a_follower_sees_only_what_is_committed(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        async with aclosing(journal.subscribe(Filter())) as records:
            journal.append(a_record())
            (record,) = await take(records, 1)
            with sqlite3.connect(journal.path) as raw:
                assert raw.execute("SELECT max(seq) FROM records").fetchone()[0] == record["seq"]
            raw.close()

    run(tmp_path, story)


def test_repeats_become_one_record_with_an_exact_count(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        async with aclosing(journal.subscribe(Filter())) as records:
            for _ in range(1001):
                journal.append(a_record())
            first, rest = await take(records, 2)
            assert (first["count"], rest["count"]) == (1, 1000)
            assert [first["seq"], rest["seq"]] == [1, 2]

    run(tmp_path, story, repeat_s=0.3)


def denied_call(number: int, label: str = "secret", **more: Any) -> dict[str, Any]:
    call = {"request_id": f"r{number}", "label": label, "rejected": {"far": "clearance"}, **more}
    return a_record(kind=Kind.INFERENCE, verdict=Verdict.DENIED, extra={"inference": call})


def test_a_counted_model_call_is_found_by_its_id_before_and_after_it_is_written(
    tmp_path: Path,
) -> None:
    async def story(journal: Journal) -> None:
        for number in range(MAX_IDS + 5):
            journal.append(denied_call(number))
        journal.append(denied_call(9999, "public"))
        wanted = [Filter(request_id=f"r{number}", limit=1) for number in (0, 1, MAX_IDS, 9999)]
        assert journal.counted("r1")["inference"]["label"] == "secret"
        assert journal.counted("r0") is None, "it was written at once"
        await asyncio.sleep(0.4)
        found = [await journal.query(each) for each in wanted]
        assert [each["count"] for (each,) in found] == [1, MAX_IDS + 4, MAX_IDS + 4, 1]
        assert found[3][0]["inference"]["label"] == "public", "another decision is another record"
        assert await journal.query(Filter(request_id=f"r{MAX_IDS + 3}")) == []

    run(tmp_path, story, repeat_s=0.3)


def test_what_a_hijacked_worker_writes_of_a_call_breaks_nothing(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        for junk in (5, "text", {"a": [1]}, [[1], {}], None):
            for _ in range(3):
                journal.append(denied_call(1, request_ids=junk, rejected=junk, unscanned=junk))
        assert journal.counted("nobody") is None

    run(tmp_path, story, repeat_s=0.1)


def test_counted_repeats_are_written_at_the_end(tmp_path: Path) -> None:
    async def story(journal: Journal) -> None:
        for _ in range(5):
            journal.append(a_record())

    run(tmp_path, story)

    async def look(journal: Journal) -> None:
        assert [r["count"] for r in await journal.query(Filter())] == [1, 4]

    run(tmp_path, look)


def test_a_record_after_the_end_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with opened(tmp_path / "journal.db") as journal:
            pass
        journal.append(a_record(message="too late"))
        await journal.close()

    asyncio.run(story())
    assert "too late" in caplog.text


class TestWire:
    def test_an_honest_record_passes(self) -> None:
        full = a_record(
            tenant="t",
            rule="web.endpoints[0]",
            policy_revision=3,
            remedy="netmgr policy update a ...",
            extra={
                "process": {"exe": "/bin/curl", "pid": 7, "ancestors": ["/bin/sh"], "sha256": None},
                "http": {"method": "GET", "path": "/" + "%" * 4095, "status": 403},
                "inference": {
                    "model": "m",
                    "attempts": 1,
                    "tried": [{"endpoint": "e", "status": None}],
                    "plan": ["e"],
                    "rejected": {"f": "clearance"},
                    "facts": {"workload": {"tier": "batch"}, "sets": {"m": ["image"]}},
                    "ttfb_ms": 1.5,
                },
                "bytes_in": 5,
                "duration_ms": 0.25,
            },
        )
        assert parse_record(full) == full

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"colour": "red"}, "unknown field 'colour'"),
            ({"proces": None}, "did you mean 'process'"),
            ({"kind": "gossip"}, "kind is 'gossip'"),
            ({"verdict": None}, "verdict is None"),
            ({"reason": ["allowed"]}, "reason is"),
            ({"time": "now"}, "time is"),
            ({"time": float("nan")}, "time is"),
            ({"time": 1e300}, "time is"),
            ({"time": 10**400}, "time is"),
            ({"duration_ms": 10**400}, "duration_ms is"),
            ({"inference": {"tokens": 10**400}}, "inference is"),
            ({"inference": {"facts": [[[[[1]]]]]}}, "inference is"),
            ({"inference": {"facts": {"a": {1, 2}}}}, "inference is"),
            ({"count": 0}, "count is 0"),
            ({"count": True}, "count is True"),
            ({"bytes_in": -1}, "bytes_in is -1"),
            ({"sandbox": 7}, "sandbox is 7"),
            ({"message": None}, "message is None"),
            ({"destination": "x"}, "destination is 'x'"),
            ({"destination": {"name": ["x"]}}, "destination is"),
            ({"process": {"ancestors": [["deep"]]}}, "process is"),
            ({"message": "x" * 70_000}, "longer than"),
            ({"message": "\ud800"}, "not to be written"),
            ({"http": {"path": "\udfff"}}, "not to be written"),
        ],
    )
    def test_a_strange_one_is_told(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(BadInput, match=re.escape(words)):
            parse_record(a_record() | fields)

    def test_records_come_in_lists(self) -> None:
        honest = a_record()
        assert parse_records({"records": [honest, honest]}) == [honest, honest]
        assert parse_records({"records": []}) == []

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"records": None},
            {"records": {}},
            {"records": [], "more": 1},
            {"records": [None]},
            {"records": [{}]},
            {"records": [a_record(), a_record() | {"count": 0}]},
            {"records": [a_record()] * (RECORDS_PER_MESSAGE + 1)},
        ],
    )
    def test_what_is_no_list_of_records_is_told(self, body: dict[str, Any]) -> None:
        with pytest.raises(BadInput, match="record"):
            parse_records(body)

    @pytest.mark.parametrize(
        "part",
        [
            {"ancestors": [False] * 9400},  # seven bytes each in JSON, one in memory
            {"ancestors": ["\x01" * 11_000]},
            {"ancestors": ["a" * 66_000]},
            {"ancestors": ["é" * 33_000]},
            {"ancestors": ["\ud800"]},
            {"ancestors": [0.1234567890123456] * 3700},
        ],
    )
    def test_what_is_too_long_or_no_text_is_told(self, part: dict[str, Any]) -> None:
        with pytest.raises(BadInput, match=r"longer than|not to be written"):
            parse_record(a_record() | {"process": part})

    def test_what_is_missing_is_told(self) -> None:
        with pytest.raises(BadInput, match="lacks count, kind, message"):
            parse_record({"time": 1.0, "sandbox": None, "verdict": "denied", "reason": "raw_ip"})


class TestQuestions:
    WANTED = (
        (Filter(), [1, 2, 3, 4, 5]),
        (Filter(sandbox="b"), [2]),
        (Filter(verdict="allowed"), [3]),
        (Filter(kind="dns"), [4]),
        (Filter(name="*.example"), [1, 2, 3, 4]),
        (Filter(name="API.*"), [2]),
        (Filter(name="?pi.example"), [2]),
        (Filter(name="192.0.2.1"), [5]),
        (Filter(name="[a]*"), []),
        (Filter(since=150.0), [3, 4, 5]),
        (Filter(after=2), [3, 4, 5]),
        (Filter(after=2, limit=2), [3, 4]),
        (Filter(limit=2), [4, 5]),
        (Filter(sandbox="a", verdict="denied", kind="connection", since=100.0), [1, 5]),
        (Filter(sandbox="b", verdict="allowed"), []),
    )

    @staticmethod
    def fill(journal: Journal) -> None:
        journal.append(a_record("one.example", time=100.0))
        journal.append(a_record("api.example", time=101.0, sandbox="b"))
        journal.append(a_record("two.example", time=200.0, verdict=Verdict.ALLOWED))
        journal.append(a_record("two.example", time=201.0, kind=Kind.DNS))
        journal.append(a_record(time=202.0, destination=Destination(ip="192.0.2.1")))

    def test_stored_records(self, tmp_path: Path) -> None:
        async def story(journal: Journal) -> None:
            self.fill(journal)
            for wanted, seqs in self.WANTED:
                found = await journal.query(wanted)
                assert [r["seq"] for r in found] == seqs, wanted

        run(tmp_path, story)

    def test_live_records_are_chosen_the_same_way(self, tmp_path: Path) -> None:
        async def story(journal: Journal) -> None:
            self.fill(journal)
            for wanted, _ in self.WANTED:
                stored = {r["seq"] for r in await journal.query(wanted)}
                live = set()
                for record in await journal.query(Filter()):
                    at = datetime.fromisoformat(record["time"]).timestamp()
                    past = wanted.after is None or record["seq"] > wanted.after
                    if past and wanted.matches(record, at):
                        live.add(record["seq"])
                assert live >= stored
                if wanted.limit > 5:
                    assert live == stored, wanted

        run(tmp_path, story)

    @pytest.mark.parametrize(
        ("values", "words"),
        [({"limit": 0}, "1 to 100000"), ({"limit": 10**6}, "1 to"), ({"name": "*" * 9}, "at most")],
    )
    def test_a_question_has_bounds(self, values: dict[str, Any], words: str) -> None:
        with pytest.raises(BadInput, match=words):
            Filter(**values)


class TestFollowers:
    def test_one_that_names_a_number_gets_all_past_it(self, tmp_path: Path) -> None:
        async def story(journal: Journal) -> None:
            for number in range(5):
                journal.append(a_record(str(number)))
            await journal.flush()
            async with aclosing(journal.subscribe(Filter(after=2))) as records:
                journal.append(a_record("new"))
                assert [r["seq"] for r in await take(records, 4)] == [3, 4, 5, 6]

        run(tmp_path, story)

    def test_one_that_names_a_time_gets_history_and_then_the_present(self, tmp_path: Path) -> None:
        async def story(journal: Journal) -> None:
            for number in range(5):
                journal.append(a_record(str(number), time=100.0 + number))
            await journal.flush()
            async with aclosing(journal.subscribe(Filter(since=103.0))) as records:
                journal.append(a_record("new"))
                assert [r["seq"] for r in await take(records, 3)] == [4, 5, 6]

        run(tmp_path, story)

    def test_one_that_is_slower_than_memory_loses_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("netmgr.journal.RECENT_ROWS", 50)

        async def story(journal: Journal) -> None:
            async with aclosing(journal.subscribe(Filter())) as records:
                for burst in range(30):
                    for number in range(100):
                        journal.append(a_record(str(number), sandbox=f"s{burst}"))
                    await journal.flush()
                seqs = [r["seq"] for r in await take(records, 3000)]
                assert seqs == list(range(1, 3001))

        run(tmp_path, story)

    def test_one_that_comes_after_retention_is_told_what_it_missed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("netmgr.journal.RECENT_ROWS", 5)
        monkeypatch.setattr(writer_module, "PRUNE_EVERY_S", 0.05)

        async def story(journal: Journal) -> None:
            for number in range(100):
                journal.append(a_record(str(number)))
            await journal.flush()
            while len(await journal.query(Filter())) > 10:
                await asyncio.sleep(0.02)
            async with aclosing(journal.subscribe(Filter(after=20))) as records:
                missed, *rest = await take(records, 11)
            assert (missed["seq"], missed["count"], missed["kind"]) == (90, 70, "finding")
            assert missed["message"] == "records 21 to 90 are no longer kept"
            assert missed.keys() == rest[0].keys()
            assert [r["seq"] for r in rest] == list(range(91, 101))

        run(tmp_path, story, keep=Retention(rows=10, days=30))

    def test_there_is_a_bound(self, tmp_path: Path) -> None:
        async def story(journal: Journal) -> None:
            followers = [journal.subscribe(Filter()) for _ in range(MAX_FOLLOWERS)]
            waiting = [asyncio.ensure_future(anext(follower)) for follower in followers]
            await asyncio.sleep(0.05)
            with pytest.raises(LimitExceeded, match="64 followers"):
                journal.subscribe(Filter())
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            for follower in followers:
                await follower.aclose()
            journal.subscribe(Filter())

        run(tmp_path, story)

    def test_the_end_ends_them(self, tmp_path: Path) -> None:
        async def story() -> None:
            async with opened(tmp_path / "journal.db") as journal:
                follower = journal.subscribe(Filter())
                waiting = asyncio.ensure_future(anext(follower, None))
                await asyncio.sleep(0.05)
            assert await asyncio.wait_for(waiting, 5) is None

        asyncio.run(story())


class TestRetention:
    @pytest.mark.parametrize("keep", [Retention(rows=3, days=30), Retention(rows=10**6, days=1)])
    def test_what_is_too_many_or_too_old_goes_and_numbers_stay(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Retention
    ) -> None:
        monkeypatch.setattr(writer_module, "PRUNE_EVERY_S", 0.05)

        async def story(journal: Journal) -> None:
            for number in range(20):
                age = 0.0 if number >= 17 else 2 * 86400.0
                journal.append(a_record(str(number), time=time.time() - age))
            while len(await journal.query(Filter())) > 3:
                await asyncio.sleep(0.02)
            assert [r["seq"] for r in await journal.query(Filter())] == [18, 19, 20]

        run(tmp_path, story, keep=keep)

    def test_numbers_go_on_when_nothing_is_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer_module, "PRUNE_EVERY_S", 0.05)

        async def story(journal: Journal) -> None:
            journal.append(a_record(time=5.0))
            await journal.flush()
            while await journal.query(Filter()):
                await asyncio.sleep(0.02)

        run(tmp_path, story)

        async def look(journal: Journal) -> None:
            journal.append(a_record())
            assert [r["seq"] for r in await journal.query(Filter())] == [2]

        run(tmp_path, look)


class TestTrouble:
    def test_a_newer_journal_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.db"
        with sqlite3.connect(path) as raw:
            raw.execute("PRAGMA user_version = 99")
        raw.close()
        with pytest.raises(HostFailed, match="newer netmgr"):
            asyncio.run(Journal(path, KEEP).start())

    def test_a_damaged_journal_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.db"
        path.write_bytes(b"no database" * 1000)
        with pytest.raises(HostFailed, match="cannot be opened"):
            asyncio.run(Journal(path, KEEP).start())

    def test_a_kill_takes_no_number_that_was_shown(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.db"
        shown = 0
        for _ in range(3):
            process = subprocess.Popen(
                [sys.executable, str(HERE / "journal_stories.py"), "write", str(path)],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            for line in process.stdout:
                assert int(line) == shown + 1, "a gap, or a number given twice"
                shown = int(line)
                if shown % 700 == 0:
                    break
            os.kill(process.pid, signal.SIGKILL)
            # What it had shown before the signal came is still in the pipe.
            shown = max([shown, *(int(line) for line in process.stdout if line.endswith("\n"))])
            process.stdout.close()
            process.wait(10)
            with sqlite3.connect(path) as raw:
                seqs = [row[0] for row in raw.execute("SELECT seq FROM records ORDER BY seq")]
            raw.close()
            assert seqs == list(range(1, len(seqs) + 1))
            assert len(seqs) >= shown
            shown = len(seqs)

    def test_a_record_that_cannot_be_written_stops_at_its_sender(self, tmp_path: Path) -> None:
        async def story(journal: Journal) -> None:
            with pytest.raises(TypeError):
                journal.append(a_record(extra={"note": object()}))
            journal.append(a_record("next"))
            assert [r["seq"] for r in await journal.query(Filter())] == [1]

        run(tmp_path, story)

    def test_a_fault_of_the_writer_closes_and_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(self: JournalFile, records: object) -> None:
            raise RuntimeError("broken")

        async def story(journal: Journal) -> None:
            monkeypatch.setattr(JournalFile, "append", broken)
            journal.append(a_record())
            with pytest.raises(TryLater, match="broken"):
                await journal.flush()
            with pytest.raises(HostFailed, match="changes are refused"):
                journal.require_writable()
            assert len(await journal.query(Filter())) == 1

        run(tmp_path, story)
        assert "the journal's writer ended" in caplog.text

    @pytest.mark.root
    def test_a_full_disk(self, tmp_path: Path) -> None:
        """The story itself runs in a mount namespace of its own, on a tmpfs of 2 MiB."""
        story = [sys.executable, str(HERE / "journal_stories.py"), "full-disk", str(tmp_path)]
        done = subprocess.run(
            ["unshare", "--mount", *story],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"recovered {RING_ROWS}"
