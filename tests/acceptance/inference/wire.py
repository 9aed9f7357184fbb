"""Owns: the cases that are conversations: what is sent, what the provider says, what comes back."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from acceptance.inference.checks import (
    check_answer,
    check_conversation,
    check_sent,
    contains,
)
from acceptance.inference.model_stage import OTHER, TABLE, ModelStage, Route
from acceptance.inference.talk import INFERENCE, Act, Said

WAIT_S: Final = 6.0  # silence that ends reading: longer than every time-out that the cases set
CLOSES_S: Final = 3.0  # the proxy waits 0.5 s for the client to close first (drain_s)

Case = dict[str, Any]
Words = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One conversation of a case. `bodies`: what the client sent, one per request."""

    acts: list[Act]
    reply: Words
    bodies: list[bytes]


def play_wire(stage: ModelStage, case: Case, sandbox: str = "agent") -> None:
    """Play every turn of a case and compare."""
    route = route_of(stage, case)
    stage.put_in_force(route)
    for turn in turns(case):
        for provider in (stage.provider, stage.local, stage.mutual):
            provider.play([{"reply": turn.reply}])
        said = stage.talker(sandbox).say(turn.acts)
        try:
            check_turn(stage, case, route, turn, said)
        except AssertionError as failure:
            failure.add_note(f"sent: {turn.acts}")
            failure.add_note(f"provider: {turn.reply}, saw {stage.provider.events}")
            raise


def route_of(stage: ModelStage, case: Case) -> Route | None:
    """The route that a case names."""
    if case["route"] is None:
        return None
    return stage.route(case["route"], **case.get("with", {}))


def check_turn(stage: ModelStage, case: Case, route: Route | None, turn: Turn, said: Said) -> None:
    """One conversation and what the provider saw of it."""
    want = case.get("answer", {})
    assert said.fails is None, said
    if "statuses" in case and "status" not in want:  # the provider's own passes
        want = want | {"status": turn.reply["status"]}
    if "client" not in case:
        wanted = case.get("answers", [want])
        assert len(said.answers) == len(wanted), said
        for answer, part in zip(said.answers, wanted, strict=True):
            check_answer(answer, part)
        check_conversation(said, wanted[-1])
    check_provider(stage, case, route, turn, said)
    if "record" in case:
        sandbox = stage.talker().sandbox
        sandbox.wait_record(lambda record: contains(record, case["record"]))


def check_provider(
    stage: ModelStage, case: Case, route: Route | None, turn: Turn, said: Said
) -> None:
    """What the provider received, and how it went there."""
    wanted = case.get("sent", {})
    provider = getattr(stage, case.get("upstream", "provider"))
    requests = provider.requests
    if wanted == "nothing":
        assert provider.events == [], provider.events
    elif route is not None and not case.get("sequence"):
        assert len(requests) == len(turn.bodies), requests
        for event, body in zip(requests, turn.bodies, strict=True):
            check_sent(event, route, body, wanted)
    if route is not None and route.get("proxied"):
        assert stage.proxy.asked[-1] == f"{route['origin'].partition('://')[2]}:443"
    if "provider" in case:
        end = stage.provider.wait_event(lambda event: event["event"] == "end")
        asked = requests[0]["time"]
        assert end["outcome"] == case["provider"]["outcome"], end
        assert end["time"] - asked - said.seconds <= case["provider"]["within"], end
    assert stage.other.connections == [], "a redirect was followed"


# -- what the client does ------------------------------------------------------------------


def turns(case: Case) -> Iterator[Turn]:
    """The conversations that a case stands for, one after the other."""
    if "raw" in case or "raws" in case:
        yield from raw_turns(case)
        return
    if "dribble" in case:
        text = "POST /v1/chat/completions HTTP/1.1\r\nhost: " + "x" * 100
        gap = 1 / case["dribble"]["bytes_per_second"]
        yield Turn([{"drip": text, "gap_s": gap}, *reading(case, 1)], reply_of(case), [])
        return
    if "sequence" in case:
        found = {other["id"]: other for other in TABLE["cases"]}
        acts: list[Act] = []
        for number, part in enumerate(case["sequence"], 1):
            acts += [{"send": request(found[part])[0]}, *reading(found[part], number)]
        yield Turn([*acts, *reading(case, len(case["sequence"]))], reply_of(case), [])
        return
    if "replies" in case:
        for reply in case["replies"]:
            yield from turns({**{k: v for k, v in case.items() if k != "replies"}, "reply": reply})
        return
    for body in bodies(case):
        for status in case.get("statuses", [None]):
            text, sent = request(case, body)
            count = case.get("pipelined", 1)
            acts = [*sending(case, text, sent, count), *reading(case, count)]
            reply = reply_of(case) | ({"status": status} if status else {})
            yield Turn(acts, reply, [sent] * count)


