"""Labels only rise: by conversation, by sandbox, over a restart; the operator alone resets them."""

import asyncio
from typing import Any

import pytest

from netmgr.daemon.affinity_desk import MAX_CONVERSATIONS, AffinityDesk
from netmgr.daemon.endpoint_routes import EndpointRoutes, Held
from netmgr.errors import BadInput
from netmgr.process.ipc import PeerRefused
from netmgr.routing.schema import parse_routing

FILE = """
version: 1
sensitivity: {order: [public, internal, secret], unlabelled: public, unscanned: secret}
endpoints: {e: {provider: p, model: m, facts: {clearance: secret}}}
"""


class Row:
    id = 7
    name = "box"


class Resident:
    row = Row


class Residents:
    def at(self, address: str) -> Any:
        return Resident if address == "10.0.0.2" else None


class Files:
    """The store's part, in memory."""

    def __init__(self) -> None:
        self.stored: dict[int, dict[str, str]] = {}

    def labels(self) -> dict[int, dict[str, str]]:
        return {number: dict(labels) for number, labels in self.stored.items()}

    def put_label(self, sandbox: int, conversation: str, label: str) -> None:
        self.stored.setdefault(sandbox, {})[conversation] = label

    def forget_labels(self, sandbox: int | None) -> None:
        self.stored = {} if sandbox is None else {k: v for k, v in self.stored.items() if k != 7}


class Core:
    def __init__(self) -> None:
        self.residents = Residents()
        self.store = type("Store", (), {"routing": Files()})
        self.told: list[str] = []

    async def on_store(self, work: Any, *args: Any) -> Any:
        return work(*args)

    def resident(self, name: str) -> Any:
        return Resident

    def record(self, kind: Any, message: str) -> None:
        self.told.append(message)


def desk(core: Any) -> AffinityDesk:
    endpoints = EndpointRoutes(core, lambda route: None)  # type: ignore[arg-type,return-value]
    endpoints.live = Held(parse_routing(FILE, "routing.yaml"), 1)
    made = AffinityDesk(core, endpoints)
    made.restore()
    return made


async def held(place: AffinityDesk, conversation: str = "", label: str | None = None) -> Any:
    body = {"address": "10.0.0.2", "conversation": conversation}
    answer = await place.answer(body | ({"label": label} if label else {}))
    return answer.body["label"]


def test_a_label_rises_and_stays() -> None:
    async def story() -> None:
        core = Core()
        first = desk(core)
        assert await held(first) is None
        assert await held(first, label="internal") == "internal"
        assert await held(first, label="public") == "internal"
        assert await held(first, "talk", "secret") == "secret"
        assert await held(first, "other") == "internal", "the sandbox's holds for each"
        again = desk(core)
        assert await held(again, "talk") == "secret"
        assert await again.reset("box") == 2
        assert await held(desk(core), "talk") is None
        assert core.told == ["labels of sandbox box may fall again (2)"]

    asyncio.run(story())


def test_made_up_conversations_raise_the_whole_sandbox() -> None:
    async def story() -> None:
        place = desk(Core())
        for number in range(MAX_CONVERSATIONS):
            await held(place, f"c{number}", "internal")
        assert await held(place, "one more", "secret") == "secret"
        assert await held(place, "c1") == "secret"

    asyncio.run(story())


def test_a_label_that_the_file_does_not_know_counts_as_the_highest() -> None:
    async def story() -> None:
        core = Core()
        core.store.routing.put_label(7, "", "forgotten")
        assert await held(desk(core)) == "secret"

    asyncio.run(story())


def test_what_no_honest_worker_asks() -> None:
    async def story() -> None:
        place = desk(Core())
        with pytest.raises(BadInput):
            await held(place, label="no such label")
        with pytest.raises(BadInput):
            await place.answer({"address": "10.0.0.2", "conversation": "x" * 300})
        with pytest.raises(PeerRefused):
            await place.answer({"address": "10.0.0.9", "conversation": ""})
        place.note({"address": "10.0.0.2", "conversation": "", "endpoint": "e"})
        answer = await place.answer({"address": "10.0.0.2", "conversation": ""})
        assert answer.body["endpoint"] == "e"

    asyncio.run(story())
