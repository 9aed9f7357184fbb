"""A container's configuration: refused with words, or judged, edited and given back unchanged."""

import json
from contextlib import suppress

from netmgr_cli.shim.oci.container import parse_object, root_of
from netmgr_cli.shim.oci.edit import Change, edit, unedited
from netmgr_cli.shim.oci.judge import POWERS, shape_of
from netmgr_cli.shim.oci.shape import require_plain
from netmgr_cli.shim.oci.words import Refused, Words, wish_of

WORDS = (
    *(b'"process"', b'"capabilities"', b'"effective"', b'"CAP_NET_ADMIN"', b'"linux"', b"null"),
    *(b'"namespaces"', b'"type"', b'"network"', b'"user"', b'"path"', b'"annotations"'),
    *(b'"netmgr.policy"', b'"mounts"', b'"destination"', b'"hooks"', b'"poststop"'),
)


def fuzz(data: bytes) -> None:
    """One config.json."""
    with suppress(Refused):
        config = parse_object(data, "config.json")
        require_plain(config)
        config = unedited(config)
        shape = shape_of(config)
        held = json.dumps((config.get("process") or {}).get("capabilities") or {})
        assert shape.own_users or not any(f'"{power}"' in _held(held) for power in POWERS)
        wish = wish_of(Words(), config.get("annotations"))
        assert (wish.policy, wish.tenant, wish.labels) in ((None, None, {}), ("default", None, {}))
        with suppress(Refused):
            root_of(config, "/bundle")
        change = Change()
        change.env, change.netns, change.closes_vsock = {"A": "b"}, "/run/netns/x", True
        change.hooks = {"poststop": ["python3", "-m", "netmgr_cli.shim.oci.hook"]}
        edited = edit(config, change)
        assert edit(unedited(edited), change) == edited


def _held(text: str) -> str:
    """Without what counts only where setuid programs may raise it."""
    sets = json.loads(text)
    return json.dumps([sets.get(name) for name in ("effective", "permitted", "ambient")])
