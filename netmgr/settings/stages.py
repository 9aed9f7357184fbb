"""Owns: the settings of request middlewares: which there are beside netmgr's, and who runs them.

Knows nothing of what a middleware says.
"""
# ruff: noqa: RUF009 - the calls below return dataclasses.field()

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from netmgr.middleware.bounds import STAGE_S, STAGE_SPAN_S
from netmgr.middleware.catalogue import own_name_problem
from netmgr.settings.fields import account, value
from netmgr.settings.values import Account, parse_flag, parse_seconds

MAX_OWN: Final = 32  # middlewares of an operator's; each program is a process
MAX_WORDS: Final = 64

Programs = tuple[tuple[str, tuple[str, ...]], ...]


def parse_plug_ins(raw: Any) -> tuple[str, ...]:
    """Names of middlewares.

    Raises:
        ValueError: what was expected.
    """
    if not isinstance(raw, list) or len(raw) > MAX_OWN:
        raise ValueError(f"expected a list of at most {MAX_OWN} names")
    for name in raw:
        _check_name(name)
    return tuple(raw)


def parse_programs(raw: Any) -> Programs:
    """Middlewares and the command of each: an absolute path and its arguments.

    Raises:
        ValueError: what was expected.
    """
    if not isinstance(raw, dict) or len(raw) > MAX_OWN:
        raise ValueError(f"expected at most {MAX_OWN} names, each with a command")
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, words in raw.items():
        _check_name(name)
        command = [words] if isinstance(words, str) else words
        if not isinstance(command, list) or not 1 <= len(command) <= MAX_WORDS:
            raise ValueError(f"{name}: expected a path, or a list of a path and its arguments")
        if not all(isinstance(word, str) and word.isprintable() for word in command):
            raise ValueError(f"{name}: expected printable words")
        if not Path(command[0]).is_absolute():
            raise ValueError(f"{name}: {command[0]!r} is no absolute path")
        found.append((name, tuple(command)))
    return tuple(found)


def _check_name(name: Any) -> None:
    if problem := own_name_problem(str(name)):
        raise ValueError(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """The part of netmgr.settings.table.Settings that middlewares have."""

    middleware_plug_ins: tuple[str, ...] = value(
        "Middlewares",
        (),
        parse_plug_ins,
        "Middlewares `VENDOR/NAME` that run in the scan worker: entry points `VENDOR:NAME` of the "
        "group `netmgr.middleware` in packages that are installed beside netmgr.",
    )
    middleware_programs: Programs = value(
        "Middlewares",
        (),
        parse_programs,
        "Middlewares `VENDOR/NAME` that are programs of their own: each a path, or a list of a "
        "path and arguments. They read questions and write answers, a line of JSON each "
        "(docs/middleware.md).",
        shown="`{}`",
    )
    middleware_timeout_s: float = value(
        "Middlewares",
        STAGE_S,
        parse_seconds,
        "How long one stage may take for one request.",
        unit="seconds",
        least=STAGE_SPAN_S[0],
        most=STAGE_SPAN_S[1],
    )
    scan_ready: bool = value(
        "Middlewares",
        False,
        parse_flag,
        "Keep the scan worker running (40 MB) while no policy has middlewares, so that the first "
        "one that has need not wait a second for it. Implied by plug-ins and programs.",
    )
    scan_account: Account = account(4, "scan worker")
    middleware_account: Account = account(5, "operator's middleware programs")
    router_account: Account = account(6, "operator's router programs")

    @property
    def registered_middlewares(self) -> frozenset[str]:
        """The operator's own."""
        return frozenset((*self.middleware_plug_ins, *dict(self.middleware_programs)))
