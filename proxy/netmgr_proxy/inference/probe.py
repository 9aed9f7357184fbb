"""Owns: the verification of a route: which requests try it, in which order, and what answers mean.

Knows nothing of sending. The caller asks for the step, sends it exactly as it would send a
sandbox's request, and tells the outcome; then there is another step, a success or a failure.
"""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from netmgr.inference.profiles import provider_type
from netmgr.inference.protocols import Protocol
from netmgr.inference.route import InferenceRoute
from netmgr.reasons import Reason
from netmgr_proxy.inference.rewrite import pin_model
from netmgr_proxy.inference.url import join

MAX_PROBE_ANSWER: Final = 1024 * 1024  # bytes; an embedding of 4,096 numbers has about 90 KiB
MAX_EXCERPT: Final = 200  # characters of a provider's answer in a message
PROBE_TOKENS: Final = 32  # some models refuse smaller budgets

_PING: Final = [{"role": "user", "content": "ping"}]
_PROBES: Final[dict[Protocol, tuple[str, dict[str, Any]]]] = {
    Protocol.CHAT: (
        "/v1/chat/completions",
        {"messages": _PING, "max_completion_tokens": PROBE_TOKENS},
    ),
    Protocol.MESSAGES: ("/v1/messages", {"messages": _PING, "max_tokens": PROBE_TOKENS}),
    Protocol.RESPONSES: ("/v1/responses", {"input": "ping", "max_output_tokens": PROBE_TOKENS}),
    Protocol.COMPLETIONS: ("/v1/completions", {"prompt": "ping", "max_tokens": PROBE_TOKENS}),
    Protocol.EMBEDDINGS: ("/v1/embeddings", {"input": "ping"}),
}
_OLD_CHAT: Final[dict[str, Any]] = {"messages": _PING, "max_tokens": PROBE_TOKENS}

# Providers that answer a wrong key with 400, 404 or 422 say it in one of these ways.
_ABOUT_THE_KEY: Final = re.compile(
    r"(?:invalid|incorrect|missing)[_ ]api[_ ]key|invalid_authentication|authentication_error"
    r"|authentication failed|unauthorized|permission[_ ]denied",
    re.IGNORECASE,
)


class Failure(StrEnum):
    """What kind of thing is wrong, by who can mend it."""

    CREDENTIALS = "credentials"
    REQUEST_SHAPE = "request_shape"
    RATE_LIMITED = "rate_limited"
    UPSTREAM_HEALTH = "upstream_health"
    CONNECTIVITY = "connectivity"
    NOT_AN_API = "not_an_api"
    UNEXPECTED = "unexpected"


