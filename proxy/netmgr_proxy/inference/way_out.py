"""Owns: what in a request would make the provider act for the sandbox: tools that it runs itself,
URLs that it fetches, objects that it has stored. Finds them; `permits` judges.

The body is walked as it was parsed. What only a model reads (schemas, arguments of calls,
citations, metadata) is not walked into. Names are compared without case, '_' and '-': Go matches
keys without case, protobuf's JSON takes image_url for imageUrl.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr_proxy.inference.document import Document, Member
from netmgr_proxy.inference.keys import remembered
from netmgr_proxy.inference.tree import MalformedBody, Object

MAX_FINDINGS: Final = 1000  # of each kind; a request of more is no honest one
MAX_SHOWN: Final = 80  # characters of a finding in a message


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Values that a model reads and nobody acts on.
_OPAQUE: Final = _words("""
    parameters inputschema schema jsonschema outputschema responseschema responsejsonschema
    parametersjsonschema metadata annotations citations arguments
""")
# The arguments of a call that a model made before, by the `type` (or the key) of what holds them.
_CALLS: Final = _words("""
    tooluse servertooluse mcptooluse functioncall functionresponse
""")
_CALL_BODY: Final = _words("""
    input args response
""")
# Parts that tell what a provider fetched before; it does not fetch them again.
_REPORTS: Final = _words("""
    websearchcall websearchresult websearchtoolresult webfetchresult urlcitation
    websearchresultlocation
""")

# Tools that the client runs: everything else is run by the provider.
_CLIENT_TOOLS: Final = _words("""
    function custom localshell applypatch bash texteditor memory toolsearchtool toolsearch
""")
_CLIENT_KEYS: Final = _words("""
    functiondeclarations toolspec cachepoint function
""")
# Top-level (and vendor's) members that switch a provider's own tool on: key -> family.
_SWITCHES: Final = {
    "websearchoptions": "web_search",
    "searchparameters": "web_search",
    "searchsettings": "web_search",
    "enablesearch": "web_search",
    "webplugins": "web_search",
    "mcpservers": "mcp",
    "connectors": "connectors",
    "plugins": "plugins",
    "datasources": "data_sources",
    "compoundcustom": "compound",
    "container": "code_execution",
}
# Members whose values are ids of what the provider has stored.
_REFERENCES: Final = _words("""
    previousresponseid conversation conversationid fileid fileids vectorstoreid
    vectorstoreids containerid assistantid threadid batchid inputfileid cachedcontent
    previousinteractionid container
""")
_URL_KEY: Final = re.compile(r".*(?:url|uri)s?")
# These hold a file's bytes, its name, or where it is.
_FILE_KEY: Final = re.compile(r"(?:image|video|audio|file|document)s?")
_SCHEME: Final = re.compile(r"[\x00-\x20]*[a-zA-Z][a-zA-Z0-9+.-]{0,30}://")
_VERSION: Final = re.compile(r"(?:[_-](?:preview|ga|v?[0-9]+))+$")
# Go takes the long s and the kelvin sign for letters of ASCII, as `casefold` does; here they are in
# Latin-1 clothes.
_GO_FOLDS: Final = tuple(
    (sign.encode().decode("latin-1"), sign.casefold()) for sign in "\u017f\u212a"
)
# Keys that stand in nearly every body and tell nothing: a test holds them to that.
_SILENT: Final = _words("""
    model messages role content text type stream temperature top_p max_tokens
    max_completion_tokens system stop seed name user tool_calls tool_call_id function arguments
    description parameters properties required input_schema
