"""Owns: the verification of a route: which requests try it, in which order, and what answers mean.

Knows nothing of sending. The caller asks for the step, sends it exactly as it would send a
sandbox's request, and tells the outcome; then there is another step, a success or a failure.
"""

import json
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from netmgr.inference.protocols import Protocol
from netmgr.inference.route import InferenceRoute
from netmgr.reasons import Reason
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.outgoing import outgoing_body, outgoing_target

MAX_PROBE_ANSWER: Final = 1024 * 1024  # bytes; an embedding of 4,096 numbers has about 90 KiB
MAX_EXCERPT: Final = 200  # characters of a provider's answer in a message
PROBE_TOKENS: Final = 32  # some models refuse smaller budgets

_PING: Final = [{"role": "user", "content": "ping"}]


@dataclass(frozen=True, slots=True)
class Probe:
    """A request to try, as a sandbox would send it; the model comes in as in any other.

    Attributes:
        member: (key, type) of what every answer of this protocol has; None: any JSON object.
    """

    protocol: Protocol
    path: str
    body: dict[str, Any]
    member: tuple[str, type] | None = None


_CHAT: Final = Probe(
    Protocol.CHAT,
    "/v1/chat/completions",
    {"messages": _PING, "max_completion_tokens": PROBE_TOKENS},
    ("choices", list),
)
_OLD_CHAT: Final = replace(_CHAT, body={"messages": _PING, "max_tokens": PROBE_TOKENS})
_PROBES: Final = (
    _CHAT,
    Probe(
        Protocol.MESSAGES,
        "/v1/messages",
        {"messages": _PING, "max_tokens": PROBE_TOKENS},
        ("content", list),
    ),
    Probe(
        Protocol.RESPONSES,
        "/v1/responses",
        {"input": "ping", "max_output_tokens": PROBE_TOKENS},
        ("output", list),
    ),
    Probe(
        Protocol.COMPLETIONS,
        "/v1/completions",
        {"prompt": "ping", "max_tokens": PROBE_TOKENS},
        ("choices", list),
    ),
    Probe(Protocol.EMBEDDINGS, "/v1/embeddings", {"input": "ping"}, ("data", list)),
    Probe(
        Protocol.CONVERSE,
        "/model/probe/converse",
        {
            "messages": [{"role": "user", "content": [{"text": "ping"}]}],
            "inferenceConfig": {"maxTokens": PROBE_TOKENS},
        },
        ("output", dict),
    ),
    # What a body of InvokeModel looks like is each model's own: Anthropic's, then an embedding's.
    Probe(
        Protocol.INVOKE,
        "/model/probe/invoke",
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": PROBE_TOKENS,
            "messages": _PING,
        },
    ),
    Probe(Protocol.INVOKE, "/model/probe/invoke", {"inputText": "ping"}),
)
MAX_STEPS: Final = len(_PROBES) + 1  # chat may be tried in the old words too

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
_MORE_TIME: Final = ", or give a model that is being loaded more time: --timeout SECONDS"


@dataclass(frozen=True, slots=True)
class Step:
    """One request to try.

    Attributes:
        path: as a sandbox would ask for it.
        target: as the provider is asked.
        body: as the provider gets it.
    """

    protocol: Protocol
    method: str
    path: str
    target: str
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
        self._key = next(iter(route.dialect.auth.credentials), "KEY")
        spoken = route.dialect.protocols
        self._coming = [probe for probe in _PROBES if probe.protocol in spoken]
        self._first_rejection: str | None = None
        self._probe = self._coming.pop(0)
        self.step = self._step()

    def answered(
        self, status: int, content_type: str, body: bytes
    ) -> Step | Verified | NotVerified:
        """Tell the answer to `step`: its status, content type ('' for none) and first
        MAX_PROBE_ANSWER bytes. An answer that was longer is told as it was cut."""
        text = body[:MAX_PROBE_ANSWER].decode("utf-8", "replace")
        failure = _judge(status, content_type, text, self._probe.member)
        if failure is None:
            return Verified(self._route.base.origin + self.step.target, self.step.protocol)
        excerpt = _excerpt(self._without_key(text))
        detail = f"HTTP {status}" + (f": {excerpt}" if excerpt else "")
        if failure is not Failure.REQUEST_SHAPE:
            return self._failed(failure, detail)
        return self._rejected(detail, text)

    def failed(self, reason: Reason, detail: str) -> NotVerified:
        """Tell that no answer came: refused, not resolved, TLS, timed out."""
        late = _MORE_TIME if reason is Reason.UPSTREAM_TIMEOUT else ""
        return self._failed(Failure.CONNECTIVITY, f"{reason.value}: {detail}", late)

    def _rejected(self, detail: str, text: str) -> Step | NotVerified:
        if self._probe is _CHAT and "max_completion_tokens" in text:
            self._probe = _OLD_CHAT
            self.step = self._step()
            return self.step
        # The first is the one to report: later probes try what the model was not meant for.
        if self._first_rejection is None:
            self._first_rejection = detail
        if not self._coming:
            return self._failed(Failure.REQUEST_SHAPE, self._first_rejection)
        self._probe = self._coming.pop(0)
        self.step = self._step()
        return self.step

    def _without_key(self, text: str) -> str:
        # Some servers repeat the key that they refuse; no message of ours does.
        for credential in self._route.credentials.values():
            text = text.replace(credential.reveal(), "[key]")
        return text

    def _step(self) -> Step:
        probe = self._probe
        admitted = admit("POST", probe.path.encode("ascii"), self._route)
        assert isinstance(admitted, Admitted)  # its protocol is one that the route speaks
        text = json.dumps(probe.body, separators=(",", ":")).encode()
        body = outgoing_body(admitted, text)
        target = outgoing_target(admitted, body)
        return Step(probe.protocol, admitted.method, probe.path, target, body.joined())

    def _failed(self, failure: Failure, detail: str, besides: str = "") -> NotVerified:
        route = self._route
        next_step = _NEXT_STEP[failure].format(provider=route.provider, key=self._key) + besides
        return NotVerified(
            failure,
            f"provider {route.provider!r} with model {route.model!r} at {route.base} did not "
            f"pass verification ({failure.value}): {detail}; {next_step}, "
            "or save without verification: --no-verify",
        )


def _judge(
    status: int, content_type: str, text: str, member: tuple[str, type] | None
) -> Failure | None:
    """What is wrong with an answer; None where nothing is."""
    if 200 <= status < 300:
        return None if is_api_answer(content_type, text, member) else Failure.NOT_AN_API
    if status in (401, 403):
        return Failure.CREDENTIALS
    if status in (400, 404, 405, 422):
        return Failure.CREDENTIALS if _ABOUT_THE_KEY.search(text) else Failure.REQUEST_SHAPE
    if status == 429:
        return Failure.RATE_LIMITED
    return Failure.UPSTREAM_HEALTH if status >= 500 else Failure.UNEXPECTED


def is_api_answer(content_type: str, text: str, member: tuple[str, type] | None) -> bool:
    """Whether a 2xx is a model API's: a JSON object that has what the protocol's answers have.

    A captive portal or a web console answers 200 too, with a page.
    """
    if content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml"):
        return False
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(answer, dict) or answer.get("error"):
        return False
    return member is None or isinstance(answer.get(member[0]), member[1])


def _excerpt(text: str) -> str:
    """The beginning of an answer on one line, without control characters."""
    line = " ".join(text[: MAX_EXCERPT * 4].split())
    return "".join(c for c in line if c.isprintable())[:MAX_EXCERPT]
