"""What a hijacked worker tells as a record: it can be stored, shown and searched, or `BadInput`."""

import json

from netmgr.errors import BadInput
from netmgr.journal import _full
from netmgr.journal.filter import Filter, target_of
from netmgr.journal.repeats import Repeats
from netmgr.journal.wire import MAX_RECORD, parse_record

WORDS = (
    b'"destination":{"name":"a.test","port":443}',
    b'"process":{"ancestors":[{"exe":"/a","pid":1}]}',
    b'"inference":{"attempts":[{}]}',
    b'"http":{"method":"GET"}',
    b'"count":',
    b'"time":',
    b"1e400",
    b"9" * 40,
    b"9" * 400,
    b"\\ud800",
    b"null",
    b"[[[[",
    b'{"a":',
)


def fuzz(data: bytes) -> None:
    """From the frame's bytes to the journal's row."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return  # the channel's business
    if not isinstance(body, dict):
        return
    try:
        record = parse_record(body)
    except BadInput as problem:
        problem.message[:MAX_RECORD].encode()  # it is logged
        return
    repeats = Repeats(10.0)
    repeats.add(record, 0.0)
    for number, each in enumerate((record, *repeats.rest())):
        row = _full(number, each)
        json.dumps(row, allow_nan=False)
        json.dumps(row, ensure_ascii=False).encode()
        target_of(row).encode()
        Filter(name="*a*").matches(row, float(each["time"]))
