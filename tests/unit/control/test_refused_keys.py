"""A provider that refuses the operator's key is marked until it takes one, or is changed."""

from typing import Any

from netmgr.daemon.refused_keys import RefusedKeys


def record(*tried: tuple[str, int | None, str | None], reason: str = "allowed") -> dict[str, Any]:
    attempts = [{"provider": p, "status": s, "reason": r} for p, s, r in tried]
    call = {"tried": attempts}
    return {"kind": "inference", "reason": reason, "time": "2026-01-01T00:00:00Z"} | {
        "inference": call
    }


def test_a_refusal_marks_its_provider_and_a_good_answer_takes_the_mark_away() -> None:
    marks = RefusedKeys()
    marks.note(record(("a", 401, "upstream_auth"), reason="upstream_auth"))
    marks.note(record(("b", 200, None)))
    assert [name for name, _ in marks.all()] == ["a"]
    assert "provider a refuses its credential since 2026" in (marks.warning("a") or "")
    marks.note(record(("a", 503, "upstream_unreachable"), ("b", 200, None)))
    assert marks.since("a") is not None
    marks.note(record(("a", 200, None)))
    assert marks.since("a") is None


def test_without_a_routing_file_the_answer_is_relayed_and_marks_all_the_same() -> None:
    marks = RefusedKeys()
    marks.note(record(("a", 403, None), reason="upstream_auth"))
    assert marks.since("a")
    marks.forget("a")
    assert marks.all() == []


def test_other_records_mark_nobody() -> None:
    marks = RefusedKeys()
    marks.note({"kind": "http", "reason": "upstream_auth", "time": "x"})
    marks.note(record(("a", 403, None)))
    marks.note({"kind": "inference", "reason": "upstream_auth", "time": "x", "inference": None})
    assert marks.all() == []
