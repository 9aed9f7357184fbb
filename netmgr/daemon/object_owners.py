"""Owns: for which sandbox a provider made what it stores under the operator's key.

Proxies tell what they see in answers, and ask before a request that names such an object goes on.
The first sandbox that was given an id has it; nobody else ever gets it. What was told is stored
once a second: what a kill of the daemon loses is nobody's afterwards.
"""

import asyncio
import logging
import time
from typing import Final

from netmgr.daemon.core import Core
from netmgr.errors import BadInput, NetmgrError
from netmgr.process.ipc import Answer, Body

log = logging.getLogger(__name__)

STORE_EVERY_S: Final = 1.0
MAX_IDS: Final = 1000  # of one message; the proxy's own bound of a request
MAX_ID: Final = 256  # characters; vendors' have up to about 80
MAX_OF_ONE: Final = 10_000  # objects of one sandbox, the newest: some thousand answers
MAX_IN_ALL: Final = 200_000  # about 50 MB

Key = tuple[str, str]  # provider, id


class ObjectOwners:
    """Who was given which object."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._owner: dict[Key, int] = {}
        self._of: dict[int, dict[Key, float]] = {}  # by sandbox, the oldest first
        self._added: dict[Key, float] = {}
        self._gone: set[Key] = set()

    def restore(self) -> None:
        """Begin with what is stored; on the store's thread, before workers start."""
        for sandbox, provider, name, made in self._core.store.objects.all():
            self._add(sandbox, (provider, name), made)
        self._added.clear()

    # -- what proxies tell and ask -----------------------------------------------------------

    def note(self, body: Body) -> None:
        """An answer to a sandbox named these objects: {address, provider, ids}.

        Raises:
            BadInput: no honest worker tells that.
        """
        address, provider, ids = _parse(body)
        resident = self._core.residents.at(address)
        if resident is None:
            return  # deleted meanwhile: its objects are nobody's
        for name in ids:
            if (provider, name) not in self._owner and len(name) <= MAX_ID:
                self._add(resident.row.id, (provider, name), time.time())

    def judge(self, body: Body) -> Answer:
        """Which of these objects is not the asking sandbox's: {"foreign": id or None}.

        Raises:
            BadInput: no honest worker asks that.
        """
        address, provider, ids = _parse(body)
        resident = self._core.residents.at(address)
        number = resident.row.id if resident is not None else None
        foreign = (i for i in ids if number is None or self._owner.get((provider, i)) != number)
        return Answer({"foreign": next(foreign, None)})

    def _add(self, sandbox: int, key: Key, made: float) -> None:
        own = self._of.setdefault(sandbox, {})
        while own and (len(own) >= MAX_OF_ONE or len(self._owner) >= MAX_IN_ALL):
            self._drop(own, next(iter(own)))
        if len(self._owner) >= MAX_IN_ALL:
            return
        self._owner[key] = sandbox
        own[key] = made
        self._added[key] = made
        self._gone.discard(key)

    def _drop(self, own: dict[Key, float], key: Key) -> None:
        del own[key], self._owner[key]
        if self._added.pop(key, None) is None:
            self._gone.add(key)

    # -- storing ---------------------------------------------------------------------------

    async def keep_storing(self) -> None:
        """Store what is new, for ever."""
        while True:
            await asyncio.sleep(STORE_EVERY_S)
            try:
                await self.store()
            except NetmgrError as failure:
                log.warning("objects of providers are not stored: %s", failure)

    async def store(self) -> None:
        """Store what is new.

        Raises:
            HostFailed, TryLater: it was not stored and will be tried again.
        """
        for sandbox in [number for number in self._of if not self._lives(number)]:
            for key in self._of.pop(sandbox):
                del self._owner[key]
                self._added.pop(key, None)
        if not self._added and not self._gone:
            return
        added, self._added = self._added, {}
        gone, self._gone = self._gone, set()
        rows = [(self._owner[key], *key, made) for key, made in added.items() if key in self._owner]
        try:
            await self._core.on_store(self._core.store.objects.change, rows, gone)
        except NetmgrError:
            self._added = added | self._added
            self._gone |= gone
            raise

    def _lives(self, number: int) -> bool:
        return self._core.residents.numbered(number) is not None


def _parse(body: Body) -> tuple[str, str, list[str]]:
    address, provider, ids = body.get("address"), body.get("provider"), body.get("ids")
    if not isinstance(address, str) or not isinstance(provider, str) or len(provider) > MAX_ID:
        raise BadInput("objects: expected an address and a provider")
    if not isinstance(ids, list) or len(ids) > MAX_IDS:
        raise BadInput(f"objects: expected a list of at most {MAX_IDS} ids")
    for name in ids:
        if not isinstance(name, str):
            raise BadInput("objects: expected texts")
    return address, provider, ids
