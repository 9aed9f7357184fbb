"""Owns: the words of a provider: what its settings say, and what follows from that.

A type's texts (netmgr.inference.provider_type) are filled with them. Knows nothing of credentials.
"""

from collections.abc import Mapping

from netmgr.errors import BadInput
from netmgr.inference.provider_type import MODEL, ProviderType, UnknownWord, fill


def words_of(kind: ProviderType, config: Mapping[str, str]) -> dict[str, str]:
    """What the settings say, and what follows from them.

    Raises:
        BadInput: a value does not have the form of its setting.
    """
    words: dict[str, str] = {}
    for key, setting in kind.settings.items():
        value = config.get(key, setting.default)
        if value is None:
            continue
        if setting.form is not None and not setting.form.fullmatch(value):
            raise BadInput(f"config key {key}: {value!r}: expected {setting.expected}")
        words[setting.word] = value
    return _derived(kind, words)


def words_with_model(kind: ProviderType, config: Mapping[str, str], model: str) -> dict[str, str]:
    """The same for a route with that model.

    Raises:
        BadInput: as `words_of`.
    """
    return _derived(kind, words_of(kind, config) | {MODEL: model})


def _derived(kind: ProviderType, words: Mapping[str, str]) -> dict[str, str]:
    found = dict(words)
    for name, word in kind.words.items():
        if name not in found and (value := word.derive(found)) is not None:
            found[name] = value
    return found


def filled(kind: ProviderType, text: str, words: Mapping[str, str]) -> str:
    """`text` with its words filled in.

    Raises:
        BadInput: one has no value; the message says which setting gives it.
    """
    try:
        return fill(text, words)
    except UnknownWord as missing:
        raise BadInput(missing_word(kind, str(missing.args[0]))) from None


def missing_word(kind: ProviderType, word: str) -> str:
    """What to do where a word has no value."""
    for key, setting in kind.settings.items():
        if setting.word == word:
            basis = kind.words.get(word)
            why = f" (it does not follow from the {basis.of})" if basis is not None else ""
            return f"missing config key {key}: expected {setting.expected}{why}"
    return f"type {kind.name}: nothing says what {{{word}}} is here"
