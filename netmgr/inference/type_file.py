"""Owns: the text of a provider type's file -> a ProviderType, or every problem at once.

Each problem is told as `file:line: key: what was expected`; an unknown key names the nearest.
Knows nothing of where files lie (netmgr.inference.catalogue). The keys are described in
docs/inference.md; the built-in types under netmgr/inference/types are written the same way.
"""

import json
import re
from typing import Final

from netmgr.errors import BadInput
from netmgr.inference.base_url import parse_base_url
from netmgr.inference.dialect import AuthStyle, CallShape, ModelList
from netmgr.inference.headers import judge_header_name, judge_header_value
from netmgr.inference.pattern import PATH, Pattern
from netmgr.inference.protocols import Protocol
from netmgr.inference.provider_type import (
    ANY_QUERY,
    MODEL,
    AuthMethod,
    ProviderType,
    Setting,
    Variant,
    Word,
    words_in,
)
from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report
from netmgr.policy.tree import Node, parse_yaml, to_value

MAX_FILE: Final = 64 * 1024  # bytes; the longest built-in one has 3 KiB

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_KEY: Final = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_WORD: Final = re.compile(r"[a-z][a-z_]{0,31}")
_DOMAIN: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_TARGET: Final = re.compile(r"(?:/[A-Za-z0-9._~@:{}-]+)+")
_BASE_PATH: Final = re.compile(r"(?:/(?:[A-Za-z0-9._~-]+|\*))+(?:\?[a-z-]+)?")
_METHODS: Final = ("GET", "POST", "DELETE")
_BODIES: Final = ("json", "none")

_TYPE_KEYS: Final = (
    "type", "aliases", "title", "base_url", "base_url_keys", "base_url_query", "path_prefix",
    "auth", "from_existing", "settings", "words", "segment_model", "models", "patterns", "variants",
    "query", "from_adc", "base_url_hosts", "base_url_paths",
)  # fmt: skip
_VARIANT_KEYS: Final = ("protocols", "headers", "calls", "model", "base_url_fixed", "models")
_AUTH_KEYS: Final = (
    "style", "credentials", "optional", "header", "service", "region", "hosts", "needs_base_url",
)  # fmt: skip
_SETTING_KEYS: Final = ("word", "required", "default", "form", "expected")
_CALL_KEYS: Final = ("target", "stream_target", "model_in_body", "remove", "add")
_PATTERN_KEYS: Final = ("method", "path", "protocol", "operation", "body", "stream")


def parse_type(text: str, source: str) -> ProviderType:
    """A provider type.

    Raises:
        BadInput: the text is none; the message has a line for each problem.
    """
    report = Report()
    if len(text.encode("utf-8", "surrogatepass")) > MAX_FILE:
        raise BadInput(f"{source}: longer than {MAX_FILE} bytes")
    if not text.strip():
        raise BadInput(f"{source}: the file is empty; expected at least 'type: NAME'")
    node = parse_yaml(text, report)
    report.raise_if_any(source)
    assert node is not None  # parse_yaml notes a problem where it finds nothing
    found = _Reader(node, report, source).read()
    report.raise_if_any(source)
    return found


