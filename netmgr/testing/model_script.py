"""Owns: the script of a model server: which request gets which reply. Strict keys; no I/O.

A script is JSON, a list of rules; the first that matches and is not used up answers:

    [{"path": "/chat/completions", "method": "POST", "times": 1, "reply": {"status": 429}}]

`path` is the end of the request's path; `contains` and `lacks` are texts that its body must have
and must not have. Without a rule the model answers as in model_answers.

Keys of a reply: status, headers; the body as one of json, text, base64 or events (a list of
strings sent as they are and of objects sent as `data:` events, or a number of chat chunks), or
frames (a list of [event type, object]: Amazon's event stream);
raw (a text or a list of texts: the whole answer, its head too, byte for byte; the connection
closes well behind it, unless it is cut);
gzip (code the body); delay_s (before the head), gap_s (before each event but the first), repeat
(the events for ever); cut_after and stall_after (so many bytes of the body, then the connection
closes, or falls silent); drop (the connection closes instead of an answer).
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.testing import event_frames
from netmgr.testing.model_answers import chat_events, render_event

MAX_CHUNKS: Final = 100_000  # of a stream that is given by its length; `repeat` has no end

_BODIES: Final = ("json", "text", "base64", "events", "frames", "raw")
_RULE_KEYS: Final = ("method", "path", "contains", "lacks", "times", "reply")
_TEXT_KEYS: Final = ("method", "path", "contains", "lacks")
_REPLY_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "status": (int,),
    "headers": (dict,),
    "json": (dict, list, str, int, float, bool, type(None)),
    "text": (str,),
    "base64": (str,),
    "events": (list, int),
    "frames": (list,),
    "raw": (str, list),
    "gzip": (bool,),
    "delay_s": (int, float),
    "gap_s": (int, float),
    "repeat": (bool,),
    "cut_after": (int,),
    "stall_after": (int,),
    "drop": (bool,),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request gets. `pieces` is the body as it is written, with gaps between."""

    status: int
    headers: tuple[tuple[str, str], ...]
    pieces: tuple[bytes, ...]
    streaming: bool
    delay_s: float = 0.0
    gap_s: float = 0.0
    repeat: bool = False
    cut_after: int | None = None
    stall_after: int | None = None
    drop: bool = False
    raw: bool = False

    @property
    def limit(self) -> int | None:
        """Bytes of the body after which it breaks off."""
        return self.cut_after if self.cut_after is not None else self.stall_after

    def body(self) -> Iterator[bytes]:
        """The pieces to write, up to where the body breaks off."""
        left = self.limit
        while True:
            for piece in self.pieces:
                part = piece if left is None else piece[:left]
                if part:
                    yield part
                if left is not None:
                    left -= len(part)
                    if left <= 0:
                        return
            if not self.repeat or not self.pieces:
                return


@dataclass(slots=True)
class Rule:
    """One line of a script; `left` counts down to 0, None is for ever."""

    reply: Reply
    method: str | None = None
    path: str = ""
    left: int | None = None
    contains: str = ""
    lacks: str | None = None

    def fits(self, method: str, path: str, body: bytes) -> bool:
        """Whether it is for this request, and not used up."""
        if self.left == 0 or self.method not in (None, method) or not path.endswith(self.path):
            return False
        return _encoded(self.contains) in body and (
            self.lacks is None or _encoded(self.lacks) not in body
        )


@dataclass(slots=True)
class Script:
    """Rules in their order."""

    rules: list[Rule] = field(default_factory=list)

    def choose(self, method: str, path: str, body: bytes = b"") -> Reply | None:
        """The reply of the first rule that matches; it counts as used."""
        for rule in self.rules:
            if rule.fits(method, path, body):
                if rule.left is not None:
                    rule.left -= 1
                return rule.reply
        return None


def parse_script(document: object) -> Script:
    """A script from its JSON document.

    Raises:
        BadInput: unknown or ill-typed key; the message names rule and key.
    """
    if not isinstance(document, list):
        raise BadInput("script: expected a list of rules")
    return Script([_parse_rule(rule, f"rule {n}") for n, rule in enumerate(document, 1)])


def _parse_rule(rule: object, where: str) -> Rule:
    if not isinstance(rule, dict):
        raise BadInput(f"{where}: expected an object")
    _check_keys(rule, _RULE_KEYS, where)
    for key, kind in (*((key, str) for key in _TEXT_KEYS), ("times", int)):
        if key in rule and not _fits(rule[key], (kind,)):
            raise BadInput(f"{where}: {key}: expected {kind.__name__}")
    if not isinstance(rule.get("reply"), dict):
        raise BadInput(f"{where}: reply: expected an object")
    return Rule(
        reply=parse_reply(rule["reply"], where),
        method=rule.get("method"),
        path=rule.get("path", ""),
        left=rule.get("times"),
        contains=rule.get("contains", ""),
        lacks=rule.get("lacks"),
    )


