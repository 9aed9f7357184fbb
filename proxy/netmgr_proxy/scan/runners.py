"""Owns: who runs a stage: netmgr's own code, a plug-in in a thread, or the operator's program; and
the chain, stage by stage, each within its deadline.

A plug-in cannot be stopped once it runs: where every thread is lost to one, the process has to go,
and the next one begins anew.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

from netmgr.errors import BadInput
from netmgr.middleware.bounds import CHAIN_S, MAX_PAYLOAD
from netmgr.middleware.catalogue import BUILT_IN
from netmgr.middleware.chain import NOTHING_ASKED, Outcome, Stage
from netmgr.middleware.contract import StageResult, parse_result
from netmgr.middleware.request import StageRequest
from netmgr_proxy.scan.built_in import run_built_in

log = logging.getLogger(__name__)

THREADS: Final = 8  # plug-ins at the same time


class StageFailed(Exception):
    """A stage gave no answer; the message says why, without a word of the request."""


class Runner(Protocol):
    """Runs stages of one middleware."""

    async def run(self, stage: Stage, request: StageRequest) -> StageResult:
        """What it answers.

        Raises:
            StageFailed: it does not, or breaks the contract.
        """


class BuiltInRunner:
    """netmgr's own: bounded by what it is shown, so that it needs no deadline."""

    async def run(self, stage: Stage, request: StageRequest) -> StageResult:
        """See Runner."""
        try:
            return run_built_in(stage, request)
        except Exception as fault:  # a fault of ours, or of a library's: nobody has looked
            log.error("%s failed: %s", stage.middleware, type(fault).__name__)
            raise StageFailed(f"its detector failed ({type(fault).__name__})") from None


class PlugIn(Protocol):
    """What an entry point of the group `netmgr.middleware` loads to, called without arguments."""

    def examine(self, request: StageRequest, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """What it says of a request: `decision`, and what else the contract has; `body` (bytes)
        replaces the request's. Called in a thread; must be safe for several."""


class Threads:
    """Where plug-ins run."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="plug-in")
        self._lost = 0

    @property
    def exhausted(self) -> bool:
        """Whether no thread is left for anybody."""
        return self._lost >= THREADS

    async def call(
        self, plug_in: PlugIn, request: StageRequest, config: dict[str, Any]
    ) -> Mapping[str, Any]:
        """A plug-in's answer. One that is given up goes on, and its thread is lost until then."""
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._pool, plug_in.examine, request, config)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._lost += 1
            running.add_done_callback(self._found_again)
            raise

    def _found_again(self, done: "asyncio.Future[Any]") -> None:
        self._lost -= 1
        if not done.cancelled():
            done.exception()  # looked at, so that nobody is told of it


class PlugInRunner:
    """A middleware that was installed beside netmgr."""

    def __init__(self, plug_in: PlugIn, threads: Threads) -> None:
        self._plug_in = plug_in
        self._threads = threads

    async def run(self, stage: Stage, request: StageRequest) -> StageResult:
        """See Runner."""
        try:
            answer = dict(await self._threads.call(self._plug_in, request, stage.config))
        except Exception as fault:
            # The type alone: its words may hold what it was shown.
            raise StageFailed(f"the plug-in raised {type(fault).__name__}") from None
        body = answer.pop("body", None)
        if body is not None and not isinstance(body, bytes):
            raise StageFailed("the plug-in's body is not bytes")
        return read_answer(stage, answer, body)


def read_answer(stage: Stage, answer: object, body: bytes | None) -> StageResult:
    """An answer of somebody else's code.

    Raises:
        StageFailed: it breaks the contract.
    """
    if body is not None and len(body) > MAX_PAYLOAD:
        raise StageFailed(f"its body is larger than {MAX_PAYLOAD} bytes")
    try:
        return parse_result(answer, stage.key, stage.middleware, body)
    except BadInput as fault:
        raise StageFailed(f"its answer breaks the contract: {fault.message}") from None


class Runners:
    """Every middleware that this process can run, by name."""

    def __init__(self, stage_s: float) -> None:
        self.stage_s = stage_s
        self._built_in = BuiltInRunner()
        self.others: dict[str, Runner] = {}

    async def run_chain(self, stages: Sequence[Stage], request: StageRequest) -> Outcome:
        """Ask one stage after the other, each about what the one before it made."""
        loop = asyncio.get_running_loop()
        ends, outcome = loop.time() + CHAIN_S, NOTHING_ASKED
        for stage in stages:
            if outcome.ended:
                outcome = outcome.then(stage.skipped())
                continue
            if outcome.body is not None:
                request = request.with_body(outcome.body)
            seconds = min(self.stage_s, ends - loop.time())
            outcome = outcome.then(stage.settle(await self._ask(stage, request, seconds)))
        return outcome

    async def _ask(self, stage: Stage, request: StageRequest, seconds: float) -> StageResult:
        own = stage.middleware in BUILT_IN
        runner = self._built_in if own else self.others.get(stage.middleware)
        if runner is None:
            return stage.failed(f"nobody runs {stage.middleware}")
        try:
            async with asyncio.timeout(seconds):
                return await runner.run(stage, request)
        except TimeoutError:
            return stage.failed(f"no answer within {self.stage_s:g} s")
        except StageFailed as fault:
            return stage.failed(str(fault))
