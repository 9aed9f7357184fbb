"""Owns: what a kind of provider is, as a value: how it is found, shown the key, and spoken to.

Knows nothing of the files that such values come from (netmgr.inference.type_file) nor of any
single kind. Texts may have words in braces (`{region}`): a setting that the operator gives, or one
that is derived from others; `{model}` is always one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from netmgr.inference.dialect import AuthStyle, CallShape, ModelList
from netmgr.inference.pattern import Pattern
from netmgr.inference.protocols import Protocol

ANY_QUERY: Final = frozenset({"*"})
MODEL: Final = "model"  # the word that every type has
_WORD: Final = re.compile(r"\{([a-z_]+)\}")


class UnknownWord(KeyError):
    """A text has a word that has no value. `args[0]` is the word."""


@dataclass(frozen=True, slots=True)
class AuthMethod:
    """One way to be let in: with which credentials, and where they may go.

    Attributes:
        credentials: every one of them is needed.
        optional: these go along where they are given.
        header: for AuthStyle.HEADER.
        hosts: domains below which the credential may be sent, by https on port 443 only; empty is
            anywhere that a base URL may lead.
        needs_base_url: whether the type's own base URL does not do for this method.
    """

    style: AuthStyle
    credentials: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    header: str = ""
    service: str = ""
    region: str = ""
    hosts: tuple[str, ...] = ()
    needs_base_url: bool = False

    def fits(self, given: frozenset[str]) -> bool:
        """Whether exactly these credentials are what it wants."""
        return set(self.credentials) <= given <= {*self.credentials, *self.optional}


@dataclass(frozen=True, slots=True)
class Setting:
    """A config key of one type.

    Attributes:
        word: what its value is called in texts.
        form: the regular expression that a value has to match whole.
        expected: the same in words, for an error.
    """

    word: str
    required: bool = False
    default: str | None = None
    form: re.Pattern[str] | None = None
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """A word that follows from another.

    Attributes:
        of: the other.
        exact: value of the other -> this one's.
        prefix: how the other begins -> this one's; the longest counts.
        otherwise: text for all else; None where there is nothing else.
    """

    of: str
    exact: Mapping[str, str] = field(default_factory=dict)
    prefix: Mapping[str, str] = field(default_factory=dict)
    otherwise: str | None = None

    def derive(self, words: Mapping[str, str]) -> str | None:
        """The value; None where nothing fits."""
        basis = words.get(self.of)
        if basis is None:
            return None
        if basis in self.exact:
            return self.exact[basis]
        fitting = [start for start in self.prefix if basis.startswith(start)]
        if fitting:
            return self.prefix[max(fitting, key=len)]
        return fill(self.otherwise, words) if self.otherwise is not None else None


@dataclass(frozen=True, slots=True)
class Variant:
    """How a type is spoken to where its words have certain values.

    Attributes:
        when: word -> value; all must hold.
        model: text of the model as the provider calls it.
        base_url_fixed: whether the base URL may not be replaced.
    """

    protocols: tuple[Protocol, ...]
    when: Mapping[str, str] = field(default_factory=dict)
    model: str = "{model}"
    base_url_fixed: bool = False
    forward_headers: frozenset[str] = frozenset()
    add_headers: tuple[tuple[str, str], ...] = ()
    calls: Mapping[str, CallShape] = field(default_factory=dict)
    models: ModelList = ModelList.PASSTHROUGH

    def holds(self, words: Mapping[str, str]) -> bool:
        """Whether it is meant."""
        return all(words.get(word) == value for word, value in self.when.items())


@dataclass(frozen=True, slots=True)
class ProviderType:
    """One kind of provider.

    Attributes:
        name: what `provider create --type` calls it.
        aliases: other spellings that people use.
        title: for a person, one line.
        source: the file that it came from, or 'built in'.
        base_url: text of the base URL; None where the operator has to give one.
        base_url_keys: config keys that replace it, the first that is given counts.
        base_url_query: whether a base URL may have a query.
        base_url_hosts: domains of the vendor's own, on which a base URL's path is one of
            `base_url_paths` (`*` is one segment, `?NAME` a query that goes with it); none is the
            first of them. Elsewhere (a gateway) it may be any.
        auth: the ways to be let in, in their order.
        discovery: environment variables that `--from-existing` reads.
        adc: the credential that Google's application default credentials renew; '' is none.
        forward_query: names of the client's query that go on; '*' is any.
        segment_model: whether the model stands in a path, and so is one plain segment of it.
        mock: whether a provider may be made up (`mock://NAME`): in the test mode only.
        patterns: requests that it answers beside those that every version knows.
    """

    name: str
    title: str
    source: str
    variants: tuple[Variant, ...]
    auth: tuple[AuthMethod, ...]
    aliases: tuple[str, ...] = ()
    base_url: str | None = None
    base_url_keys: tuple[str, ...] = ()
    base_url_query: bool = False
    base_url_hosts: tuple[str, ...] = ()
    base_url_paths: tuple[str, ...] = ()
    path_prefix: str | None = None
    settings: Mapping[str, Setting] = field(default_factory=dict)
    words: Mapping[str, Word] = field(default_factory=dict)
    discovery: tuple[str, ...] = ()
    adc: str = ""
    forward_query: frozenset[str] = ANY_QUERY
    segment_model: bool = False
    patterns: tuple[Pattern, ...] = ()
    mock: bool = False

    @property
    def credential_names(self) -> tuple[str, ...]:
        """Every credential that some way of being let in takes."""
        names = [n for method in self.auth for n in (*method.credentials, *method.optional)]
        return tuple(dict.fromkeys(names))

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """Every protocol that some variant speaks."""
        return tuple(dict.fromkeys(p for variant in self.variants for p in variant.protocols))


def fill(text: str, words: Mapping[str, str]) -> str:
    """`text` with its words replaced by their values.

    Raises:
        UnknownWord: one has none.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in words:
            raise UnknownWord(found[1])
        return words[found[1]]

    return _WORD.sub(value, text)


def fill_known(text: str, words: Mapping[str, str]) -> str:
    """The same, where words without a value stay as they are."""
    return _WORD.sub(lambda found: words.get(found[1], found[0]), text)


def words_in(text: str) -> frozenset[str]:
    """The words that a text has."""
    return frozenset(_WORD.findall(text))
