"""The supervisor: one change for all workers, whatever becomes of one of them."""

import asyncio

import pytest

from netmgr.errors import TryLater
from netmgr.process.supervise import Launch, Patience, Supervisor, Worker, WorkerSpec


class Scripted(Worker):
    """A worker without a process: it takes changes as it was told to."""

    def __init__(self, kind: str, *, fails: bool, takes_s: float = 0.0) -> None:
        spec = WorkerSpec(kind, 0, lambda: Launch({}), list)
        super().__init__(spec, Patience(), lambda: 0)
        self.took: list[int] = []
        self._fails = fails
        self._takes_s = takes_s

    async def change(self, number, ops):
        if self._fails:
            raise TryLater("it does not come up")
        await asyncio.sleep(self._takes_s)
        self.took.append(number)


def test_one_that_does_not_come_up_is_an_error_of_ours_and_the_others_have_the_change():
    async def main():
        supervisor = Supervisor()
        slow = Scripted("dns", fails=False, takes_s=0.01)
        supervisor.workers += [Scripted("proxy", fails=True), slow]
        with pytest.raises(TryLater, match="does not come up"):
            await supervisor.change(lambda kind: [{"op": "x"}])
        assert slow.took == [1]

    asyncio.run(main())
