"""A client's WebSocket frames: no cut matters, no byte is lost, and wsproto reads the same.

What is sent on are the bytes themselves, so a server that reads them as wsproto does sees just what
we judged.
"""

from wsproto.frame_protocol import FrameProtocol, ParseFailed
from wsproto.frame_protocol import Opcode as Theirs

from fuzz.cuts import bytewise, uneven
from netmgr_proxy.wire.frames import BadFrame, Begin, Control, FrameReader, Opcode, Piece

MASK = b"\x01\x02\x03\x04"
WORDS = (
    b"\x81\x83" + MASK,
    b"\x01\x81" + MASK,
    b"\x80\x81" + MASK,
    b"\x82\xfe\x00\x80" + MASK,
    b"\x89\x80" + MASK,
    b"\x8a\x82" + MASK,
    b"\x88\x82" + MASK + b"\x02\xea",
    b"\x88\x80" + MASK,
    b"\xc1\x80" + MASK,
    b"\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00" + MASK,
    b"\xc2\xab",
)
Said = list[tuple[str, bytes]]


def fuzz(data: bytes) -> None:
    """Byte by byte equals all at once; messages and control frames are wsproto's."""
    said, sent, broke = _read([data])
    assert data.startswith(sent)
    for pieces in (bytewise(data), uneven(data)):
        cut, cut_sent, cut_broke = _read(pieces)
        assert (cut_broke is None) == (broke is None)
        assert cut == said
        # What is broken may be known before its frame is whole: then less of it has gone on.
        assert cut_sent == sent or broke is not None
    theirs, failed = _as_wsproto_reads(data)
    # They may know of a fault that stands in a frame which has not come whole, or is beyond ours.
    assert said[: len(theirs)] == theirs[: len(said)]
    if not failed and broke is None:
        assert said == theirs


def _read(pieces: list[bytes]) -> tuple[Said, bytes, BadFrame | None]:
    """Whole messages and control frames, every byte that was handed out, and what broke it."""
    reader, said, sent = FrameReader(), [], b""
    kind, payload = "", b""
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                match event:
                    case Begin(text=text):
                        kind, payload = ("text" if text else "binary"), b""
                    case Piece(raw=raw, payload=part, last=last):
                        sent, payload = sent + raw, payload + part
                        if last:
                            said.append((kind, payload))
                    case Control(opcode=opcode, raw=raw):
                        sent += raw
                        said.append((opcode.name.lower(), b""))
    except BadFrame as fault:
        return said, sent, fault
    return said, sent, None


def _as_wsproto_reads(data: bytes) -> tuple[Said, bool]:
    protocol, said = FrameProtocol(client=False, extensions=[]), []
    kind, payload = "", b""
    try:
        protocol.receive_bytes(data)
        for frame in protocol.received_frames():
            if frame.opcode in (Theirs.TEXT, Theirs.BINARY):
                kind = "text" if frame.opcode is Theirs.TEXT else "binary"
                part = frame.payload
                payload += part.encode() if isinstance(part, str) else bytes(part)
                if frame.frame_finished and frame.message_finished:
                    said.append((kind, payload))
                    kind, payload = "", b""
            else:
                said.append((Opcode(frame.opcode).name.lower(), b""))
    except ParseFailed:
        return said, True
    return said, False
