"""Owns: `netmgr provider ...`: above all how a credential comes in without being shown.

Values are read here, by the client, and go to the daemon; they are never printed, and this process
leaves no core in which they could be found.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from netmgr.errors import BadInput, did_you_mean
from netmgr.process import confine
from netmgr_cli import render, screen
from netmgr_cli.options import Format, Session, need_root, parse_pairs, shows, speaks

MAX_CREDENTIAL: Final = 8192  # bytes; the daemon takes no more


@click.group()
def provider() -> None:
    """Keep the credentials of model providers. Values go in, and are never shown again.

    \b
    Examples:
      netmgr provider create --name nim --type nvidia --credential NVIDIA_API_KEY
      netmgr provider list
    """


def _credential_option(command: Any) -> Any:
    return click.option(
        "--credential",
        "credentials",
        metavar="K[=V|=@FILE|=-]",
        multiple=True,
        help="A credential: K reads the environment, K=@FILE a file, K=- stdin. K=V is seen by "
        "everyone who lists processes.",
    )(command)


def _config_option(command: Any) -> Any:
    return click.option(
        "--config",
        metavar="K=V",
        multiple=True,
        help="A setting, for example OPENAI_BASE_URL=https://llm.example.com/v1.",
    )(command)


@provider.command()
@click.option("--name", required=True, help="What the provider is called here.")
@click.option("--type", "kind", required=True, help="Its kind: see `netmgr provider types`.")
@_credential_option
@click.option("--from-existing", is_flag=True, help="Take the type's usual variables as they are.")
@_config_option
@shows
@speaks
def create(session: Session, output: Format, **given: Any) -> None:
    """Store a provider and its credentials, encrypted.

    \b
    Examples:
      netmgr provider create --name openai --type openai --from-existing
      pass show nim | netmgr provider create --name nim --type nvidia \\
        --credential NVIDIA_API_KEY=-
      netmgr provider create --name local --type openai \\
        --credential OPENAI_API_KEY=@key \\
        --config OPENAI_BASE_URL=http://host.openshell.internal:8000/v1
    """
    from netmgr import calls

    need_root("provider create")
    config = parse_pairs(given["config"], "--config")
    credentials = read_credentials(given["credentials"])
    with session.client() as client:
        if given["from_existing"]:
            types = client.send(calls.provider_types())
            credentials = discover(given["kind"], types, os.environ) | credentials
        answer = client.send(
            calls.provider_create(given["name"], given["kind"], credentials, config)
        )
    screen.show(answer, render.provider(answer), output)


@provider.command(name="list")
@shows
@speaks
def list_(session: Session, output: Format) -> None:
    """List providers, with the names of their credentials.

    \b
    Example:
      netmgr provider list -o yaml
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.provider_list())
    screen.show(answer, render.provider_list(answer), output)


@provider.command()
@click.argument("name")
@shows
@speaks
def get(session: Session, name: str, output: Format) -> None:
    """Show one provider.

    \b
    Example:
      netmgr provider get nim
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.provider_get(name))
    screen.show(answer, render.provider(answer), output)


@provider.command()
@click.argument("name")
@_credential_option
@_config_option
@shows
@speaks
def update(session: Session, name: str, output: Format, **given: Any) -> None:
    """Replace credentials or settings of a provider; what is not named stays.

    An empty value (K=) removes the key. In force when the command returns.

    \b
    Examples:
      netmgr provider update nim --credential NVIDIA_API_KEY
      netmgr provider update local --config OPENAI_BASE_URL=
    """
    from netmgr import calls

    need_root("provider update")
    config = parse_pairs(given["config"], "--config")
    if not config and not given["credentials"]:
        raise BadInput("nothing to change: give --credential or --config")
    credentials = read_credentials(given["credentials"])
    with session.client() as client:
        answer = client.send(calls.provider_update(name, credentials, config))
    screen.show(answer, render.provider(answer), output)


@provider.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also where inference routes use it: they end.")
@speaks
def delete(session: Session, name: str, force: bool) -> None:
    """Delete a provider. One that an inference route uses is a conflict (4) without --force.

    \b
    Example:
      netmgr provider delete nim
    """
    from netmgr import calls

    need_root("provider delete")
    with session.client() as client:
        client.send(calls.provider_delete(name, force=force))
    screen.note(f"{name} deleted")


@provider.command()
@shows
@speaks
def types(session: Session, output: Format) -> None:
    """List the kinds of provider that this build knows.

    \b
    Example:
      netmgr provider types
    """
    from netmgr import calls

    with session.client() as client:
        answer = client.send(calls.provider_types())
    screen.show(answer, render.provider_types(answer), output)


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
    return word


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
