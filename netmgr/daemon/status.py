"""Owns: the health of every part, the hub as it stands, and the metrics page."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from netmgr import __version__
from netmgr.daemon.core import Core
from netmgr.daemon.credential_watch import outlooks
from netmgr.daemon.routing_series import RoutingSeries
from netmgr.errors import NetmgrError, TryLater
from netmgr.process.ipc import PeerClosed, PeerRefused
from netmgr.process.supervise import Worker

JsonObject = dict[str, Any]

STATISTICS_S: Final = 2.0  # a worker that takes longer is shown as silent


def _no_file() -> None:
    return None


class Status:
    """Answers /v1/status, /v1/hub and /metrics."""

    def __init__(self, core: Core, hub_namespace: tuple[int, int]) -> None:
        self._core = core
        self._started = time.time()
        self.hub_namespace = hub_namespace
        self.middlewares: Callable[[], list[JsonObject]] = list  # the crew says which run
        self.routing: Callable[[], JsonObject | None] = _no_file  # the inference desk says
        self.registry = CollectorRegistry()
        self._routing = RoutingSeries(self.registry)
        self._sandboxes = Gauge("netmgr_sandboxes", "Live sandboxes", registry=self.registry)
        self._restarts = Gauge(
            "netmgr_worker_restarts",
            "Restarts of a worker since the daemon began",
            ["worker"],
            registry=self.registry,
        )
        self._ready = Gauge(
            "netmgr_worker_ready", "Whether a worker serves", ["worker"], registry=self.registry
        )
        self._journal = Gauge(
            "netmgr_journal_available", "Whether records can be kept", registry=self.registry
        )
        self._decisions = Counter(
            "netmgr_decisions",
            "Decisions, repeats counted",
            ["kind", "verdict", "reason"],
            registry=self.registry,
        )
        self._counters: dict[tuple[str, str, str], Counter] = {}

    def count(self, record: JsonObject) -> None:
        """Count one record on the metrics page."""
        labels = (record["kind"], record["verdict"], record["reason"])
        counter = self._counters.get(labels)
        if counter is None:  # words of three short lists: bounded
            counter = self._counters[labels] = self._decisions.labels(*labels)
        counter.inc(record["count"])
        self._routing.count(record)

    async def status(self) -> JsonObject:
        """Health of every part; `ok` only where all are well."""
        core = self._core
        rules = await self.rules("verify")
        workers = [self._worker(worker) for worker in core.supervisor.workers]
        differences, routing = rules.get("differences", []), self.routing()
        return {
            "ok": not differences
            and not (routing and routing["unreadable"])
            and core.journal.available
            and all(worker["state"] == "ready" for worker in workers),
            "version": __version__,
            "instance": core.settings.instance,
            "uptime_s": round(time.time() - self._started, 1),
            "sandboxes": len(core.residents),
            "change": core.supervisor.number,
            "workers": workers,
            "firewall": {"ok": not differences and "error" not in rules, **rules},
            "journal": {"available": core.journal.available, "last_seq": core.journal.last_seq},
            "credentials": [
                {"message": notice.message, "remedy": notice.remedy, "state": notice.outlook.value}
                for notice in await outlooks(core, time.time())
            ]
            + [
                {
                    "message": message,
                    "remedy": f"netmgr provider update {provider} --credential KEY",
                    "state": "refused",
                }
                for provider, message in core.refused_keys.all()
            ],
            "routing": routing,
            "middlewares": self.middlewares(),
            "state_dir": str(core.settings.state_dir),
            "global_policy": core.global_policy[1] if core.global_policy else None,
        }

    async def hub(self) -> JsonObject:
        """The hub as the kernel has it, its rules with counters, and the workers' numbers."""
        core = self._core
        picture = await core.on_kernel(core.kernel.look_hub)
        return {
            "instance": core.settings.instance,
            "netns": str(core.settings.netns_path("hub")),
            **asdict(picture),
            "rules": await self.rules("show"),
            "workers": [await self._numbers(worker) for worker in core.supervisor.workers],
        }

    async def metrics(self) -> str:
        """Prometheus text."""
        core = self._core
        self._sandboxes.set(len(core.residents))
        self._journal.set(core.journal.available)
        for worker in core.supervisor.workers:
            self._restarts.labels(worker.spec.name).set(worker.restarts)
            self._ready.labels(worker.spec.name).set(worker.ready.is_set())
        return generate_latest(self.registry).decode()

    def _worker(self, worker: Worker) -> JsonObject:
        return {
            "name": worker.spec.name,
            "state": "ready" if worker.ready.is_set() else "starting",
            "pid": worker.pid,
            "restarts": worker.restarts,
        }

    async def _numbers(self, worker: Worker) -> JsonObject:
        if worker.spec.kind == "rules":
            return self._worker(worker)
        try:
            answer = await worker.peer.ask("statistics", deadline_s=STATISTICS_S)
        except (PeerClosed, PeerRefused, TimeoutError, TryLater) as silence:
            return self._worker(worker) | {"statistics": None, "error": str(silence)}
        return self._worker(worker) | {"statistics": answer.body}

    async def rules(self, verb: str) -> JsonObject:
        """What the rules helper answers to `verify` or `show`; `error` where it does not."""
        try:
            worker = self._core.supervisor.of_kind("rules")[0]
            answer = await worker.peer.ask(verb)
        except (PeerClosed, PeerRefused, TimeoutError, NetmgrError) as failure:
            return {"error": str(failure) or type(failure).__name__}
        return answer.body
