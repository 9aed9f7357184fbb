"""A line of an operator's program: an answer within every bound of the contract, or `BadInput`."""

from netmgr.errors import BadInput
from netmgr.middleware.bounds import MAX_FINDINGS, MAX_METADATA, MAX_MUTATIONS
from netmgr.middleware.contract import WRITABLE, parse_result
from netmgr.middleware.wire import parse_line

WORDS = (
    b'{"id":1,',
    b'"decision":"allow"',
    b'"decision":"transform"',
    b'"body":"Y2xlYW4="',
    b'"headers":[{"write":"x-openshell-middleware-a","value":"1"}]',
    b'{"remove":"x"}',
    b'"findings":[{"type":"a","label":"b","count":2}]',
    b'"metadata":{"a":"b"}',
    b'"reason_code":"a_b"',
    b"}",
)


def fuzz(data: bytes) -> None:
    """See above."""
    try:
        _, doc, body = parse_line(data)
        result = parse_result(doc, "stage", "x/y", body)
    except BadInput:
        return
    assert len(result.findings) <= MAX_FINDINGS
    assert len(result.headers) <= MAX_MUTATIONS
    assert len(result.metadata) <= MAX_METADATA
    for change in result.headers:
        assert change.value is None or change.name.startswith(WRITABLE)
        assert "\r" not in f"{change.name}{change.value}"
        assert "\n" not in f"{change.name}{change.value}"
    assert parse_result(result.to_doc(), "stage", "x/y", body) == result
