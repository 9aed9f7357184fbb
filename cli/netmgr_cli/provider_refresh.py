"""Owns: `netmgr provider refresh ...`: credentials that renew themselves."""

from collections.abc import Callable
from typing import Any

import click

from netmgr.errors import BadInput
from netmgr.inference.refresh import STRATEGIES, strategy_of
from netmgr_cli import render, screen
from netmgr_cli.credentials import read_value, read_variable
from netmgr_cli.options import Format, Session, need_root, parse_pairs, shows, speaks


@click.group()
def refresh() -> None:
    """Let a credential renew itself: OAuth 2, Google, AWS STS, SPIFFE.

    \b
    Examples:
      netmgr provider refresh configure corp \\
        --strategy oauth2-client-credentials \\
        --material token_url=https://id.example.com/token \\
        --material client_id=netmgr --secret-material-env client_secret=CORP
      netmgr provider refresh status corp
    """


def _key_option(command: Any) -> Any:
    return click.option("--key", help="Which credential; usually the provider's only one.")(command)


def material_options(*, strategy_required: bool) -> Callable[[Any], Any]:
    """The options that say how a credential renews itself; `read_renewal` reads them."""

    def add(command: Any) -> Any:
        for option in (
            click.option(
                "--secret-material-key",
                metavar="K",
                multiple=True,
                help="Keep this material secret, too, although the strategy does not ask for that.",
            ),
            click.option(
                "--secret-material-env",
                metavar="K[=VARIABLE]",
                multiple=True,
                help="A secret from the environment; without VARIABLE from the variable K.",
            ),
            click.option(
                "--material",
                metavar="K[=V|=@FILE|=-]",
                multiple=True,
                help="What the strategy needs. A secret comes as K=@FILE or K=-, never as K=V.",
            ),
            click.option(
                "--strategy",
                required=strategy_required,
                help=f"How it renews itself: {', '.join(sorted(STRATEGIES))}.",
            ),
        ):
            command = option(command)
        return command

    return add


def read_renewal(given: dict[str, Any]) -> dict[str, Any]:
    """How a credential renews itself, as the API takes it. Secrets are read.

    Args:
        given: the command's options, `strategy` among them.

    Raises:
        BadInput: no such strategy, a secret on the command line, or one that cannot be read.
    """
    from netmgr import provider_calls

    secret_names = {*strategy_of(given["strategy"]).secret_names, "key_file"}
    secret_names |= set(given["secret_material_key"])
    material, secrets = _read_material(given["material"], secret_names)
    for word in given["secret_material_env"]:
        key, _, variable = word.partition("=")
        if key in material or key in secrets:
            raise BadInput(f"--secret-material-env {key}: given twice")
        secrets[key] = read_variable(variable or key, f"--secret-material-env {key}")
    return provider_calls.renewal(given["strategy"], material, secrets, key=given.get("key"))


@refresh.command()
@click.argument("name")
@shows
@speaks
def status(session: Session, name: str, output: Format) -> None:
    """Show what renews itself, until when it holds, and what went wrong.

    \b
    Example:
      netmgr provider refresh status corp
    """
    from netmgr import provider_calls

    with session.client() as client:
        answer = client.send(provider_calls.refresh_status(name))
    screen.show(answer, render.refreshes(answer), output)


@refresh.command()
@click.argument("name")
@_key_option
@material_options(strategy_required=True)
@shows
@speaks
def configure(session: Session, name: str, output: Format, **given: Any) -> None:
    """Renew a credential by itself from now on. The first token is fetched at once; where none
    comes, nothing is stored.

    \b
    Examples:
      netmgr provider refresh configure vertex \\
        --strategy google-service-account-jwt \\
        --material key_file=@service-account.json
      netmgr provider refresh configure bedrock \\
        --strategy aws-sts-assume-role \\
        --material role_arn=arn:aws:iam::123456789012:role/models \\
        --secret-material-env access_key_id=AWS_ACCESS_KEY_ID \\
        --secret-material-env secret_access_key=AWS_SECRET_ACCESS_KEY
    """
    from netmgr import provider_calls

    need_root("provider refresh configure")
    renewal = read_renewal(given)
    with session.client() as client:
        answer = client.send(provider_calls.refresh_configure(name, renewal))
    screen.show(answer, render.refreshes(answer), output)


@refresh.command()
@click.argument("name")
@_key_option
@shows
@speaks
def rotate(session: Session, name: str, key: str | None, output: Format) -> None:
    """Renew now. In force when the command returns.

    \b
    Example:
      netmgr provider refresh rotate corp
    """
    from netmgr import provider_calls

    need_root("provider refresh rotate")
    with session.client() as client:
        answer = client.send(provider_calls.refresh_rotate(name, key=key))
    screen.show(answer, render.refreshes(answer), output)


@refresh.command()
@click.argument("name")
@_key_option
@speaks
def delete(session: Session, name: str, key: str | None) -> None:
    """Renew no longer; the token that is there stays until it ends.

    \b
    Example:
      netmgr provider refresh delete corp
    """
    from netmgr import provider_calls

    need_root("provider refresh delete")
    with session.client() as client:
        client.send(provider_calls.refresh_delete(name, key=key))
    screen.note(f"{name} renews itself no longer")


def _read_material(
    words: tuple[str, ...], secret_names: set[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Public and secret material.

    Raises:
        BadInput: a secret stands on the command line, a file cannot be read.
    """
    if sum(word.endswith("=-") for word in words) > 1:
        raise BadInput("--material: only one value can come from stdin")
    material: dict[str, str] = {}
    secrets: dict[str, str] = {}
    for key, word in parse_pairs(words, "--material").items():
        if key not in secret_names:
            material[key] = read_value(word, f"--material {key}")
        elif word == "-" or word.startswith("@"):
            secrets[key] = read_value(word, f"--material {key}")
        else:
            raise BadInput(
                f"--material {key}: a secret on the command line is seen by everyone who lists "
                f"processes; give {key}=@FILE, {key}=- or --secret-material-env {key}=VARIABLE"
            )
    return material, secrets
