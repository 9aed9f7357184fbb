"""Owns: what calls over one route may be: which models a sandbox may name, what the provider may do
on its behalf, how long its streams may be silent.

Everything is refused that is not named here. Knows nothing of requests (netmgr_proxy.inference).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean

MAX_NAMES: Final = 256  # of any list here
MAX_NAME: Final = 256  # characters of one entry
MAX_SECONDS: Final = 86400.0  # a day: more is no deadline
MIN_HEARTBEAT_S: Final = 1.0  # a comment more often than this costs more than it keeps alive
_TOOL: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
# A host, all hosts below one, or the same with a scheme (https is meant where none is said).
_HOST: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?"
)


class ModelMode(StrEnum):
    """What becomes of the model that a request names.

    OVERRIDE replaces it with the route's, REJECT refuses any but the route's, PASSTHROUGH sends it
    on, or where `models` names some, only those.
    """

    OVERRIDE = "override"
    REJECT = "reject"
    PASSTHROUGH = "passthrough"


@dataclass(frozen=True, slots=True)
class CallRules:
    """The rules of one route. The defaults allow the least.

    Attributes:
        models: what may be named with PASSTHROUGH; empty means any.
        server_tools: tools that the provider may execute, by family ("web_search") or whole type.
        stored_objects: ids at the provider (vector stores, files) that every sandbox may name.
        remote_urls: hosts that the provider may fetch from when a request names a URL:
            `host`, `*.host`, or either with `scheme://` before it.
        connect_timeout_s: until the connection stands; None means the provider's own.
        first_byte_timeout_s: until the answer begins; None means the provider's own.
        idle_timeout_s: between two chunks of a stream; None means the provider's own.
        heartbeat_s: an SSE comment after so much silence in a stream; None is never.
        plain_http: whether http://inference.local is served too.
    """

    model_mode: ModelMode = ModelMode.OVERRIDE
    models: tuple[str, ...] = ()
    server_tools: tuple[str, ...] = ()
    remote_urls: tuple[str, ...] = ()
    stored_objects: tuple[str, ...] = ()
    connect_timeout_s: float | None = None
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    heartbeat_s: float | None = None
    plain_http: bool = False

    def to_doc(self) -> dict[str, Any]:
        """As it is stored and sent: JSON, without what is at its default."""
        doc: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(self, part.name)
            if value != part.default:
                doc[part.name] = list(value) if isinstance(value, tuple) else value
        return doc

    def to_shown(self) -> dict[str, Any]:
        """The same with every key."""
        shown = {part.name: getattr(self, part.name) for part in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in shown.items()}

    def is_within(self, others: "CallRules") -> bool:
        """Whether a provider may do nothing under these rules that it may not under the others."""
        return (
            set(self.server_tools) <= set(others.server_tools)
            and set(self.remote_urls) <= set(others.remote_urls)
            and set(self.stored_objects) <= set(others.stored_objects)
        )

    def changed(self, changes: Mapping[str, Any]) -> "CallRules":
        """These rules with single ones replaced. A list of models goes with its mode.

        Raises:
            BadInput: as `from_doc`.
        """
        doc = self.to_doc()
        if changes.get("model_mode", ModelMode.PASSTHROUGH) != ModelMode.PASSTHROUGH:
            doc.pop("models", None)
        return self.from_doc(doc | dict(changes))

    @classmethod
    def from_doc(cls, doc: Mapping[str, Any]) -> "CallRules":
        """The rules that `to_doc`, or an operator, described. A 0 of seconds is None.

        Raises:
            BadInput: names the key and what was expected.
        """
        known = [part.name for part in fields(cls)]
        for key in doc:
            if key not in known:
                raise BadInput(f"inference rule {key!r} is unknown{did_you_mean(key, known)}")
        mode = _mode(doc.get("model_mode", ModelMode.OVERRIDE))
        models = _names("models", doc.get("models", ()), None)
        if models and mode is not ModelMode.PASSTHROUGH:
            raise BadInput(
                f"models: a list of models that may be named goes with model mode "
                f"{ModelMode.PASSTHROUGH}, not {mode}"
            )
        heartbeat = _seconds("heartbeat_s", doc.get("heartbeat_s"))
        if heartbeat is not None and heartbeat < MIN_HEARTBEAT_S:
            raise BadInput(f"heartbeat_s: expected at least {MIN_HEARTBEAT_S:g} seconds, or 0")
        return cls(
            model_mode=mode,
            models=models,
            server_tools=_names("server_tools", doc.get("server_tools", ()), _TOOL),
            remote_urls=_names("remote_urls", doc.get("remote_urls", ()), _HOST),
            stored_objects=_names("stored_objects", doc.get("stored_objects", ()), None),
            connect_timeout_s=_seconds("connect_timeout_s", doc.get("connect_timeout_s")),
            first_byte_timeout_s=_seconds("first_byte_timeout_s", doc.get("first_byte_timeout_s")),
            idle_timeout_s=_seconds("idle_timeout_s", doc.get("idle_timeout_s")),
            heartbeat_s=heartbeat,
            plain_http=_switch("plain_http", doc.get("plain_http", False)),
        )


LEAST: Final = CallRules()


def _mode(value: object) -> ModelMode:
    try:
        return ModelMode(value)  # type: ignore[arg-type]  # anything else is the error below
    except ValueError:
        known = [mode.value for mode in ModelMode]
        raise BadInput(
            f"model_mode {value!r}: expected one of {', '.join(known)}"
            + did_you_mean(str(value), known)
        ) from None


def _names(key: str, value: object, form: re.Pattern[str] | None) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > MAX_NAMES:
        raise BadInput(f"{key}: expected a list of at most {MAX_NAMES} names")
    for name in value:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise BadInput(f"{key}: {name!r}: expected 1 to {MAX_NAME} printable characters")
        if form is not None and not form.fullmatch(name):
            wanted = "a host like files.example.com" if form is _HOST else "a tool like web_search"
            raise BadInput(f"{key}: {name!r}: expected {wanted}, in lower case")
    return tuple(dict.fromkeys(value))


def _seconds(key: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInput(f"{key}: expected seconds, not {value!r}")
    if not 0 <= value <= MAX_SECONDS:  # a NaN fails both comparisons
        raise BadInput(f"{key}: expected 0 to {MAX_SECONDS:.0f} seconds, not {value!r}")
    return float(value) or None


def _switch(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"{key}: expected true or false, not {value!r}")
    return value