""")
_ALL_KEYS: Final = frozenset(_SWITCHES) | _REFERENCES | {"tools", "prompt"}


@dataclass(slots=True)
class Findings:
    """What a request asks of its provider beyond a model's answer.

    Attributes:
        tools: families of provider-executed tools, each with the whole type behind it.
        urls: what the provider would fetch.
        references: ids of stored objects.
    """

    tools: dict[str, str] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)


NOTHING: Final = Findings()


def find_way_out(document: Document) -> Findings:
    """What in this body makes the provider act.

    Raises:
        MalformedBody: two keys of one object that some readers take for one.
    """
    telling = {
        member.key: member.value
        for member, keys in zip(document.members, document.keys, strict=True)
        if _tells(member, keys)
    }
    if not telling:
        return NOTHING
    search = _Search()
    search.root(telling)
    return search.found


def _tells(member: Member, keys: frozenset[str]) -> bool:
    """Whether a member is worth a walk: for its own name, or for one below it."""
    if _is_telling(member.key):
        return True
    if keys <= _SILENT:  # nearly every body: words of nearly every API
        return False
    # Items of the responses API name others by `id`, under which most APIs have their own.
    return any(map(_is_telling, keys)) or (fold(member.key) == "input" and "id" in map(fold, keys))


@remembered
def _is_telling(key: str) -> bool:
    if key in _SILENT:
        return False
    name = fold(key)
    return name in _ALL_KEYS or bool(_URL_KEY.fullmatch(name) or _FILE_KEY.fullmatch(name))


def fold(name: str) -> str:
    """A key as the most lenient reader compares it."""
    if not name.isascii():
        for clothed, plain in _GO_FOLDS:
            name = name.replace(clothed, plain)
    return name.partition("\0")[0].strip().replace("_", "").replace("-", "").casefold()


class _Search:
    """One walk. Depth is bounded by the document's."""

    def __init__(self) -> None:
        self.found = Findings()

    def root(self, members: Object) -> None:
        """The body, and what vendors let a client nest as if it were the body."""
        folded = _fold_all(members)
        for name, value in folded.items():
            family = _SWITCHES.get(name)
            # An empty object switches it on, too: `web_search_options: {}` means with its defaults.
            if family is not None and value not in (None, False, []):
                self._tool(family, name)
            if name == "prompt" and isinstance(value, dict):
                self._tool("stored_prompt", "prompt")
            if name in ("extrabody", "google") and isinstance(value, dict):
                self.root(value)
            else:
                self._member("", name, value)

    def _member(self, kind: str, name: str, value: Any) -> None:
        """One member of an object whose `type` is `kind`."""
        if name in _OPAQUE or (kind in _CALLS and name in _CALL_BODY):
            return
        if name in _REFERENCES:
            self._refer(value)
        elif name == "tools" and isinstance(value, list):
            for tool in value:
                self._judge_tool(tool)
        if _URL_KEY.fullmatch(name) or _FILE_KEY.fullmatch(name):
            self._urls(value, certain=bool(_URL_KEY.fullmatch(name)))
        self._walk(value, name)

    def _walk(self, value: Any, name: str = "") -> None:
        if isinstance(value, list):
            for item in value:
                if isinstance(item, dict | list):
                    self._walk(item, name)
        elif isinstance(value, dict):
            members = _fold_all(value)
            kind = _text(members.get("type"))
            if kind in _REPORTS:
                return
            if kind == "itemreference" or (
                kind == "reasoning" and not members.get("encryptedcontent")
            ):
                self._refer(members.get("id"))
            for key, below in members.items():
                self._member(kind or name, key, below)

    def _judge_tool(self, tool: Any) -> None:
        if not isinstance(tool, dict):
            return
        members = _fold_all(tool)
        if "type" in members:
            whole = members["type"] if isinstance(members["type"], str) else ""
            family = _VERSION.sub("", whole.strip().casefold())
            if fold(_base(family)) not in _CLIENT_TOOLS and family != "namespace":
                self._tool(family or "unknown", whole)
        elif not ("name" in members and "inputschema" in members):
            for name in members:
                if name not in _CLIENT_KEYS:
                    self._tool(_spelt(tool, name), name)

    def _tool(self, family: str, whole: str) -> None:
        if len(self.found.tools) < MAX_FINDINGS:
            self.found.tools[family[:MAX_SHOWN]] = whole[:MAX_SHOWN]

    def _refer(self, value: Any) -> None:
        for item in value if isinstance(value, list) else [value]:
            found = item.get("id") if isinstance(item, dict) else item
            if isinstance(found, str):
                _add(self.found.references, found)

    def _urls(self, value: Any, *, certain: bool) -> None:
        """A text under such a key is where something is, unless it is the thing itself."""
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, str) or not item or item[:5].casefold() == "data:":
                continue
            if certain or _SCHEME.match(item):
                _add(self.found.urls, item)


def _add(found: list[str], what: str) -> None:
    if len(found) >= MAX_FINDINGS:
        raise MalformedBody(f"the request body names more than {MAX_FINDINGS} URLs or objects", 413)
    found.append(what)


def _base(family: str) -> str:
    """`tool_search_tool_regex` is a tool_search_tool; `text_editor` is itself."""
    return "tool_search_tool" if family.startswith("tool_search_tool_") else family


def _spelt(tool: Object, folded: str) -> str:
    """The key as a client wrote it, in the spelling that a route's list has (googleSearch)."""
    whole = next(key for key in tool if fold(key) == folded)
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", whole).casefold()


def _fold_all(members: Object) -> dict[str, Any]:
    folded = {fold(key): value for key, value in members.items()}
    if len(folded) != len(members):
        raise MalformedBody("the request body has two keys that some servers read as the same")
    return folded


def _text(value: Any) -> str:
    return fold(value) if isinstance(value, str) else ""
