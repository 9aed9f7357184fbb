"""Owns: answers as blocks of text: which facts stand in which column. No I/O, no rich, no click.

A block is what `screen` can draw. Text that came from a sandbox may hold anything, also terminal
control sequences; `printable` takes them out, and every cell goes through it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
NOTHING: Final = "-"
SHORT: Final = 12  # characters of a digest that are enough to tell two apart by eye
MAX_GRID_COLUMNS: Final = 7  # more do not fit 80 columns: then one item after the other

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Title:
    """A line above a block."""

    text: str


@dataclass(frozen=True, slots=True)
class Fields:
    """Names and values, one pair per line."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. `empty` is said (to stderr) where it has no row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "none"


@dataclass(frozen=True, slots=True)
class Text:
    """Lines as they are."""

    text: str


Block = Title | Fields | Grid | Text


def printable(text: str) -> str:
    """The text with everything that is not printable spelt out (`\\x1b`); newlines stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def cell(value: object) -> str:
    """One value as it stands in a table."""
    match value:
        case None | "" | []:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
        case Mapping():
            pairs = ", ".join(f"{key}={cell(item)}" for key, item in value.items())
            return printable(pairs) or NOTHING
        case list() | tuple():
            return printable(", ".join(cell(item) for item in value))
        case _:
            return printable(str(value))


def age(created: object, now: float) -> str:
    """How long ago: `12s`, `5m`, `3h`, `9d`; what is no time stays as it is."""
    if not isinstance(created, int | float):
        return cell(created)
    return duration(now - created)


def duration(length: object) -> str:
    """Seconds in their largest whole unit: `12s`, `5m`, `3h`, `9d`."""
    if not isinstance(length, int | float):
        return cell(length)
    seconds = max(0, int(length))
    for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
        if seconds >= unit:
            return f"{seconds // unit}{letter}"
    return f"{seconds}s"


def moment(value: object) -> str:
    """A time of the API (seconds or RFC 3339) in UTC, to the second."""
    if isinstance(value, int | float):
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(value))
    return cell(value)


def sandbox_list(answer: Json, now: float) -> list[Block]:
    """All sandboxes, one per line."""
    rows = tuple(
        (
            cell(s.get("name")),
            cell(s.get("state")),
            cell(s.get("address")),
            cell((s.get("policy") or {}).get("revision")),
            cell(s.get("tenant")),
            age(s.get("created"), now),
        )
        for s in answer["sandboxes"]
    )
    return [Grid(("NAME", "STATE", "ADDRESS", "POLICY", "TENANT", "AGE"), rows, "no sandboxes")]


_SANDBOX_HEAD: Final = ("name", "id", "state", "created", "tenant", "labels", "address", "link")
_SANDBOX_TAIL: Final = ("netns", "attached", "policy", "run_dir")
_FOR_RUNTIMES: Final = ("env", "files", "mounts", "kernel")  # long, and not looked at first


def sandbox(answer: Json) -> list[Block]:
    """One sandbox: the record, then what else the daemon read from the kernel."""
    record = {
        **answer,
        "created": moment(answer.get("created")),
        "policy": _policy_in_short(answer.get("policy")),
    }
    names = [key for key in (*_SANDBOX_HEAD, *_SANDBOX_TAIL) if key in record]
    rest = {k: v for k, v in answer.items() if k not in names and k not in _FOR_RUNTIMES}
    return [Fields(tuple((key, cell(record[key])) for key in names)), *anything(rest)]


def _policy_in_short(policy: Json | None) -> str | None:
    if not policy:
        return None
    digest = str(policy.get("digest", "")).removeprefix("sha256:")[:SHORT]
    return f"revision {policy.get('revision')} ({digest})"


def check(answer: Json) -> list[Block]:
    """Record against kernel."""
    if answer["ok"]:
        return [Text("ok: the kernel is as the record says")]
    blocks: list[Block] = []
    for difference in answer["differences"]:
        blocks.append(Title(cell(difference.get("what"))))
        blocks.append(
            Fields(
                tuple(
                    (key, cell(difference.get(key)))
                    for key in ("expected", "found", "remedy")
                    if difference.get(key) is not None
                )
            )
        )
    return blocks


def anything(value: Json) -> list[Block]:
    """Any JSON object: plain values as fields, lists of objects as tables, objects below titles."""
    blocks: list[Block] = []
    plain = tuple((key, cell(item)) for key, item in value.items() if not _is_nested(item))
    if plain:
        blocks.append(Fields(plain))
    for key, item in value.items():
        if _is_nested(item):
            blocks.append(Title(printable(key)))
            blocks.extend(anything(item) if isinstance(item, Mapping) else _objects(item))
    return blocks


def _is_nested(value: object) -> bool:
    if isinstance(value, Mapping):
        return bool(value)
    return isinstance(value, list) and bool(value) and all(isinstance(i, Mapping) for i in value)


def _objects(items: Sequence[Json]) -> list[Block]:
    columns = tuple(dict.fromkeys(key for item in items for key in item))
    if len(columns) > MAX_GRID_COLUMNS:
        return [block for item in items for block in _object(item)]
    rows = tuple(tuple(cell(item.get(key)) for key in columns) for item in items)
    return [Grid(tuple(printable(key.upper()) for key in columns), rows)]


def _object(item: Json) -> list[Block]:
    """One of several wide objects: below its name, where it has one."""
    name = item.get("name")
    pairs = tuple((key, cell(value)) for key, value in item.items() if key != "name" or not name)
    return [*([Title(cell(name))] if name else []), Fields(pairs)]


def policy_change(answer: Json, *, dry_run: bool) -> list[Block]:
    """What a policy write did."""
    revision, digest = answer.get("revision"), str(answer.get("digest", ""))
    if not answer.get("changed", True):
        text = f"unchanged: revision {revision} says the same"
    elif dry_run:
        text = f"valid: would replace revision {revision}"
    else:
        text = f"revision {revision} is in force"
    short = printable(digest.removeprefix("sha256:")[:SHORT])
    lines = [Text(printable(line)) for line in answer.get("diff") or ()]
    return [Text(f"{text} ({short})" if short else text), *lines]


def policy_proposals(answer: Json) -> list[Block]:
    """What could be allowed: how often it was wanted, then the lines that would allow it."""
    rows = tuple(
        (
            cell(p["count"]),
            moment(p["first_seen"]),
            moment(p["last_seen"]),
            cell(p["binaries"]),
            cell(p["reasons"]),
            cell(p["arguments"]),
        )
        for p in answer["proposals"]
    )
    head = ("COUNT", "FIRST", "LAST", "PROGRAMS", "REASONS", "RULE")
    blocks: list[Block] = [Grid(head, rows, "nothing to propose")]
    if rows:
        blocks.append(Title("apply with"))
        blocks += [Text(printable(p["command"])) for p in answer["proposals"]]
    for skipped in answer["skipped"]:
        blocks.append(
            Text(
                printable(
                    f"never: {skipped['destination']} ({skipped['why']}), {skipped['count']}x"
                )
            )
        )
    return blocks


def policy_tests(answer: Json) -> list[Block]:
    """The tests of policy files: what was asked, what was expected, what came."""
    rows = []
    for file in answer["files"]:
        for case in file["tests"]:
            kind = next(key for key in ("connect", "resolve", "request") if key in case)
            told = cell(case["got"]) if case["passed"] else printable(case["message"])
            place = f"{file['file']}:{case['line']}" if case["line"] else file["file"]
            asked = printable(f"{kind} {case[kind]}")
            rows.append(
                ("ok" if case["passed"] else "FAILED", place, asked, cell(case["expect"]), told)
            )
    return [Grid(("RESULT", "WHERE", "ASKED", "EXPECTED", "GOT"), tuple(rows), "no tests")]


def policy_history(answer: Json) -> list[Block]:
    """Revisions, newest first."""
    revisions = answer.get("revisions", answer.get("history", []))
    rows = tuple(
        (
            cell(r.get("revision")),
            moment(r.get("created")),
            cell(str(r.get("digest", "")).removeprefix("sha256:")[:SHORT]),
            cell(r.get("source")),
        )
        for r in sorted(revisions, key=lambda r: -int(r.get("revision", 0)))
    )
    return [Grid(("REVISION", "CREATED", "DIGEST", "SOURCE"), rows, "no revisions")]


def explanation(answer: Json, target: str) -> list[Block]:
    """A decision: verdict first, then why, then what would change it."""
    head = f"{str(answer['verdict']).upper()}  {target}  ({answer['reason']})"
    names = ("rule", "nearest", "treatment", "expires", "policy_revision")
    pairs = tuple((key, cell(answer[key])) for key in names if answer.get(key) is not None)
    blocks: list[Block] = [Title(printable(head))]
    if answer.get("message"):
        blocks.append(Text(printable(str(answer["message"]))))
    if pairs:
        blocks.append(Fields(pairs))
    if answer.get("middlewares"):
        blocks.append(Text("looked at by " + printable(", ".join(answer["middlewares"]))))
    if answer.get("remedy"):
        blocks += [Title("would be allowed by"), Text(printable(str(answer["remedy"])))]
    if answer.get("hint"):
        blocks += [Title("the policy's hint"), Text(printable(str(answer["hint"])))]
    if answer.get("source"):
        notes = tuple((printable(key), cell(value)) for key, value in answer["source"].items())
        blocks += [Title("where the rule came from"), Fields(notes)]
    return blocks


def provider_list(answer: Json) -> list[Block]:
    """Providers, with the names of their credentials."""
    rows = tuple(
        (
            cell(p.get("name")),
            cell(p.get("type")),
            cell(p.get("used_by")),
            _keys(p.get("credentials")),
            cell(p.get("config")),
        )
        for p in answer["providers"]
    )
    blocks: list[Block] = [
        Grid(("NAME", "TYPE", "USED BY", "CREDENTIALS", "CONFIG"), rows, "no providers")
    ]
    if warnings := [w for p in answer["providers"] for w in p.get("warnings", ())]:
        blocks += [
            Title("credentials that end or are refused"),
            *(Text(printable(str(w))) for w in warnings),
        ]
    return blocks


def provider(answer: Json) -> list[Block]:
    """One provider; of its credentials the names only, whatever the daemon sent."""
    pairs = tuple((key, _provider_cell(key, value)) for key, value in answer.items())
    return [Fields(pairs)]


def refreshes(answer: Json) -> list[Block]:
    """Credentials that renew themselves, one after the other."""
    blocks: list[Block] = []
    for item in answer["refresh"]:
        blocks.append(Title(cell(item.get("key"))))
        blocks.append(Fields(tuple((k, cell(v)) for k, v in item.items() if k != "key")))
    return blocks or [Text("no credential of this provider renews itself")]


def _provider_cell(key: str, value: object) -> str:
    if key == "credentials":
        return _keys(value)
    return moment(value) if key in ("created", "updated") else cell(value)


def provider_types(answer: Json) -> list[Block]:
    """Kinds of provider, one after the other: their lists are long."""
    blocks: list[Block] = []
    for kind in answer["types"]:
        blocks.append(Title(cell(kind["type"])))
        blocks.append(Fields(tuple((k, cell(v)) for k, v in kind.items() if k != "type")))
    return blocks


def _keys(credentials: object) -> str:
    return cell(list(credentials) if isinstance(credentials, Mapping) else credentials)
