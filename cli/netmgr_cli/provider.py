"""Owns: `netmgr provider ...`. How a value comes in stands in netmgr_cli.credentials."""

import os
from collections.abc import Iterable
from typing import Any, Final

import click

from netmgr.errors import BadInput
from netmgr.inference.refresh import STRATEGIES
from netmgr_cli import render, screen
from netmgr_cli.credentials import discover, read_credentials, read_expiries
from netmgr_cli.options import Format, Session, need_root, parse_pairs, read_text, shows, speaks
from netmgr_cli.provider_refresh import material_options, read_renewal, refresh

_MATERIAL: Final = ("material", "secret_material_env", "secret_material_key")


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
@click.option(
    "--from-existing",
    is_flag=True,
    help="Take what its users have: the type's usual variables, OpenCode's keys, gcloud's login.",
)
@_config_option
@_expiry_option
@material_options(strategy_required=False)
@shows
@speaks
def create(session: Session, output: Format, **given: Any) -> None:
    """Store a provider and its credentials, encrypted.

    With --strategy a credential is not given but fetched, at once and again before each end; where
    none comes, nothing is stored.

    \b
    Examples:
      netmgr provider create --name openai --type openai --from-existing
      pass show nim | netmgr provider create --name nim --type nvidia \\
        --credential NVIDIA_API_KEY=-
      netmgr provider create --name local --type openai \\
        --credential OPENAI_API_KEY=@key \\
        --config OPENAI_BASE_URL=http://host.openshell.internal:8000/v1
      netmgr provider create --name vertex --type google-vertex-ai \\
        --from-existing --config VERTEX_AI_PROJECT_ID=my-project-1
      netmgr provider create --name bedrock --type aws-bedrock \\
        --strategy aws-sts-assume-role \\
        --material role_arn=arn:aws:iam::123456789012:role/models \\
        --secret-material-env access_key_id=AWS_ACCESS_KEY_ID \\
        --secret-material-env secret_access_key=AWS_SECRET_ACCESS_KEY
    """
    from netmgr import provider_calls

    need_root("provider create")
    config = read_config(given["config"])
    expires = read_expiries(given["expires"])
    credentials = read_credentials(given["credentials"])
    renewal = _renewal(given)
    with session.client() as client:
        if given["from_existing"]:
            types = client.send(provider_calls.provider_types())
            found = discover(given["kind"], types, os.environ)
            credentials, renewal = found.credentials | credentials, found.renewal
        answer = client.send(
            provider_calls.provider_create(
                given["name"], given["kind"], credentials, config, expires, renewal
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


def _renewal(given: dict[str, Any]) -> dict[str, Any] | None:
    """How the new provider's credential is fetched; None where it is given.

    Raises:
        BadInput: material without a strategy, two ways at once, or as `read_renewal`.
    """
    if given["strategy"] is None:
        if any(given[name] for name in _MATERIAL):
            raise BadInput(f"material is for a strategy: --strategy {' or '.join(STRATEGIES)}")
        return None
    if given["from_existing"]:
        raise BadInput("--from-existing and --strategy: one of them says where the key comes from")
    return read_renewal(given)


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
