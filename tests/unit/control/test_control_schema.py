"""Bodies that no program of ours sends: refused with a face, never a fault of the daemon."""

import pytest
from pydantic import ValidationError

from netmgr.control import schema


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (schema.Attach, {"netns": "/run/\0x"}),
        (schema.Attach, {"netns": ""}),
        (schema.RollBack, {"revision": 10**30}),
        (schema.RollBack, {"revision": -1}),
        (schema.UpdatePolicy, {"operations": [{}], "if_revision": 10**30}),
        (schema.RecordQuery, {"after": 10**30}),
        (schema.RecordQuery, {"since": float("nan")}),
        (schema.RecordQuery, {"since": float("inf")}),
        (schema.SetInference, {"provider": "p", "model": "m", "timeout_s": float("inf")}),
        (schema.UpdateInference, {"total_timeout_s": float("nan")}),
        (schema.CreateSandbox, {"name": "a", "tenant": "\ud800"}),
    ],
)
def test_it_is_refused(kind: type[schema.Body], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        kind(**fields)
