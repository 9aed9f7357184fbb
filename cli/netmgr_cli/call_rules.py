"""Owns: the options of `netmgr inference set` and `update` for what calls over a route may be."""

from typing import Any, Final

import click

NOTHING: Final = "none"  # empties a list
_LISTS: Final = ("models", "server_tools", "remote_urls", "stored_objects")
_VALUES: Final = (
    "model_mode",
    "connect_timeout_s",
    "first_byte_timeout_s",
    "idle_timeout_s",
    "heartbeat_s",
    "plain_http",
)


def _seconds(option: str, name: str, what: str) -> Any:
    return click.option(option, name, type=click.FloatRange(min=0), metavar="S", help=what)


def _list(option: str, name: str, metavar: str, what: str) -> Any:
    more = f"{what}  [repeatable; 'none' empties the list]"
    return click.option(option, name, multiple=True, metavar=metavar, help=more)


def call_rules(command: Any) -> Any:
    """All of them; `rules_given` reads them."""
    for option in (
        click.option(
            "--plain-http/--no-plain-http",
            "plain_http",
            default=None,
            help="Serve http://inference.local too: unencrypted, inside the sandbox's own link.",
        ),
        _seconds(
            "--heartbeat", "heartbeat_s", "An SSE comment after S seconds of silence; 0: none."
        ),
        _seconds("--idle-timeout", "idle_timeout_s", "Seconds between two chunks of a stream."),
        _seconds("--first-byte-timeout", "first_byte_timeout_s", "Seconds until an answer begins."),
        _seconds("--connect-timeout", "connect_timeout_s", "Seconds until a connection stands."),
        _list("--stored-object", "stored_objects", "ID", "A vector store or file all may name."),
        _list("--remote-url-host", "remote_urls", "HOST", "Where the provider may fetch from."),
        _list("--server-tool", "server_tools", "TOOL", "What the provider may run: web_search."),
        _list("--allow-model", "models", "MODEL", "What may be named in mode passthrough."),
        click.option(
            "--model-mode",
            type=click.Choice(["override", "reject", "passthrough"]),
            help="What becomes of the model that a client names.  [default: override]",
        ),
    ):
        command = option(command)
    return command


def rules_given(given: dict[str, Any]) -> dict[str, Any]:
    """The rules among a command's options, as the control API takes them; only what was said."""
    rules = {name: given[name] for name in _VALUES if given[name] is not None}
    for name in _LISTS:
        if words := given[name]:
            rules[name] = [word for word in words if word != NOTHING]
    return rules