def parse_reply(reply: dict[str, Any], where: str) -> Reply:
    """A reply from its JSON object.

    Raises:
        BadInput: unknown or ill-typed key, or more than one body.
    """
    _check_keys(reply, _REPLY_TYPES, where)
    for key, value in reply.items():
        if not _fits(value, _REPLY_TYPES[key]):
            expected = " or ".join(t.__name__ for t in _REPLY_TYPES[key])
            raise BadInput(f"{where}: reply.{key}: expected {expected}")
    for key in ("cut_after", "stall_after", "delay_s", "gap_s"):
        if reply.get(key, 0) < 0:
            raise BadInput(f"{where}: reply.{key}: expected 0 or more")
    if sum(key in reply for key in _BODIES) > 1:
        raise BadInput(f"{where}: reply: expected one of {', '.join(_BODIES)}")
    kind, pieces = _body_of(reply, where)
    headers = {"content-type": kind} if kind else {}
    if reply.get("gzip"):
        pieces = (gzip.compress(b"".join(pieces), mtime=0),)
        headers["content-encoding"] = "gzip"
    headers |= {str(k).lower(): str(v) for k, v in reply.get("headers", {}).items()}
    return Reply(
        status=reply.get("status", 200),
        headers=tuple(headers.items()),
        pieces=pieces,
        streaming="events" in reply or "frames" in reply,
        delay_s=reply.get("delay_s", 0.0),
        gap_s=reply.get("gap_s", 0.0),
        repeat=reply.get("repeat", False),
        cut_after=reply.get("cut_after"),
        stall_after=reply.get("stall_after"),
        drop=reply.get("drop", False),
        raw="raw" in reply,
    )


def _body_of(reply: dict[str, Any], where: str) -> tuple[str, tuple[bytes, ...]]:
    """Content type and pieces."""
    if "events" in reply:
        events = reply["events"]
        if isinstance(events, int):
            if not 0 <= events <= MAX_CHUNKS:
                raise BadInput(f"{where}: reply.events: expected 0 to {MAX_CHUNKS} chunks")
            texts = chat_events(events)
        else:
            texts = [_event(event) for event in events]
        return "text/event-stream", tuple(_encoded(text) for text in texts)
    if "frames" in reply:
        return event_frames.CONTENT_TYPE, tuple(_frame(frame, where) for frame in reply["frames"])
    if "raw" in reply:
        return "", tuple(_raw(reply["raw"], where))
    if "text" in reply:
        return "text/plain; charset=utf-8", (_encoded(reply["text"]),)
    if "base64" in reply:
        try:
            return "application/octet-stream", (base64.b64decode(reply["base64"], validate=True),)
        except ValueError as error:
            raise BadInput(f"{where}: reply.base64: {error}") from None
    if "json" in reply:
        return "application/json", (json.dumps(reply["json"], separators=(",", ":")).encode(),)
    return "", ()


def _raw(given: str | list[object], where: str) -> Iterator[bytes]:
    for piece in [given] if isinstance(given, str) else given:
        try:
            if isinstance(piece, str):
                yield piece.encode("latin-1")
                continue
        except UnicodeEncodeError:
            pass
        raise BadInput(f"{where}: reply.raw: expected texts of Latin-1: a character is a byte")


def _frame(frame: object, where: str) -> bytes:
    match frame:
        case [str(kind), dict(payload)]:
            return event_frames.event_frame(kind, payload)
        case _:
            raise BadInput(f"{where}: reply.frames: expected a list of [event type, object]")


def _encoded(text: str) -> bytes:
    # Half a surrogate pair is what a broken provider may well send.
    return text.encode("utf-8", "surrogatepass")


def _event(event: object) -> str:
    if isinstance(event, str):
        return event
    return render_event((None, json.dumps(event, separators=(",", ":"))))


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    """isinstance, but true and false are no numbers."""
    return type(value) in kinds


def _check_keys(found: dict[str, Any], known: Any, where: str) -> None:
    for key in found:
        if key not in known:
            raise BadInput(
                f"{where}: unknown key {key!r}; expected one of {', '.join(known)}"
                + did_you_mean(str(key), known)
            )
