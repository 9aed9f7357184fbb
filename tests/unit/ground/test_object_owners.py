"""Who was given which object at a provider: one sandbox, for ever, within bounds."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from netmgr.daemon import object_owners
from netmgr.daemon.object_owners import ObjectOwners
from netmgr.errors import BadInput


class Stored:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[int, float]] = {}

    def all(self) -> Any:
        return [(n, p, i, made) for (p, i), (n, made) in self.rows.items()]

    def change(self, added: Any, gone: Any) -> None:
        for key in gone:
            self.rows.pop(key, None)
        for number, provider, name, made in added:
            self.rows.setdefault((provider, name), (number, made))


class Core:
    """What of the daemon's core is used: sandboxes 1 and 2 at .1 and .2."""

    def __init__(self) -> None:
        self.alive = {1, 2}
        self.store = SimpleNamespace(objects=Stored())
        self.residents = self

    def at(self, address: str) -> Any:
        number = int(address.rpartition(".")[2])
        return self.numbered(number)

    def numbered(self, number: int) -> Any:
        return SimpleNamespace(row=SimpleNamespace(id=number)) if number in self.alive else None

    async def on_store(self, call: Any, *args: Any) -> Any:
        return call(*args)


def body(sandbox: int, *ids: str, provider: str = "p") -> dict[str, Any]:
    return {"address": f"10.0.0.{sandbox}", "provider": provider, "ids": list(ids)}


def foreign(owners: ObjectOwners, sandbox: int, *ids: str, provider: str = "p") -> Any:
    return owners.judge(body(sandbox, *ids, provider=provider)).body["foreign"]


def made() -> tuple[ObjectOwners, Any]:
    core: Any = Core()
    return ObjectOwners(core), core


def test_the_first_has_it() -> None:
    owners, _ = made()
    assert foreign(owners, 1, "a") == "a"
    owners.note(body(1, "a"))
    owners.note(body(2, "a", "b"))
    assert foreign(owners, 1, "a") is None
    assert foreign(owners, 2, "a") == "a"
    assert foreign(owners, 2, "b") is None
    assert foreign(owners, 2, "b", "a") == "a"
    assert foreign(owners, 1, "a", provider="q") == "a"


async def _life() -> None:
    owners, core = made()
    owners.note(body(1, "a", "b"))
    owners.note(body(2, "c"))
    await owners.store()
    again = ObjectOwners(core)
    again.restore()
    assert foreign(again, 1, "a", "b") is None
    core.alive.discard(1)
    assert foreign(again, 1, "a") == "a"
    await again.store()
    again.note(body(2, "a"))
    assert foreign(again, 2, "a", "c") is None


def test_it_outlives_the_daemon_and_not_the_sandbox() -> None:
    asyncio.run(_life())


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_owners, "MAX_OF_ONE", 3)
    monkeypatch.setattr(object_owners, "MAX_IN_ALL", 4)
    owners, _ = made()
    owners.note(body(1, "a", "b", "c", "d"))
    assert foreign(owners, 1, "a") == "a"
    assert foreign(owners, 1, "b", "c", "d") is None
    owners.note(body(2, "x", "y"))
    assert foreign(owners, 2, "y") is None
    assert foreign(owners, 2, "x") == "x"
    assert foreign(owners, 1, "b", "c", "d") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"address": "10.0.0.1", "provider": "p", "ids": "a"},
        {"address": "10.0.0.1", "provider": "p", "ids": [1]},
        {"address": "10.0.0.1", "provider": "p", "ids": ["a"] * 1001},
        {"address": 1, "provider": "p", "ids": []},
    ],
)
def test_what_no_honest_worker_says(wrong: dict[str, Any]) -> None:
    owners, _ = made()
    for call in (owners.note, owners.judge):
        with pytest.raises(BadInput):
            call(wrong)


def test_an_id_that_is_too_long_is_nobodys() -> None:
    owners, _ = made()
    owners.note(body(1, "x" * 300))
    assert foreign(owners, 1, "x" * 300) == "x" * 300