_NEXT_STEP: Final = {
    Failure.CREDENTIALS: "check the key: netmgr provider update {provider} --credential {key}",
    Failure.REQUEST_SHAPE: "check the model's name and the base URL's path",
    Failure.RATE_LIMITED: "try again later",
    Failure.UPSTREAM_HEALTH: "try again when the provider is well",
    Failure.CONNECTIVITY: "check that the base URL can be reached from this host",
    Failure.NOT_AN_API: "check the base URL: it does not lead to a model API (a login page?)",
    Failure.UNEXPECTED: "check the base URL",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One request to try.

    Attributes:
        path: as a sandbox would ask for it; joined with the base URL like any other.
        body: with the model in it.
    """

    protocol: Protocol
    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Verified:
    """The route answers. `url` and `protocol` are what `inference set` shows."""

    url: str
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class NotVerified:
    """The route does not answer as it should; `message` names what and the next step."""

    failure: Failure
    message: str


class Verification:
    """One run over one route. Begin with `step`; each outcome gives what comes next."""

    def __init__(self, route: InferenceRoute) -> None:
        self._route = route
        profile = provider_type(route.type)
        self._key = profile.credential_key
        self._coming = [p for p in _ORDER if p in profile.protocols]
        self._first_rejection: str | None = None
        self._retried = False
        self.step = self._step(self._coming.pop(0))

    def answered(
        self, status: int, content_type: str, body: bytes
    ) -> Step | Verified | NotVerified:
        """Tell the answer to `step`: its status, content type ('' for none) and first
        MAX_PROBE_ANSWER bytes. An answer that was longer is told as it was cut."""
        text = body[:MAX_PROBE_ANSWER].decode("utf-8", "replace")
        failure = _judge(status, content_type, text)
        if failure is None:
            url = self._route.base.origin + join(self._route.base, self.step.path)
            return Verified(url, self.step.protocol)
        excerpt = _excerpt(self._without_key(text))
        detail = f"HTTP {status}" + (f": {excerpt}" if excerpt else "")
        if failure is not Failure.REQUEST_SHAPE:
            return self._failed(failure, detail)
        return self._rejected(detail, text)

    def failed(self, reason: Reason, detail: str) -> NotVerified:
        """Tell that no answer came: refused, not resolved, TLS, timed out."""
        return self._failed(Failure.CONNECTIVITY, f"{reason.value}: {detail}")

    def _rejected(self, detail: str, text: str) -> Step | NotVerified:
        if (
            self.step.protocol is Protocol.CHAT
            and not self._retried
            and "max_completion_tokens" in text
        ):
            self._retried = True
            self.step = self._step(Protocol.CHAT, _OLD_CHAT)
            return self.step
        # The first is the one to report: later probes try what the model was not meant for.
        if self._first_rejection is None:
            self._first_rejection = detail
        if not self._coming:
            return self._failed(Failure.REQUEST_SHAPE, self._first_rejection)
        self.step = self._step(self._coming.pop(0))
        return self.step

    def _without_key(self, text: str) -> str:
        # Some servers repeat the key that they refuse; no message of ours does.
        credential = self._route.credential
        return text.replace(credential.reveal(), "[key]") if credential is not None else text

    def _step(self, protocol: Protocol, body: dict[str, Any] | None = None) -> Step:
        path, usual = _PROBES[protocol]
        text = json.dumps(body if body is not None else usual, separators=(",", ":")).encode()
        return Step(protocol, "POST", path, pin_model(text, self._route.model).joined())

    def _failed(self, failure: Failure, detail: str) -> NotVerified:
        route = self._route
        next_step = _NEXT_STEP[failure].format(provider=route.provider, key=self._key)
        return NotVerified(
            failure,
            f"provider {route.provider!r} with model {route.model!r} at {route.base} did not "
            f"pass verification ({failure.value}): {detail}; {next_step}, "
            "or save without verification: --no-verify",
        )


_ORDER: Final = (
    Protocol.CHAT,
    Protocol.MESSAGES,
    Protocol.RESPONSES,
    Protocol.COMPLETIONS,
    Protocol.EMBEDDINGS,
)


def _judge(status: int, content_type: str, text: str) -> Failure | None:
    """What is wrong with an answer; None where nothing is."""
    if 200 <= status < 300:
        return None if _is_api_answer(content_type, text) else Failure.NOT_AN_API
    if status in (401, 403):
        return Failure.CREDENTIALS
    if status in (400, 404, 405, 422):
        return Failure.CREDENTIALS if _ABOUT_THE_KEY.search(text) else Failure.REQUEST_SHAPE
    if status == 429:
        return Failure.RATE_LIMITED
    return Failure.UPSTREAM_HEALTH if status >= 500 else Failure.UNEXPECTED


def _is_api_answer(content_type: str, text: str) -> bool:
    """Whether a 2xx is a model API's: a JSON object that is no error.

    A captive portal or a web console answers 200 too, with a page.
    """
    if content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml"):
        return False
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and not answer.get("error")


def _excerpt(text: str) -> str:
    """The beginning of an answer on one line, without control characters."""
    line = " ".join(text[: MAX_EXCERPT * 4].split())
    return "".join(c for c in line if c.isprintable())[:MAX_EXCERPT]