def raw_turns(case: Case) -> Iterator[Turn]:
    """Requests that are given as they go over the wire."""
    for raw in case.get("raws", [case.get("raw")]):
        text = long_head(raw) if isinstance(raw, dict) else raw
        body = text.partition("\r\n\r\n")[2]
        sent = [part.encode() for part in case.get("bodies_are", [case.get("body_is", body)])]
        count = len(case.get("answers", [None]))
        acts = [{"send": text}, *more_acts(case), *reading(case, count)]
        yield Turn(acts, reply_of(case), sent)


def long_head(words: Words) -> str:
    """A head that goes beyond a bound."""
    line = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {INFERENCE}\r\n"
    return line + words["head"] + words["then"] * words["times"] + "\r\n\r\n"


def sending(case: Case, text: str, body: bytes, count: int) -> list[Act]:
    """A request goes out at once, or where it asks for that, when its head was answered."""
    if "expect" not in case.get("request", {}).get("headers", {}):
        return [{"send": text * count}]
    head = text[: len(text) - len(body)]
    patience = {"read": {"count": ["100 Continue\r\n\r\n", 1]}, "wait_s": WAIT_S}
    return [{"send": head}, patience, {"send": body.decode("latin-1")}]


def more_acts(case: Case) -> list[Act]:
    """What a raw case sends besides."""
    if "flood" not in case:
        return []
    size = case["flood"]["size"]
    chunk = f"{size:x}\r\n{'x' * size}\r\n"
    return [{"flood": chunk, "times": case["flood"]["times"]}]


def reading(case: Case, count: int) -> list[Act]:
    """Read what is wanted, and to the connection's end where that is wanted."""
    if "client" in case:
        if "leaves_after_s" in case["client"]:
            return [{"pause": case["client"]["leaves_after_s"]}, {"leave": True}]
        events = case["client"]["leaves_after_events"]
        return [{"read": {"count": ["data:", events]}, "wait_s": WAIT_S}, {"leave": True}]
    last = case.get("answers", [case.get("answer", {})])[-1]
    acts: list[Act] = [{"read": {"responses": count}, "wait_s": WAIT_S}]
    if last.get("close") or last.get("terminated") is False:
        acts.append({"read": {"end": True}, "wait_s": CLOSES_S})
    return acts


def request(case: Case, body: bytes | None = None) -> tuple[str, bytes]:
    """A request's text as it goes over the wire (latin-1), and its body."""
    words = TABLE["default_request"] | case.get("request", {})
    body = next(bodies(case)) if body is None else body
    headers = {"host": INFERENCE} | TABLE["agent_headers"] | words.get("headers", {})
    if body or words["method"].upper() == "POST":
        headers["content-length"] = str(len(body))
    lines = [f"{words['method']} {words['target']} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines) + "\r\n\r\n" + body.decode("latin-1"), body


def bodies(case: Case) -> Iterator[bytes]:
    """Every body that a case tries."""
    words = TABLE["default_request"] | case.get("request", {})
    if "body_base64" in words:
        yield base64.b64decode(words["body_base64"])
        return
    for body in case.get("bodies", [words["body"]]):
        if isinstance(body, dict):
            depth = body["nested"]
            yield (body["in"] % ("[" * depth + "]" * depth)).encode()
        else:
            yield body.encode()


def reply_of(case: Case) -> Words:
    """What the provider says; OTHER stands for a server that nobody may reach."""
    reply = dict(case.get("reply", TABLE["default_reply"]))
    if "headers" in reply:
        reply["headers"] = {
            name: value.replace("OTHER", OTHER) for name, value in reply["headers"].items()
        }
    return reply
