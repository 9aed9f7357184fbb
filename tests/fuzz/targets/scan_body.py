"""A body that detectors look at: nothing escapes, JSON stays JSON, and what was taken out is not
found again."""

import json

from netmgr.middleware.catalogue import detection_of
from netmgr.middleware.chain import Stage
from netmgr.middleware.contract import Action, Status
from netmgr.middleware.request import Phase, StageRequest
from netmgr_proxy.scan.built_in import kind_of, run_built_in
from netmgr_proxy.scan.finder import finder_of

WORDS = (
    b"AKIAIOSFODNN7EXAMPLE",
    b"4111 1111 1111 1111",
    b"me@mail.example",
    b"+41 44 668 18 00",
    b"GB33BUKB20201555555555",
    b"sk-ant-api03-",
    b"://u:p@",
    b"-----BEGIN RSA PRIVATE KEY-----",
    b"-----END RSA PRIVATE KEY-----",
    b"eyJhbGciOiJIUzI1NiJ9.",
    b"\\u0041",
    b"\\n",
    b'\\"',
    b'{"a":"',
    b'","',
    b'"}',
)
STAGE = Stage("k", "k", "netmgr/redact")
DETECTION = detection_of(STAGE)
assert DETECTION is not None
FINDER = finder_of(DETECTION)


def fuzz(data: bytes) -> None:
    """See above."""
    for media in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        headers = (("content-type", media),)
        request = StageRequest(Phase.HTTP, "s", None, {}, "h", 1, "POST", "/", headers, data)
        result = run_built_in(STAGE, request)
        assert result.status in (Status.OK, Status.FAILED)
        if result.body is None:
            assert result.decision is not Action.TRANSFORM
            continue
        # Read as it was before: a mark at the beginning of a text looks like JSON.
        assert not FINDER.look(result.body, kind_of(request)).counts
        if _is_json(data):
            assert _is_json(result.body)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
