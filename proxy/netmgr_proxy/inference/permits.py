"""Owns: whether a route allows what a request asks: the model that it names, what the provider
would choose in the route's place, tools that it runs, URLs that it fetches.

Knows nothing of bytes: the body's findings come from steering and way_out. Stored objects are
judged elsewhere, since whose they are is known to the daemon.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from netmgr.inference.protocols import Shape
from netmgr.inference.route import InferenceRoute
from netmgr.inference.rules import CallRules, ModelMode
from netmgr.reasons import Reason
from netmgr_proxy.inference.errors import Refusal
from netmgr_proxy.inference.steering import MODEL, PLACE
from netmgr_proxy.inference.way_out import Findings

COMMAND: Final = "netmgr inference update"
_OPTIONS: Final = {
    "server_tools": "--server-tool",
    "remote_urls": "--remote-url-host",
    "stored_objects": "--stored-object",
}
MAX_SHOWN: Final = 80  # characters of what a client wrote, in a message
_CHOSEN: Final = {MODEL: "another model", PLACE: "who answers, or with whose key"}
# Only what every parser of URLs reads in one way: no userinfo, no backslash, no control, no escape
# in the host. All else is refused, whatever the list of hosts says.
_URL: Final = re.compile(
    r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<host>[a-zA-Z0-9_](?:[a-zA-Z0-9._-]*))"
    r"(?P<port>:[0-9]{1,5})?(?:[/?#][\x21-\x5b\x5d-\x7e]*)?"
)


def choose_model(
    requested: str | None, given: bool, route: InferenceRoute, shape: Shape
) -> str | Refusal:
    """The model that a call goes to.

    Args:
        requested: what the client named; None where that is no text.
        given: whether it named any.
    """
    rules = route.rules
    if requested is not None and requested in route.aliases:
        return route.aliases[requested]
    if rules.model_mode is ModelMode.OVERRIDE or not given or requested == route.model:
        return route.model
    if requested is None:
        why = "the request's model is no text"
        return Refusal(400, Reason.MALFORMED_REQUEST, why, close=False, shape=shape)
    if rules.model_mode is ModelMode.PASSTHROUGH and requested in (rules.models or (requested,)):
        return requested
    known = [route.model, *route.aliases, *rules.models]
    why = f"model {requested[:MAX_SHOWN]!r} is not allowed here; allowed are {', '.join(known)}"
    remedy = f"{COMMAND} --model-mode passthrough --allow-model MODEL"
    return Refusal(403, Reason.NO_PERMITTED_ENDPOINT, why, remedy, close=False, shape=shape)


def judge_choices(
    found: Mapping[str, str], rules: CallRules, shape: Shape, endpoint: str = ""
) -> Refusal | None:
    """Why the provider may not choose in the route's place; None where it may.

    Args:
        found: kind of choice -> the key that makes it.
        endpoint: that the route is of, in the routing file; '': `inference set` wrote the route.
    """
    for kind, key in found.items():
        if kind not in rules.server_tools:
            why = f"{key[:MAX_SHOWN]!r} of this request lets the provider choose {_CHOSEN[kind]}"
            remedy = remedy_of("server_tools", (*rules.server_tools, kind), endpoint)
            reason = Reason.NO_PERMITTED_ENDPOINT
            return Refusal(403, reason, why, remedy, close=False, shape=shape)
    return None


def judge_way_out(
    found: Findings, rules: CallRules, shape: Shape, endpoint: str = ""
) -> Refusal | None:
    """Why the provider may not do all that; None where it may. `endpoint` as in judge_choices."""
    reason = Reason.TOOL_NOT_ALLOWED
    for family, whole in found.tools.items():
        if family not in rules.server_tools and whole not in rules.server_tools:
            why = f"the provider itself would run the tool {whole or family!r} of this request"
            remedy = remedy_of("server_tools", (*rules.server_tools, family), endpoint)
            return Refusal(403, reason, why, remedy, close=False, shape=shape)
    for url in found.urls:
        parts = _URL.fullmatch(url)
        if parts is None or not _allowed(parts, rules.remote_urls):
            shown = f"{parts['scheme']}://{parts['host']}" if parts else url
            why = f"the provider itself would fetch {shown[:MAX_SHOWN]!r} for this request"
            host = _entry_for(parts) if parts else "HOST"
            remedy = remedy_of("remote_urls", (*rules.remote_urls, host), endpoint)
            return Refusal(403, reason, why, remedy, close=False, shape=shape)
    return None


def remedy_of(key: str, allowed: Sequence[str], endpoint: str) -> str:
    """What the operator does so that a rule of calls allows these words.

    Args:
        key: of netmgr.inference.rules.CallRules.
        endpoint: as in `judge_choices`.
    """
    if endpoint:
        words = ", ".join(allowed)
        return f"{key}: [{words}] of endpoint {endpoint} in the routing file, then netmgr route set"
    return " ".join((COMMAND, *(f"{_OPTIONS[key]} {word}" for word in allowed)))


def _entry_for(url: re.Match[str]) -> str:
    """What in a list of hosts would allow it."""
    scheme = url["scheme"].lower()
    host = url["host"].lower().removesuffix(".") + (url["port"] or "")
    return host if scheme == "https" else f"{scheme}://{host}"


def _allowed(url: re.Match[str], hosts: tuple[str, ...]) -> bool:
    scheme = url["scheme"].lower()
    host = url["host"].lower().removesuffix(".")
    for entry in hosts:
        wanted_scheme, marker, wanted = entry.rpartition("://")
        if scheme != (wanted_scheme if marker else "https"):
            continue
        name, _, port = wanted.partition(":")
        if (url["port"] or "") != (f":{port}" if port else ""):
            continue
        if host == name or (name.startswith("*.") and host.endswith(name[1:])):
            return True
    return False
