"""Owns: which middlewares netmgr brings, what their configurations say, and how others are named.

A name is `vendor/word`. `netmgr/` and `openshell/` are netmgr's; all others are the operator's, who
names them in the daemon's settings. Pure: what a detector does is proxy's (netmgr_proxy.scan).
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from netmgr.errors import did_you_mean
from netmgr.middleware.bounds import MAX_CONFIG
from netmgr.middleware.chain import Stage

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}")
_OWN_VENDORS: Final = ("netmgr/", "openshell/")

SECRETS: Final = (
    "anthropic_key",
    "api_key",
    "artifactory_token",
    "aws_key",
    "azure_storage_key",
    "basic_auth",
    "discord_token",
    "github_token",
    "gitlab_token",
    "google_key",
    "huggingface_token",
    "jwt",
    "mailchimp_key",
    "npm_token",
    "nvidia_key",
    "openai_key",
    "private_key",
    "pypi_token",
    "sendgrid_key",
    "slack_token",
    "square_token",
    "stripe_key",
    "telegram_token",
    "twilio_key",
)
PERSONAL: Final = ("card", "email", "iban", "phone")


class Do(StrEnum):
    """What a detector does about what it finds."""

    DENY = "deny"
    REDACT = "redact"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Detection:
    """A detector's configuration, with every default.

    Attributes:
        labels: what is looked for.
        region: whose numbers are meant where one has no country code (ISO 3166); '' nobody's.
    """

    do: Do
    labels: frozenset[str]
    region: str = ""


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A middleware that netmgr brings.

    Attributes:
        about: one sentence.
        labels: what it may look for.
        do: its action where the configuration names none; None: it detects nothing.
        keys: of its configuration.
    """

    about: str
    labels: tuple[str, ...] = ()
    do: Do | None = None
    keys: tuple[str, ...] = ()


TAGGER: Final = "netmgr/tagger"
BUILT_IN: Final[Mapping[str, BuiltIn]] = {
    "netmgr/secrets": BuiltIn("keys, tokens and passwords", SECRETS, Do.DENY, ("action", "types")),
    "netmgr/pii": BuiltIn(
        "card numbers, IBANs, e-mail addresses, phone numbers",
        PERSONAL,
        Do.REPORT,
        ("action", "types", "region"),
    ),
    "netmgr/redact": BuiltIn(
        "takes both kinds out", (*SECRETS, *PERSONAL), Do.REDACT, ("types", "region")
    ),
    TAGGER: BuiltIn("says how large the body is and what is in it"),
    # The one that the modelled system has takes `sk-` tokens out; ours takes more out.
    "openshell/regex": BuiltIn("takes keys and tokens out", SECRETS, Do.REDACT),
}


def name_problem(name: str, registered: Collection[str] | None = None) -> str | None:
    """Why `name` is no middleware; None where it is one.

    Args:
        registered: the operator's own; None where nobody knows them (a file without a daemon).
    """
    if name in BUILT_IN or (registered is not None and name in registered):
        return None
    known = sorted((*BUILT_IN, *(registered or ())))
    near = did_you_mean(name, known) or did_you_mean(f"netmgr/{name}", known)
    if not _NAME.fullmatch(name):
        return f"{name!r}: expected VENDOR/NAME in lower case{near}"
    if name.startswith(_OWN_VENDORS):
        return f"unknown middleware {name!r}; netmgr has {', '.join(sorted(BUILT_IN))}{near}"
    if registered is None:
        return None
    return f"unknown middleware {name!r}: no setting of the daemon names it{near}"


def own_name_problem(name: str) -> str | None:
    """Why an operator's middleware may not be called so; None where it may."""
    if not _NAME.fullmatch(name):
        return f"{name[:128]!r}: expected VENDOR/NAME in lower case"
    if name.startswith(_OWN_VENDORS):
        return f"{name!r}: {' and '.join(_OWN_VENDORS)} are netmgr's; choose another vendor's name"
    return None


def config_problems(name: str, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a configuration: (key, what was expected)."""
    if len(json.dumps(config)) > MAX_CONFIG:
        yield "", f"expected at most {MAX_CONFIG} bytes as JSON"
        return
    known = BUILT_IN.get(name)
    if known is None:
        return
    for key, value in config.items():
        if key not in known.keys:
            takes = ", ".join(known.keys) or "nothing"
            yield key, f"unknown key; {name} takes {takes}{did_you_mean(key, known.keys)}"
        elif key == "action" and value not in tuple(Do):
            near = did_you_mean(str(value), list(Do))
            yield key, f"expected one of {', '.join(Do)}, got {str(value)[:64]!r}{near}"
        elif key == "region" and not (isinstance(value, str) and re.fullmatch("[A-Z]{2}", value)):
            yield key, "expected a country's two capital letters, such as 'US'"
        elif key == "types":
            yield from _type_problems(known, value)


def _type_problems(known: BuiltIn, value: object) -> Iterator[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        yield "types", f"expected a list of some of {', '.join(known.labels)}"
        return
    for label in value:
        if label not in known.labels:
            near = did_you_mean(str(label), known.labels)
            yield "types", f"unknown type {str(label)[:64]!r}{near}"


def detection_of(stage: Stage) -> Detection | None:
    """What a stage of a built-in detector does; None for one that detects nothing."""
    known = BUILT_IN[stage.middleware]
    if known.do is None:
        return None
    return Detection(
        do=Do(stage.config.get("action", known.do)),
        labels=frozenset(stage.config.get("types", known.labels)),
        region=stage.config.get("region", ""),
    )