class _Reader:
    """Reads one file's tree."""

    def __init__(self, node: Node, report: Report, source: str) -> None:
        self._report = report
        self._source = source
        self._fields = Fields(node, "", (*_TYPE_KEYS, *_VARIANT_KEYS), report)
        self._words = {MODEL}

    def read(self) -> ProviderType:
        fields = self._fields
        settings = self._settings()
        words = self._derived()
        auth = self._auth()
        credentials = [n for method in auth for n in (*method.credentials, *method.optional)]
        discovery = self._texts(fields, "from_existing", _KEY, "a variable's name")
        return ProviderType(
            name=self._name(),
            title=fields.text("title") or "",
            source=self._source,
            aliases=self._texts(fields, "aliases", _NAME, "a name like my-gateway"),
            base_url=self._base_url(),
            base_url_keys=self._texts(fields, "base_url_keys", _KEY, "a key like MY_BASE_URL"),
            base_url_query=fields.flag("base_url_query") or False,
            base_url_hosts=self._texts(fields, "base_url_hosts", _DOMAIN, "a domain"),
            base_url_paths=self._texts(fields, "base_url_paths", _BASE_PATH, "a path like /v1"),
            path_prefix=self._path_prefix(),
            auth=auth,
            settings=settings,
            words=words,
            discovery=discovery or tuple(dict.fromkeys(credentials)),
            adc=self._adc(credentials),
            forward_query=self._query(),
            segment_model=fields.flag("segment_model") or False,
            patterns=tuple(self._patterns()),
            variants=self._variants(),
        )

    # -- the whole type ----------------------------------------------------------------------

    def _name(self) -> str:
        name = self._fields.text("type")
        if name is None:
            self._fields.missing("expected 'type: NAME'")
            return ""
        if not _NAME.fullmatch(name):
            self._fields.problem("type", f"{name!r}: expected a name like my-gateway")
        return name

    def _adc(self, credentials: list[str]) -> str:
        name = self._fields.text("from_adc") or ""
        if name and name not in credentials:
            self._fields.problem("from_adc", f"{name!r}: expected a credential of this type")
        return name

    def _base_url(self) -> str | None:
        text = self._fields.text("base_url")
        if text is None:
            return None
        self._check_words(self._fields, "base_url", text)
        if words_in(text):
            return text  # judged when its words are known
        try:
            query = self._fields.flag("base_url_query") or False
            return str(parse_base_url(text, "", query_allowed=query))
        except BadInput as problem:
            self._fields.problem("base_url", problem.message.removeprefix(": "))
            return None

    def _path_prefix(self) -> str | None:
        text = self._fields.text("path_prefix")
        if text is not None and text != "/" and not _TARGET.fullmatch(text):
            self._fields.problem("path_prefix", f"{text!r}: expected a path like /v2, or /")
        return text

    def _query(self) -> frozenset[str]:
        if "query" not in self._fields:
            return ANY_QUERY
        form = re.compile(r"\*|[A-Za-z0-9_.\[\]-]{1,128}")
        return frozenset(self._texts(self._fields, "query", form, "a name, or *"))

    def _auth(self) -> tuple[AuthMethod, ...]:
        methods = []
        for place, node in self._fields.items("auth"):
            fields = Fields(node, place, _AUTH_KEYS, self._report)
            style = AuthStyle(fields.choice("style", list(AuthStyle), default=AuthStyle.BEARER))
            method = AuthMethod(
                style=style,
                credentials=self._texts(fields, "credentials", _KEY, "a name like MY_API_KEY"),
                optional=self._texts(fields, "optional", _KEY, "a name like MY_TOKEN"),
                header=(fields.text("header") or "").lower(),
                service=fields.text("service") or "",
                region=fields.text("region") or "",
                hosts=self._texts(fields, "hosts", _DOMAIN, "a domain like example.com"),
                needs_base_url=fields.flag("needs_base_url") or False,
            )
            self._check_words(fields, "region", method.region)
            self._judge_auth(fields, method)
            methods.append(method)
        if not methods:
            self._fields.missing("expected 'auth' with at least one way to be let in")
        return tuple(methods)

    def _judge_auth(self, fields: Fields, method: AuthMethod) -> None:
        wanted = {AuthStyle.NONE: 0, AuthStyle.SIGV4: 2}.get(method.style, 1)
        if len(method.credentials) != wanted:
            what = f"expected {wanted} names for style {method.style}"
            fields.missing(f"credentials: {what}, got {len(method.credentials)}")
        if (method.style is AuthStyle.HEADER) != bool(method.header):
            fields.missing("header: expected for style 'header', and only there")
        elif method.header and not re.fullmatch(r"[a-z0-9-]+", method.header):
            fields.problem("header", f"{method.header!r}: expected a name like x-api-key")
        if (method.style is AuthStyle.SIGV4) != bool(method.service and method.region):
            fields.missing("service and region: expected for style 'sigv4', and only there")

    def _settings(self) -> dict[str, Setting]:
        found = {}
        for key, line, node in self._fields.entries("settings"):
            place = f"settings.{key}"
            fields = Fields(node, place, _SETTING_KEYS, self._report)
            if not _KEY.fullmatch(key):
                self._report.problem(line, place, "expected a key like MY_REGION")
            word = fields.text("word") or ""
            if not _WORD.fullmatch(word):
                fields.missing(f"word: expected a name like region, got {word!r}")
            self._words.add(word)
            found[key] = Setting(
                word=word,
                required=fields.flag("required") or False,
                default=fields.text("default"),
                form=self._regex(fields, "form"),
                expected=fields.text("expected") or "",
            )
        return found

    def _regex(self, fields: Fields, key: str) -> re.Pattern[str] | None:
        text = fields.text(key)
        if text is None:
            return None
        try:
            return re.compile(text)
        except re.error as problem:
            fields.problem(key, f"{text!r}: no regular expression: {problem}")
            return None

    def _derived(self) -> dict[str, Word]:
        found = {}
        for name, line, node in self._fields.entries("words"):
            place = f"words.{name}"
            fields = Fields(node, place, ("of", "exact", "prefix", "otherwise"), self._report)
            of = fields.text("of") or ""
            if not _WORD.fullmatch(name):
                self._report.problem(line, place, "expected a name like host")
            if of not in self._words:
                fields.problem("of", f"{of!r} is no word{self._report.suggest(of, self._words)}")
            otherwise = fields.text("otherwise")
            self._check_words(fields, "otherwise", otherwise)
            found[name] = Word(
                of,
                dict(self._pairs(fields, "exact")),
                dict(self._pairs(fields, "prefix")),
                otherwise,
            )
            self._words.add(name)
        return found

    # -- variants ------------------------------------------------------------------------------

    def _variants(self) -> tuple[Variant, ...]:
        if "variants" not in self._fields:
            return (self._variant(self._fields),)
        for key in ("protocols", "calls", "model", "base_url_fixed", "headers"):
            if key in self._fields:
                self._fields.problem(key, "stands in each of the variants, where there are some")
        return tuple(
            self._variant(Fields(node, place, ("when", *_VARIANT_KEYS), self._report))
            for place, node in self._fields.items("variants")
        )

    def _variant(self, fields: Fields) -> Variant:
        names = [name.value for name in Protocol]
        protocols = []
        for place, node in fields.items("protocols"):
            name = to_value(node)
            if name not in names:
                near = self._report.suggest(str(name), names)
                self._report.problem(node.line, place, f"unknown protocol {name!r}{near}")
            else:
                protocols.append(Protocol(name))
        if not protocols:
            fields.missing(f"expected 'protocols', some of {', '.join(names)}")
        when = dict(self._pairs(fields, "when"))
        for word in when:
            if word not in self._words:
                fields.problem(
                    "when", f"{word!r} is no word{self._report.suggest(word, self._words)}"
                )
        model = fields.text("model") or "{model}"
        self._check_words(fields, "model", model)
        forward, add = self._headers(fields)
        where = fields if "models" in fields else self._fields
        listed = where.choice("models", list(ModelList), default=ModelList.PASSTHROUGH)
        return Variant(
            protocols=tuple(protocols),
            when=when,
            model=model,
            base_url_fixed=fields.flag("base_url_fixed") or False,
            forward_headers=forward,
            add_headers=add,
            calls=self._calls(fields),
            models=ModelList(listed),
        )

    def _headers(self, fields: Fields) -> tuple[frozenset[str], tuple[tuple[str, str], ...]]:
        node = fields.node("headers")
        if node is None:
            return frozenset(), ()
        inner = Fields(node, fields.where("headers"), ("forward", "add"), self._report)
        forward = self._texts(inner, "forward", re.compile(r"[A-Za-z0-9-]+"), "a header's name")
        add = self._pairs(inner, "add")
        for name in (*forward, *(name for name, _ in add)):
            self._note(inner, "forward" if name in forward else "add", judge_header_name(name))
        for _, value in add:
            self._note(inner, "add", judge_header_value(value))
        pairs = tuple((name.lower(), value) for name, value in add)
        return frozenset(name.lower() for name in forward), pairs

    def _note(self, fields: Fields, key: str, problem: str | None) -> None:
        if problem is not None:
            fields.problem(key, problem)

    def _calls(self, fields: Fields) -> dict[str, CallShape]:
        found = {}
        for name, line, node in fields.entries("calls"):
            place = f"{fields.where('calls')}.{name}"
            if not _WORD.fullmatch(name):
                self._report.problem(line, place, "expected an operation like chat")
            call = Fields(node, place, _CALL_KEYS, self._report)
            in_body = call.flag("model_in_body")
            found[name] = CallShape(
                target=self._target(call, "target"),
                stream_target=self._target(call, "stream_target"),
                model_in_body=True if in_body is None else in_body,
                remove=self._texts(call, "remove", re.compile(r"\w{1,64}"), "a key"),
                add=self._added(call),
            )
        return found

    def _target(self, fields: Fields, key: str) -> str | None:
        text = fields.text(key)
        if text is not None:
            self._check_words(fields, key, text)
            if not _TARGET.fullmatch(text):
                fields.problem(key, f"{text!r}: expected a path like /v1/models/{{model}}:predict")
        return text

    def _added(self, fields: Fields) -> tuple[tuple[str, str], ...]:
        pairs = self._pairs(fields, "add")
        for name, value in pairs:
            try:
                json.loads(value)
            except (ValueError, RecursionError):
                fields.problem("add", f"{name}: expected JSON in quotes, like '\"text\"' or '1'")
        return pairs

    # -- requests of its own -------------------------------------------------------------------

    def _patterns(self) -> list[Pattern]:
        found = []
        for place, node in self._fields.items("patterns"):
            fields = Fields(node, place, _PATTERN_KEYS, self._report)
            names = [protocol.value for protocol in Protocol]
            path, operation = fields.text("path") or "", fields.text("operation") or ""
            if not PATH.fullmatch(path) or "/." in path:
                fields.problem(
                    "path", f"{path!r}: expected a path like /v1/rerank or /v1/jobs/{{id}}"
                )
            if not _WORD.fullmatch(operation):
                fields.missing(f"operation: expected a short name, got {operation!r}")
            method = fields.choice("method", _METHODS, default="POST")
            body = fields.choice("body", _BODIES, default="json" if method == "POST" else "none")
            found.append(
                Pattern(
                    method=method,
                    path=path,
                    protocol=Protocol(fields.choice("protocol", names, default=Protocol.OTHER)),
                    operation=operation,
                    has_body=body == "json",
                    may_stream=fields.flag("stream") or False,
                )
            )
        return found

    # -- readers -------------------------------------------------------------------------------

    def _texts(
        self, fields: Fields, key: str, form: re.Pattern[str], expected: str
    ) -> tuple[str, ...]:
        found = []
        for place, node in fields.items(key):
            value = to_value(node)
            if not isinstance(value, str) or not form.fullmatch(value):
                self._report.problem(node.line, place, f"{value!r}: expected {expected}")
            else:
                found.append(value)
        return tuple(found)

    def _pairs(self, fields: Fields, key: str) -> tuple[tuple[str, str], ...]:
        found = []
        for name, line, node in fields.entries(key):
            value = to_value(node)
            if not isinstance(value, str) or not value.isprintable():
                place = f"{fields.where(key)}.{name}"
                self._report.problem(line, place, f"expected a word, got {value!r}")
            else:
                found.append((name, value))
        return tuple(found)

    def _check_words(self, fields: Fields, key: str, text: str | None) -> None:
        for word in sorted(words_in(text or "") - self._words):
            near = self._report.suggest(word, self._words)
            fields.problem(key, f"{{{word}}} is no word of this type{near}")
