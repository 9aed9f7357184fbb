"""Owns: the daemon's health, the hub and a sandbox's kernel side as blocks, what matters first.

`-o json` has everything; here stands what is looked at. No I/O, no rich, no click.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from netmgr_cli.render import Block, Fields, Grid, Json, Title, anything, cell, duration

_LINK: Final = ("name", "kind", "up", "carrier", "mtu", "rx_packets", "tx_packets")
_TAIL: Final = ("addresses", "routes", "neighbours", "routing_rules")


def status(answer: Json) -> list[Block]:
    """Whether all is well, then the workers, then what differs."""
    firewall, journal = _part(answer, "firewall"), _part(answer, "journal")
    head: dict[str, object] = {"ok": "yes" if answer.get("ok") else "no"}
    if firewall:
        head["firewall"] = "as it should be" if firewall.get("ok") else "differs, see below"
    if journal:
        state = "available" if journal.get("available") else "NOT available"
        head["journal"] = f"{state}, {cell(journal.get('last_seq'))} records so far"
    if "uptime_s" in answer:
        head["uptime"] = duration(answer["uptime_s"])
    plain = {key: item for key, item in answer.items() if not isinstance(item, Mapping | list)}
    head |= {key: item for key, item in plain.items() if key not in ("ok", "uptime_s")}
    blocks: list[Block] = [Fields(tuple((key, cell(item)) for key, item in head.items()))]
    if why := _part(answer, "routing").get("unreadable"):
        blocks += [Title("the routing file cannot be read; calls are refused"), *_lines([why])]
    if ending := answer.get("credentials"):
        blocks += [
            Title("credentials that end or are refused"),
            *_lines([e["message"] for e in ending]),
        ]
    blocks += [Title("workers"), _workers(answer.get("workers") or ())]
    if own := answer.get("middlewares"):
        rows = tuple((cell(m["name"]), cell(m["kind"]), cell(m["pid"])) for m in own)
        blocks.append(Title("middlewares of the operator's"))
        blocks.append(Grid(("NAME", "KIND", "PID"), rows, "none"))
    if differences := firewall.get("differences"):
        blocks += [Title("firewall: what differs"), *_lines(differences)]
    return blocks


def hub(answer: Json) -> list[Block]:
    """Links, sets by their size, chains rule by rule; the kernel's tables last."""
    netns = _part(answer, "netns")
    sockets = answer.get("sockets") or ()
    head = {
        "instance": answer.get("instance"),
        "netns": netns.get("path", answer.get("netns")),
        "sysctls": answer.get("sysctl_differences") or "as they should be",
        "sockets": len(sockets),
    }
    blocks: list[Block] = [Fields(tuple((key, cell(item)) for key, item in head.items()))]
    if workers := answer.get("workers"):
        blocks += [Title("workers"), _workers(workers)]
    blocks += links(netns.get("links") or answer.get("links") or ())
    if sets := answer.get("sets"):
        blocks += [Title("sets"), _sets(sets)]
    for chain in _part(answer, "rules").get("chains") or ():
        blocks += _chain(chain)
    blocks += anything({key: netns[key] for key in _TAIL if key in netns})
    return [*blocks, *anything({"sockets": list(sockets)} if sockets else {})]


def kernel(sandbox: Json) -> list[Block]:
    """What the kernel has of one sandbox: whether that is as recorded, and what was counted."""
    found = _part(sandbox, "kernel")
    if not found:
        return []
    netns, head = _part(found, "netns"), _part(found, "counters")
    if "differences" in found:
        some = "`netmgr sandbox check` names them" if found["differences"] else "none"
        head = {"differences": some} | head
    known = ("netns", "hub_link", "counters", "differences", "allow")
    rest = {key: item for key, item in found.items() if key not in known}
    hub_link = found.get("hub_link")
    blocks: list[Block] = [Title("kernel")]
    blocks += anything(head | rest)
    blocks += anything({"allow": found["allow"]} if found.get("allow") else {})
    blocks += links([*(netns.get("links") or ()), *([hub_link] if hub_link else ())])
    return [*blocks, *anything({key: netns[key] for key in _TAIL if key in netns})]


def links(found: Sequence[Json]) -> list[Block]:
    """Links as a table."""
    if not found:
        return []
    columns = ("LINK", "KIND", "UP", "CARRIER", "MTU", "RX", "TX")
    rows = tuple(tuple(cell(link.get(key)) for key in _LINK) for link in found)
    return [Title("links"), Grid(columns, rows)]


def _workers(workers: Sequence[Json]) -> Grid:
    columns = tuple(dict.fromkeys(key for worker in workers for key in worker))
    rows = tuple(tuple(cell(worker.get(key)) for key in columns) for worker in workers)
    return Grid(tuple(cell(key.upper()) for key in columns), rows, "no workers")


def _sets(sets: Sequence[Json]) -> Grid:
    rows = tuple(
        (
            cell(found.get("name")),
            cell(found.get("type")),
            f"{len(found.get('entries') or ())} of {cell(found.get('max_entries'))}",
        )
        for found in sets
    )
    return Grid(("SET", "TYPE", "ENTRIES"), rows)


def _chain(chain: Json) -> list[Block]:
    place = " ".join(cell(chain.get(key)) for key in ("family", "table", "chain"))
    rows = tuple(
        (cell((rule.get("counters") or [None])[0]), cell(rule.get("rule")))
        for rule in chain.get("rules") or ()
    )
    title = Title(f"{place}, else {cell(chain.get('policy'))}")
    return [title, Grid(("PACKETS", "RULE"), rows)] if rows else [title]


def _part(answer: Json, key: str) -> dict[str, Any]:
    part = answer.get(key)
    return dict(part) if isinstance(part, Mapping) else {}


def _lines(items: object) -> list[Block]:
    if isinstance(items, list) and all(isinstance(item, Mapping) for item in items):
        return [Fields(tuple((key, cell(v)) for key, v in item.items())) for item in items]
    return [Fields((("", cell(items)),))]
