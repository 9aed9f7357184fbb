"""Owns: reading /etc/netmgr/netmgr.yaml and the host's resolv.conf into settings.

Every problem of a file is told at once, each as `file:line: key: what was expected`.
Knows nothing of which keys there are (netmgr.settings.table) nor what they mean.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import yaml

from netmgr.errors import BadInput, did_you_mean
from netmgr.settings.table import Settings, settings_keys
from netmgr.settings.values import Nameserver

DEFAULT_CONFIG: Final = Path("/etc/netmgr/netmgr.yaml")
CONFIG_VARIABLE: Final = "NETMGR_CONFIG"
HOST_RESOLV_CONF: Final = Path("/etc/resolv.conf")
MAX_CONFIG_BYTES: Final = 256 * 1024  # a hundred keys; more is not a configuration
MAX_NAMESERVERS: Final = 8  # more only add time-outs; resolv.conf(5) itself takes three


def load_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Settings from a file.

    Args:
        path: the file; None means NETMGR_CONFIG, else the default path, which may be absent.
        overrides: settings that the command line gives; None means not given. `instance` may
            be a plain text.

    Raises:
        BadInput: the file cannot be read or says something wrong.
    """
    chosen, required = _choose(path)
    values = parse_settings(_read(chosen, required), str(chosen))
    keys = settings_keys()
    for name, raw in overrides.items():
        if raw is not None:
            try:
                values[name] = keys[name].accept(str(raw) if isinstance(raw, Path) else raw)
            except ValueError as problem:
                raise BadInput(f"--{name.replace('_', '-')}: {problem}") from None
    try:
        return Settings(**values)
    except BadInput as problem:
        raise BadInput(f"{chosen}: {problem.message}") from None


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """The values that a configuration text gives.

    Raises:
        BadInput: one message with a line for each problem.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    lines: dict[str, int] = {}
    keys = settings_keys()
    for name, line, raw in _entries(text, source):
        where = f"{source}:{line}: {name}"
        if name not in keys:
            problems.append(f"{where}: unknown key{did_you_mean(name, keys)}")
        elif name in lines:
            problems.append(f"{where}: given twice, first in line {lines[name]}")
        else:
            lines[name] = line
            try:
                values[name] = keys[name].accept(raw)
            except ValueError as problem:
                problems.append(f"{where}: {problem}")
    if problems:
        raise BadInput("\n".join(problems), problems=problems)
    return values


def non_default(settings: Settings) -> Mapping[str, Any]:
    """The settings that differ from their default, for a line in the log."""
    plain = Settings.for_instance(settings.instance)
    return {
        f.name: value
        for f in fields(settings)
        if (value := getattr(settings, f.name)) != getattr(plain, f.name)
    }


def upstream_nameservers(
    settings: Settings, resolv_conf: Path = HOST_RESOLV_CONF
) -> tuple[Nameserver, ...]:
    """The DNS servers that the dialer asks: the configured ones, else the host's.

    An absent resolv.conf means 127.0.0.1, as resolv.conf(5) has it.
    """
    if settings.dns_servers:
        return settings.dns_servers
    try:
        text = resolv_conf.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    return parse_resolv_conf(text) or (Nameserver("127.0.0.1"),)


def parse_resolv_conf(text: str) -> tuple[Nameserver, ...]:
    """The servers of a resolv.conf(5) in order; lines that make no sense are passed over, as the C
    library does."""
    servers: list[Nameserver] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            server = Nameserver(str(ip_address(words[1])))
        except ValueError:
            continue
        if server not in servers:
            servers.append(server)
    return tuple(servers[:MAX_NAMESERVERS])


def _choose(path: Path | None) -> tuple[Path, bool]:
    if path is not None:
        return path, True
    variable = os.environ.get(CONFIG_VARIABLE)
    return (Path(variable), True) if variable else (DEFAULT_CONFIG, False)


def _read(path: Path, required: bool) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        if not required:
            return ""
        raise BadInput(f"{path}: there is no such file") from None
    except OSError as problem:
        raise BadInput(f"{path}: {problem.strerror}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise BadInput(f"{path}: longer than {MAX_CONFIG_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as problem:
        line = data[: problem.start].count(b"\n") + 1
        raise BadInput(f"{path}:{line}: not UTF-8") from None


def _entries(text: str, source: str) -> Iterator[tuple[str, int, Any]]:
    """(key, line, plain value) of each entry of the file's mapping."""
    try:
        _refuse_unfolding(text, source)
        loader = yaml.SafeLoader(text)
        try:
            yield from _entries_of(loader, source)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise BadInput(f"{where}: not valid YAML: {problem.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        why = " ".join(str(problem).split())
        raise BadInput(f"{source}: not valid YAML: {why}") from None


def _entries_of(loader: yaml.SafeLoader, source: str) -> Iterator[tuple[str, int, Any]]:
    root = loader.get_single_node()
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise BadInput(f"{source}:{_line(root)}: expected `key: value` lines")
    for key, value in root.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
        yield name, _line(key), loader.construct_object(value, deep=True)


def _refuse_unfolding(text: str, source: str) -> None:
    """Settings are words and short lists: aliases could unfold a few lines to gigabytes, and a tag
    on a value that does not fit it raises what it likes in PyYAML.

    Raises:
        BadInput: the text has one of them.
    """
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{source}:{event.start_mark.line + 1 if event.start_mark else 0}"
        if isinstance(event, yaml.AliasEvent):
            raise BadInput(f"{where}: write out what the alias *{event.anchor} stands for")
        tag = getattr(event, "tag", None)
        if tag not in (None, "!"):
            raise BadInput(f"{where}: the tag {tag!r} means nothing here; remove it")


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
