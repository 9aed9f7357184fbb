"""Owns: the ways in which a credential renews itself: what each needs, when it is due, and what an
answer is worth. Requests are built in netmgr.inference.refresh_requests.

Pure: the caller brings clock, chance and secrets. Times are epoch seconds. Knows nothing of
sending, of storage and of HTTP.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.inference.base_url import BaseUrl, parse_base_url
from netmgr.inference.profiles import validate_credential
from netmgr.model import HOST_NAME
from netmgr.secret import Secret

LEAD_S: Final = 300.0  # a token is renewed so long before its end
MAX_LIFETIME_S: Final = 3600.0  # no token is trusted for longer, whatever its server says
DEFAULT_LIFETIME_S: Final = 300.0  # where the server says nothing (RFC 6749 §5.1 lets it)
FIRST_RETRY_S: Final = 5.0
MAX_RETRY_S: Final = 60.0
MAX_MATERIAL: Final = 32  # words of one strategy; the largest has nine
MAX_SECRET: Final = 8192  # characters; a service account's key file has about 2400

GOOGLE_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost", HOST_NAME})


class Answers(StrEnum):
    """What the other side answers with."""

    OAUTH = "oauth"  # RFC 6749 §5
    STS = "sts"  # AWS Security Token Service, AssumeRole


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way, as data.

    Attributes:
        required: material without which it cannot be.
        optional: further material with its default; '' is none.
        secrets: required secrets. `optional_secrets`: further ones.
        outputs: credentials that one answer gives; () is the one that is renewed.
        shows_svid: whether this host's SPIFFE identity is shown to the server.
    """

    name: str
    required: tuple[str, ...]
    optional: Mapping[str, str]
    secrets: tuple[str, ...]
    optional_secrets: tuple[str, ...] = ()
    answers: Answers = Answers.OAUTH
    outputs: tuple[str, ...] = ()
    shows_svid: bool = False

    @property
    def public_names(self) -> tuple[str, ...]:
        """Material that anyone may read."""
        return (*self.required, *self.optional)

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Material that nobody may read."""
        return (*self.secrets, *self.optional_secrets)


_CLIENT: Final = {"scope": "", "audience": "", "client_auth": "post", "ca_pem": ""}
AWS_OUTPUTS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

STRATEGIES: Final[dict[str, Strategy]] = {
    strategy.name: strategy
    for strategy in (
        Strategy(
            "oauth2-refresh-token",
            required=("token_url", "client_id"),
            optional=_CLIENT,
            secrets=("refresh_token",),
            optional_secrets=("client_secret",),
        ),
        Strategy(
            "oauth2-client-credentials",
            required=("token_url", "client_id"),
            optional=_CLIENT,
            secrets=("client_secret",),
        ),
        Strategy(
            "google-service-account-jwt",
            required=("client_email",),
            optional={
                "token_url": GOOGLE_TOKEN_URL,
                "scope": _GOOGLE_SCOPE,
                "subject": "",
                "private_key_id": "",
                "ca_pem": "",
            },
            secrets=("private_key",),
        ),
        Strategy(
            "aws-sts-assume-role",
            required=("role_arn",),
            optional={
                "region": "us-east-1",
                "session_name": "netmgr",
                "duration_s": "3600",
                "endpoint": "",
                "ca_pem": "",
            },
            secrets=("access_key_id", "secret_access_key"),
            optional_secrets=("session_token", "external_id"),
            answers=Answers.STS,
            outputs=AWS_OUTPUTS,
        ),
        Strategy(
            "spiffe-token-grant",
            required=("token_url",),
            optional={
                "client_id": "",
                "scope": "",
                "audience": "",
                "resource": "",
                "grant": "client_assertion",
                "ca_pem": "",
            },
            secrets=(),
            shows_svid=True,
        ),
    )
}
_CHOICES: Final = {
    "client_auth": ("post", "basic"),
    "grant": ("client_assertion", "token_exchange"),
}


@dataclass(frozen=True, slots=True)
class Material:
    """What a strategy works with; `public` has every name of the strategy."""

    strategy: Strategy
    public: Mapping[str, str]
    secret: Mapping[str, Secret] = field(default_factory=dict)

    def word(self, name: str) -> str:
        """A word of either kind: what may be read may also be kept secret."""
        hidden = self.secret.get(name)
        return hidden.reveal() if hidden is not None else self.public[name]

    @property
    def url(self) -> str:
        """Where the token comes from."""
        if self.strategy.answers is Answers.STS:
            return self.word("endpoint") or f"https://sts.{self.word('region')}.amazonaws.com/"
        return self.word("token_url")


@dataclass(frozen=True, slots=True)
class Minted:
    """What an answer gave.

    Attributes:
        values: credentials by name.
        expires: when they end.
        replaced: secrets of the strategy that the answer replaced (a refresh token is used once).
    """

    values: Mapping[str, Secret]
    expires: float
    replaced: Mapping[str, Secret] = field(default_factory=dict)


def strategy_of(name: str) -> Strategy:
    """The strategy called `name`.

    Raises:
        BadInput: there is none; the nearest is named.
    """
    found = STRATEGIES.get(name)
    if found is None:
        known = ", ".join(sorted(STRATEGIES))
        hint = did_you_mean(name, STRATEGIES)
        raise BadInput(f"--strategy {name!r}: expected one of {known}{hint}")
    return found


def make_material(
    strategy: Strategy, public: Mapping[str, str], secret: Mapping[str, Secret]
) -> Material:
    """Judge what was given for a strategy and fill in the defaults.

    Raises:
        BadInput: an unknown, missing or misplaced word, or a value that cannot be meant.
    """
    if strategy.name == "google-service-account-jwt" and "key_file" in secret:
        public, secret = _from_key_file(public, secret)
    _judge_names(strategy, public, secret)
    for name, value in secret.items():
        if not value.reveal() or len(value.reveal()) > MAX_SECRET:
            raise BadInput(f"material {name}: expected 1 to {MAX_SECRET} characters")
    defaults = {n: text for n, text in strategy.optional.items() if n not in secret}
    whole = Material(strategy, {**defaults, **public}, secret)
    for name, allowed in _CHOICES.items():
        if name in strategy.public_names and whole.word(name) not in allowed:
            got = whole.word(name)
            raise BadInput(f"material {name}={got!r}: expected {' or '.join(allowed)}")
    if "duration_s" in strategy.optional:
        _judge_duration(whole.word("duration_s"))
    token_origin(whole)
    return whole


def token_origin(material: Material) -> BaseUrl:
    """Where a strategy's request goes.

    Raises:
        BadInput: no URL, or one that would show secrets to others than its server.
    """
    where = "material endpoint" if material.strategy.answers is Answers.STS else "token_url"
    url = parse_base_url(material.url, where, query_allowed=True)
    if url.scheme == "http" and url.host not in _LOOPBACK:
        raise BadInput(f"{where}: {url}: expected https:// (http:// is for loopback only)")
    return url


def take_answer(material: Material, key: str, wire: Mapping[str, Any], now: float) -> Minted:
    """What the worker that read the answer found in it, judged again.

    Args:
        key: the credential that is renewed.
        now: when the request was sent: a lifetime counts from there.

    Raises:
        BadInput: a value that cannot be a credential.
    """
    if material.strategy.answers is Answers.STS:
        values = dict(
            zip(AWS_OUTPUTS, _words(wire, "access_key_id", "secret", "token"), strict=True)
        )
        ends = float(wire["expires_at"])
    else:
        values = {key: Secret(str(wire["access_token"]))}
        ends = now + float(wire.get("expires_in") or DEFAULT_LIFETIME_S)
    for name, value in values.items():
        validate_credential(name, value)
    if ends <= now:
        raise BadInput("the token that came has expired already")
    replaced = {}
    if material.strategy.name == "oauth2-refresh-token" and wire.get("refresh_token"):
        replaced["refresh_token"] = Secret(str(wire["refresh_token"]))
    return Minted(values, min(ends, now + MAX_LIFETIME_S), replaced)


def renewal_due(renewed: float, expires: float, chance: float) -> float:
    """When a token is to be renewed.

    Args:
        chance: 0 to 1: spreads the renewals of tokens that were given together.
    """
    lead = min(LEAD_S, (expires - renewed) / 2)
    return expires - lead - chance * lead / 10


def retry_delay(failures: int, chance: float) -> float:
    """Seconds until the next attempt after so many failures in a row (from 1)."""
    delay = min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
    return delay * (0.8 + 0.2 * chance)


def scrub(text: str, secrets: Collection[Secret]) -> str:
    """`text` without any of the secrets: a server may repeat what it refuses."""
    for secret in secrets:
        text = text.replace(secret.reveal(), "[secret]")
    return text


def _words(wire: Mapping[str, Any], *names: str) -> list[Secret]:
    return [Secret(str(wire[name])) for name in names]


def _judge_duration(text: str) -> None:
    # AWS takes 900 s at least; more than an hour would outlive our own bound.
    if not (text.isascii() and text.isdigit() and 900 <= int(text) <= 3600):
        raise BadInput(f"material duration_s={text!r}: expected 900 to 3600 seconds")


def _judge_names(
    strategy: Strategy, public: Mapping[str, str], secret: Mapping[str, Secret]
) -> None:
    if len(public) + len(secret) > MAX_MATERIAL:
        raise BadInput(f"more than {MAX_MATERIAL} words of material")
    for name in public:
        if name in strategy.secret_names:
            raise BadInput(
                f"material {name} is secret: --secret-material-env {name}=VARIABLE, "
                f"--material {name}=@FILE or {name}=-"
            )
        _judge_name(name, strategy.public_names, strategy)
    for name in secret:
        _judge_name(name, (*strategy.secret_names, *strategy.public_names), strategy)
    missing = [n for n in strategy.required if not public.get(n) and n not in secret]
    missing += [n for n in strategy.secrets if n not in secret]
    if missing:
        raise BadInput(f"strategy {strategy.name} needs material {', '.join(missing)}")


def _judge_name(name: str, known: Collection[str], strategy: Strategy) -> None:
    if name not in known:
        raise BadInput(
            f"material {name!r} means nothing to strategy {strategy.name}; expected one of "
            + ", ".join(known)
            + did_you_mean(name, known)
        )


def _from_key_file(
    public: Mapping[str, str], secret: Mapping[str, Secret]
) -> tuple[dict[str, str], dict[str, Secret]]:
    """A Google key file (`key_file`) as the material that it stands for."""
    try:
        found = json.loads(secret["key_file"].reveal())
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("type") != "service_account":
        raise BadInput('material key_file: expected the JSON key of a service account ("type")')
    words = {name: found.get(name, "") for name in ("client_email", "private_key_id")}
    words["token_url"] = found.get("token_uri", GOOGLE_TOKEN_URL)
    key = found.get("private_key", "")
    if not all(isinstance(word, str) for word in (*words.values(), key)):
        raise BadInput("material key_file: its words are not all text")
    rest = {name: value for name, value in secret.items() if name != "key_file"}
    return {**words, **public}, {**rest, "private_key": Secret(key)}
