"""Owns: a policy document as YAML text, for people to read and to edit.

Knows nothing of what it means. What this writes, tree.py reads back to the same values.
"""

from typing import Any, Final

import yaml

_WIDTH: Final = 100
_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def render_yaml(doc: dict[str, Any]) -> str:
    """The document as YAML, keys in their order."""
    text: str = yaml.dump(
        doc,
        Dumper=_DUMPER,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=_WIDTH,
    )
    return text
