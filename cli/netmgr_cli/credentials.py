"""Owns: how a credential comes in without being shown: environment, file, stdin, what is there.

Values are read here, by the client, and go to the daemon; they are never printed, and this process
leaves no core in which they could be found.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.inference.expiry import parse_moment
from netmgr.process import confine
from netmgr_cli import screen
from netmgr_cli.options import parse_pairs

MAX_CREDENTIAL: Final = 8192  # bytes; the daemon takes no more


def read_credentials(words: Iterable[str]) -> dict[str, str]:
    """`K`, `K=V`, `K=@FILE`, `K=-` as keys and values. From here on this process dumps no core.

    Raises:
        BadInput: a variable is not set, a file cannot be read, stdin is asked for twice.
    """
    confine.no_core_dumps()
    words = list(words)
    if sum(word.endswith("=-") for word in words) > 1:
        raise BadInput("--credential: only one value can come from stdin")
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key:
            raise BadInput(
                f"--credential: expected KEY, KEY=VALUE, KEY=@FILE or KEY=-, not {'='!r}..."
            )
        if key in found:
            raise BadInput(f"--credential {key}: given twice")
        found[key] = _value(key, value if equals else None)
    return found


def _value(key: str, word: str | None) -> str:
    if word is None:
        text = os.environ.get(key, "")
        if not text.strip():
            near = did_you_mean(key, (name for name, value in os.environ.items() if value))
            raise BadInput(f"--credential {key}: the environment has no value of that name{near}")
        return text.strip()
    if word == "-":
        return _only_line(sys.stdin.buffer.read(MAX_CREDENTIAL + 1), key, "stdin")
    if word.startswith("@"):
        path = Path(word[1:])
        try:
            with path.open("rb") as file:
                return _only_line(file.read(MAX_CREDENTIAL + 1), key, str(path))
        except OSError as error:
            raise BadInput(f"--credential {key}: {path}: {error.strerror}") from error
    if word:
        screen.note(
            f"--credential {key}: a value on the command line is seen by everyone who lists "
            f"processes; use {key}=@FILE, {key}=- or the environment"
        )
    return word


def read_expiries(words: Iterable[str]) -> dict[str, float]:
    """`K=TIME` as credential and epoch seconds.

    Raises:
        BadInput: no such form, or no time.
    """
    pairs = parse_pairs(tuple(words), "--credential-expires-at")
    return {k: parse_moment(text, f"--credential-expires-at {k}") for k, text in pairs.items()}


def _only_line(raw: bytes, key: str, source: str) -> str:
    """The value without surrounding space (files end in a newline, keys do not)."""
    if len(raw) > MAX_CREDENTIAL:
        raise BadInput(f"--credential {key}: {source} holds more than {MAX_CREDENTIAL} bytes")
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        raise BadInput(f"--credential {key}: {source} is no UTF-8") from None
    if not text:
        raise BadInput(f"--credential {key}: {source} is empty")
    return text


def discover(kind: str, answer: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Credentials of a type from the variables in which its users usually keep them.

    Args:
        answer: the daemon's list of types.

    Raises:
        BadInput: there is no such type, or none of its variables is set.
    """
    types = {str(item["type"]): item for item in answer["types"]}
    if kind not in types:
        raise BadInput(
            f"--type {kind!r}: no such type{did_you_mean(kind, types)} "
            f"(known: {', '.join(sorted(types))})"
        )
    confine.no_core_dumps()
    names = [str(name) for name in types[kind]["from_existing"]]
    found = {name: environ[name].strip() for name in names if environ.get(name, "").strip()}
    if not found:
        wanted = ", ".join(names) or "none is known for this type"
        raise BadInput(f"--from-existing: no variable of type {kind!r} is set ({wanted})")
    return found
