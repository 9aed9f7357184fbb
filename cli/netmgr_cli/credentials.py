"""Owns: how a credential comes in without being shown: environment, file, stdin, what is there.

Values are read here, by the client, and go to the daemon; they are never printed, and this process
leaves no core in which they could be found.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.inference.expiry import parse_moment
from netmgr.process import confine
from netmgr_cli import adc, screen
from netmgr_cli.options import parse_pairs

MAX_CREDENTIAL: Final = 8192  # bytes; the daemon takes no more
MAX_CONFIG_FILE: Final = 1024 * 1024  # bytes of another program's configuration


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
    where = f"--credential {key}"
    if word is None:
        return read_variable(key, where)
    if word and word != "-" and not word.startswith("@"):
        screen.note(
            f"{where}: a value on the command line is seen by everyone who lists "
            f"processes; use {key}=@FILE, {key}=- or the environment"
        )
    return read_value(word, where)


def read_variable(name: str, where: str) -> str:
    """A value from the environment. From here on this process dumps no core.

    Args:
        where: what the value is for, in an error.

    Raises:
        BadInput: there is none of that name; the nearest is named.
    """
    confine.no_core_dumps()
    text = os.environ.get(name, "")
    if not text.strip():
        near = did_you_mean(name, (known for known, value in os.environ.items() if value))
        raise BadInput(f"{where}: the environment has no value of that name{near}")
    return text.strip()


def read_value(word: str, where: str) -> str:
    """`V`, `@FILE` or `-` (stdin) as the value. From here on this process dumps no core.

    Raises:
        BadInput: a file cannot be read, is too long, empty or no text.
    """
    confine.no_core_dumps()
    if word == "-":
        return _text(sys.stdin.buffer.read(MAX_CREDENTIAL + 1), where, "stdin")
    if word.startswith("@"):
        path = Path(word[1:])
        try:
            with path.open("rb") as file:
                return _text(file.read(MAX_CREDENTIAL + 1), where, str(path))
        except OSError as error:
            raise BadInput(f"{where}: {path}: {error.strerror}") from error
    return word


def read_expiries(words: Iterable[str]) -> dict[str, float]:
    """`K=TIME` as credential and epoch seconds.

    Raises:
        BadInput: no such form, or no time.
    """
    pairs = parse_pairs(tuple(words), "--credential-expires-at")
    return {k: parse_moment(text, f"--credential-expires-at {k}") for k, text in pairs.items()}


def _text(raw: bytes, where: str, source: str) -> str:
    """The value without surrounding space (files end in a newline, keys do not)."""
    if len(raw) > MAX_CREDENTIAL:
        raise BadInput(f"{where}: {source} holds more than {MAX_CREDENTIAL} bytes")
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        raise BadInput(f"{where}: {source} is no UTF-8") from None
    if not text:
        raise BadInput(f"{where}: {source} is empty")
    return text


@dataclass(frozen=True, slots=True)
class Found:
    """What was there already: credentials by name, or a way by which one renews itself."""

    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    renewal: dict[str, Any] | None = field(default=None, repr=False)


def discover(kind: str, answer: Mapping[str, Any], environ: Mapping[str, str]) -> Found:
    """What a type's users usually have: variables, then opencode.json, then gcloud's login.

    Args:
        answer: the daemon's list of types.

    Raises:
        BadInput: there is no such type, none of its variables is set and no file is there, or a
            file that is there cannot be used.
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
    found = found or {k: v for k, v in opencode_keys(environ).items() if k in names}
    if found:
        return Found(found)
    wanted = ", ".join(names) or "none is known for this type"
    missing = f"--from-existing: no variable of type {kind!r} is set ({wanted})"
    if not (key := str(types[kind].get("from_adc") or "")):
        raise BadInput(missing)
    renewal = adc.find_renewal(key, environ)
    if renewal is None:
        places = ", ".join(map(str, adc.places(environ)))
        raise BadInput(f"{missing}, and gcloud's login is not at {places}")
    return Found(renewal=renewal)


def opencode_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """Keys in OpenCode's own configuration (`provider.N.options.apiKey`), as `N_API_KEY`.

    A file that is absent or cannot be read as JSON has none: it is another program's business.
    """
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '/root')}/.config"
    try:
        with Path(home, "opencode", "opencode.json").open("rb") as file:
            config = json.loads(file.read(MAX_CONFIG_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    providers = config.get("provider") if isinstance(config, dict) else None
    found = {}
    for name, entry in (providers if isinstance(providers, dict) else {}).items():
        options = entry.get("options") if isinstance(entry, dict) else None
        key = options.get("apiKey") if isinstance(options, dict) else None
        if isinstance(key, str) and key.strip() and not key.startswith("{"):  # "{env:VARIABLE}"
            found[f"{name.upper().replace('-', '_')}_API_KEY"] = key.strip()
    return found
