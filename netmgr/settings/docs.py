"""Owns: docs/config.md, printed from the settings. Knows nothing of any single key.

python -m netmgr.settings.docs > docs/config.md
"""

from dataclasses import fields
from itertools import groupby
from typing import Any, Final

from netmgr.settings.table import Settings, settings_keys
from netmgr.settings.values import Direction, Key

_HEAD: Final = """\
# Configuration

`/etc/netmgr/netmgr.yaml`, or the file that `--config` or `NETMGR_CONFIG` names. Every key is
optional; the file is flat. An unknown key, a value of the wrong kind and a number beyond its bounds
are errors that name file, line and key, and nothing starts or changes.

```yaml
sandbox_pool: 10.200.0.0/16
dns_servers: [9.9.9.9, "192.0.2.53:5353"]
inference_body_bytes: 10485760
```

*May go* says which way a number may be moved from its default, and how far. Keys marked *live* are
taken up on SIGHUP; the others need a restart. `--instance`, `--state-dir` and `--run-dir` of
`netmgr daemon` go before the file.

This page is printed by `python -m netmgr.settings.docs`; edit `netmgr/settings/table.py` instead.
"""


def render_docs() -> str:
    """The whole page."""
    defaults = {f.name: f.default for f in fields(Settings)}
    parts = [_HEAD]
    entries = settings_keys().items()
    for section, group in groupby(entries, key=lambda entry: entry[1].section):
        parts.append(f"\n## {section}\n\n| key | default | may go | live | what |\n")
        parts.append("|---|---|---|---|---|\n")
        parts += [_row(name, key, defaults[name]) for name, key in group]
    return "".join(parts)


def _row(name: str, key: Key, default: Any) -> str:
    live = "yes" if key.live else ""
    return f"| `{name}` | {_default(key, default)} | {_span(key, default)} | {live} | {key.doc} |\n"


def _default(key: Key, default: Any) -> str:
    if key.shown is not None:
        return key.shown
    if isinstance(default, tuple):
        return f"`[{', '.join(map(str, default))}]`"
    number = isinstance(default, int | float)
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"`{shown}` {key.unit}".rstrip() if number else f"`{shown}`"


def _span(key: Key, default: Any) -> str:
    direction = key.direction(default)
    if direction is Direction.NONE:
        return ""
    assert key.least is not None
    assert key.most is not None
    down, up = f"down to {_plain(key.least)}", f"up to {_plain(key.most)}"
    return {Direction.DOWN: down, Direction.UP: up}.get(direction, f"{down}, {up}")


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


if __name__ == "__main__":
    print(render_docs(), end="")
