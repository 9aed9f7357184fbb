"""Owns: what secrets and personal data look like: patterns that are searched in linear time.

One automaton (re2's Set) says which patterns occur in a body at all; for most bodies that is the
end of it. Positions are looked for only of those that do, and who confirms them (confirm.py) sees
a short piece each. re2 takes time in proportion to the text whatever is in it, and does not hold
the interpreter's lock. Pure.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import re2

MAX_MATCH: Final = 1024  # bytes of one match that are looked at further


@dataclass(frozen=True, slots=True)
class Shape:
    """How something is written.

    Attributes:
        label: of netmgr.middleware.catalogue.
        pattern: in re2's syntax, on bytes; group 1, where there is one, is the thing itself.
        library: the detector of detect-secrets that confirms it; '' where the pattern is enough.
    """

    label: str
    pattern: str
    library: str = ""


# Written so that each finds whatever the library's own patterns find; the library then confirms.
SECRET_SHAPES: Final = (
    Shape("anthropic_key", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    Shape("openai_key", r"\bsk-[A-Za-z0-9_-]*T3BlbkFJ[A-Za-z0-9_-]{20,}", "OpenAIDetector"),
    Shape("api_key", r"\bsk-(?:proj-|svcacct-|or-v1-|lf-)?[A-Za-z0-9_-]{20,}"),
    Shape("artifactory_token", r"[\s=:\"](AKC[a-zA-Z0-9]{10,})", "ArtifactoryDetector"),
    Shape("artifactory_token", r"[\s=:\"](AP[\dABCDEF][a-zA-Z0-9]{8,})", "ArtifactoryDetector"),
    Shape("aws_key", r"(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}", "AWSKeyDetector"),
    Shape(
        "aws_key",
        r"(?i)aws.{0,20}?(?:key|pwd|pw|password|pass|token).{0,20}?['\"]([0-9a-z/+]{40})['\"]",
        "AWSKeyDetector",
    ),
    Shape(
        "azure_storage_key",
        r"AccountKey=([a-zA-Z0-9+\/=]{88})",
        "AzureStorageKeyDetector",
    ),
    Shape(
        "basic_auth",
        r"://[^:/\?\#\[\]@!\$\&'\(\)\*\+,;=\s\"\\]+:([^:/\?\#\[\]@!\$\&'\(\)\*\+,;=\s\"\\]+)@",
        "BasicAuthDetector",
    ),
    Shape(
        "discord_token",
        r"\b[MNO][a-zA-Z\d_-]{23,25}\.[a-zA-Z\d_-]{6}\.[a-zA-Z\d_-]{27}",
        "DiscordBotTokenDetector",
    ),
    Shape("github_token", r"gh[pousr]_[A-Za-z0-9_]{36}", "GitHubTokenDetector"),
    Shape("github_token", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
    Shape(
        "gitlab_token",
        r"(?:glpat|gldt|glft|glsoat|glrt|glcbt|glimt|glptt|glagent|gloas)-[A-Za-z0-9_-]{20,}",
        "GitLabTokenDetector",
    ),
    Shape("google_key", r"\bAIza[0-9A-Za-z_-]{35}"),
    Shape("huggingface_token", r"\bhf_[A-Za-z0-9]{34,}"),
    Shape("jwt", r"eyJ[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.?[A-Za-z0-9_.+/=-]*", "JwtTokenDetector"),
    Shape("mailchimp_key", r"\b[0-9a-z]{32}-us[0-9]{1,2}", "MailchimpDetector"),
    Shape("npm_token", r"\bnpm_[A-Za-z0-9]{36}"),
    Shape("npm_token", r"//[^\s\"]+/:_authToken=\s*([A-Za-z0-9_-]{36,})", "NpmDetector"),
    Shape("nvidia_key", r"\bnvapi-[A-Za-z0-9_-]{40,}"),
    Shape(
        "private_key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)-----END [A-Z0-9 ]*PRIVATE KEY-*",
        "PrivateKeyDetector",
    ),
    Shape(  # one that breaks off
        "private_key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=\s]|\\[nr])*",
        "PrivateKeyDetector",
    ),
    Shape("private_key", r"PuTTY-User-Key-File-[0-9]"),
    Shape("pypi_token", r"pypi-Ag[A-Za-z0-9_-]{70,}", "PypiTokenDetector"),
    Shape("sendgrid_key", r"SG\.[a-zA-Z0-9_-]{22}\.[a-zA-Z0-9_-]{43}", "SendGridDetector"),
    Shape("slack_token", r"(?i)xox[abposr]-(?:\d+-)+[a-z0-9]+", "SlackDetector"),
    Shape(
        "slack_token",
        r"(?i)https://hooks\.slack\.com/services/T[a-z0-9_]+/B[a-z0-9_]+/[a-z0-9_]+",
        "SlackDetector",
    ),
    Shape("square_token", r"sq0csp-[0-9A-Za-z_-]{43}", "SquareOAuthDetector"),
    Shape("stripe_key", r"[rs]k_live_[0-9a-zA-Z]{24,}", "StripeDetector"),
    Shape("telegram_token", r"\b\d{8,10}:[0-9A-Za-z_-]{35}", "TelegramBotTokenDetector"),
    Shape("twilio_key", r"\b(?:AC|SK)[a-z0-9]{32}\b", "TwilioKeyDetector"),
)
PERSONAL_SHAPES: Final = (
    Shape("card", r"\b(?:\d[ -]?){12,18}\d\b"),
    Shape("iban", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    Shape(
        "email", r"\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"
    ),
    Shape("phone", r"\+\d[\d ().-]{6,18}\d"),
)
# Where a stage names a region: numbers without a country's code.
LOCAL_PHONE: Final = Shape("phone", r"\(?\b\d[\d ().-]{5,16}\d\b")
ALL_SHAPES: Final = (*SECRET_SHAPES, *PERSONAL_SHAPES)


@dataclass(frozen=True, slots=True)
class Match:
    """Where a shape occurs.

    Attributes:
        start: of the thing itself, in bytes; `end` likewise.
        whole: from where to where the pattern reaches.
    """

    start: int
    end: int
    whole: tuple[int, int]
    shape: Shape


class Sieve:
    """Some shapes, ready to be looked for."""

    __slots__ = ("_patterns", "_set", "_shapes")

    def __init__(self, shapes: Iterable[Shape]) -> None:
        self._shapes = tuple(shapes)
        self._patterns = [re2.compile(shape.pattern.encode()) for shape in self._shapes]
        self._set: Any = re2.Set.SearchSet()
        for shape in self._shapes:
            self._set.Add(shape.pattern.encode())
        if self._shapes:
            self._set.Compile()

    def occurring(self, text: bytes) -> list[int]:
        """Which shapes occur at all, by number."""
        return sorted(self._set.Match(text) or ()) if self._shapes else []

    def matches(self, text: bytes) -> Iterator[Match]:
        """Every place of every shape; places may overlap."""
        for number in self.occurring(text):
            shape = self._shapes[number]
            pattern = self._patterns[number]
            thing = 1 if pattern.groups else 0
            for found in pattern.finditer(text):
                start, end = found.span(thing)
                yield Match(start, end, found.span(), shape)
