"""Owns: `netmgr provider ...`. How a value comes in stands in netmgr_cli.credentials."""

import os
from collections.abc import Iterable
from typing import Any

import click

from netmgr.errors import BadInput
from netmgr_cli import render, screen
from netmgr_cli.credentials import discover, read_credentials, read_expiries
from netmgr_cli.options import Format, Session, need_root, parse_pairs, read_text, shows, speaks
from netmgr_cli.provider_refresh import refresh


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
        help="A setting, for example OPENAI_BASE_URL=https://llm.example.com/v1; of keys that "
        "end in _PEM also K=@FILE.",
    )(command)


def _expiry_option(command: Any) -> Any:
    return click.option(
        "--credential-expires-at",
        "expires",
        metavar="K=TIME",
        multiple=True,
        help="When a credential ends: RFC 3339, epoch milliseconds, or 0 for never.",
    )(command)


@provider.command()
@click.option("--name", required=True, help="What the provider is called here.")
@click.option("--type", "kind", required=True, help="Its kind: see `netmgr provider types`.")
@_credential_option
@click.option("--from-existing", is_flag=True, help="Take the type's usual variables as they are.")
@_config_option
@_expiry_option
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
    from netmgr import provider_calls

    need_root("provider create")
    config = read_config(given["config"])
    expires = read_expiries(given["expires"])
    credentials = read_credentials(given["credentials"])
    with session.client() as client:
        if given["from_existing"]:
            types = client.send(provider_calls.provider_types())
            credentials = discover(given["kind"], types, os.environ) | credentials
        answer = client.send(
            provider_calls.provider_create(
                given["name"], given["kind"], credentials, config, expires
            )
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
    from netmgr import provider_calls

    with session.client() as client:
        answer = client.send(provider_calls.provider_list())
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
    from netmgr import provider_calls

    with session.client() as client:
        answer = client.send(provider_calls.provider_get(name))
    screen.show(answer, render.provider(answer), output)


@provider.command()
@click.argument("name")
@_credential_option
@_config_option
@_expiry_option
@click.option("--force", is_flag=True, help="Also end calls under way with the old key.")
@shows
@speaks
def update(session: Session, name: str, output: Format, **given: Any) -> None:
    """Replace credentials or settings of a provider; what is not named stays.

    An empty value (K=) removes the key. In force when the command returns; streams that have
    begun end with the old key, or with --force at once.

    \b
    Examples:
      netmgr provider update nim --credential NVIDIA_API_KEY
      netmgr provider update local --config OPENAI_BASE_URL=
    """
    from netmgr import provider_calls

    need_root("provider update")
    config = read_config(given["config"])
    expires = read_expiries(given["expires"])
    if not config and not given["credentials"] and not expires:
        raise BadInput("nothing to change: give --credential, --config or --credential-expires-at")
    credentials = read_credentials(given["credentials"])
    with session.client() as client:
        answer = client.send(
            provider_calls.provider_update(name, credentials, config, expires, force=given["force"])
        )
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
    from netmgr import provider_calls

    need_root("provider delete")
    with session.client() as client:
        client.send(provider_calls.provider_delete(name, force=force))
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
    from netmgr import provider_calls

    with session.client() as client:
        answer = client.send(provider_calls.provider_types())
    screen.show(answer, render.provider_types(answer), output)


provider.add_command(refresh)


def read_config(words: Iterable[str]) -> dict[str, str]:
    """`K=V` words as a mapping, files of certificates read.

    Raises:
        BadInput: a word has no such form, or a file cannot be read.
    """
    pairs = parse_pairs(words, "--config")
    return {
        key: read_text(value[1:], f"--config {key}:")
        if key.endswith("_PEM") and value.startswith("@")
        else value
        for key, value in pairs.items()
    }
