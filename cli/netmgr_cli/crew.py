"""Owns: the crew of worker processes: who is started with which settings, descriptors and powers,
who answers their questions, and who is introduced to whom.

Every worker is a fresh process; proxies and the dialer get a channel to each other from here,
again whenever one of them is started anew.
"""

import logging
import socket
from functools import partial
from typing import Any, Final

from netmgr.daemon.affinity_desk import AffinityDesk
from netmgr.daemon.budget_desk import BudgetDesk
from netmgr.daemon.core import Core
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.daemon.kernel_denials import KernelDenials
from netmgr.daemon.meter import Meter
from netmgr.daemon.object_owners import ObjectOwners
from netmgr.daemon.questions import Questions
from netmgr.daemon.status import Status
from netmgr.errors import BadInput
from netmgr.journal.wire import parse_record, parse_records
from netmgr.kernel.facts import Listeners
from netmgr.process.ipc import Answer, Body, Peer, PeerClosed, PeerRefused
from netmgr.process.supervise import Launch, Worker, WorkerSpec
from netmgr.settings.table import Settings
from netmgr.settings.values import Account
from netmgr_cli.router_programs import RouterPrograms
from netmgr_cli.scanning import Scanning
from netmgr_cli.surroundings import Surroundings
from netmgr_proxy.tally import make_tally
from netmgr_proxy.vitals import make_vitals

log = logging.getLogger(__name__)

INTRODUCE_S: Final = 5.0  # handing a channel over; a worker that is silent for longer is stuck

# Settings that mean the same in the proxy's room, by the same name.
PROXY_LIMITS: Final = (
    "connect_timeout_s",
    "connections_per_sandbox",
    "drain_s",
    "flow_idle_timeout_s",
    "hello_timeout_s",
    "inference_body_bytes",
    "keepalive_timeout_s",
    "request_body_timeout_s",
    "request_head_bytes",
    "request_head_timeout_s",
    "request_headers",
    "response_head_bytes",
    "response_head_timeout_s",
)

# What workers may tell, each kind its own. Who tells another thing is hijacked: its channel ends.
MAY_TELL: Final = {
    "dns": frozenset({"record"}),
    "proxy": frozenset({"records", "settle", "objects", "budget", "affinity"}),
    "watch": frozenset({"denied", "spoofing"}),
    "scan": frozenset({"program.gone"}),
}


class Crew:
    """Adds every worker to the supervisor and answers what they ask."""

    def __init__(
        self,
        core: Core,
        listeners: Listeners,
        surroundings: Surroundings,
        denials: KernelDenials,
        status: Status,
        meter: Meter,
    ) -> None:
        self._core = core
        self._settings: Settings = core.settings
        self._listeners = listeners
        self.surroundings = surroundings
        self._denials = denials
        self._status = status
        self._meter = meter
        self.owners = ObjectOwners(core)
        self.budgets = BudgetDesk(core, meter.spending)
        self._affinity: AffinityDesk | None = None  # see `sign_on`
        self._questions = Questions(core)
        self.scanning = Scanning(core, lambda: self._add("scan", 0, self._launch_scan))
        core.staffed = self.scanning.staffed
        status.middlewares = self.scanning.state
        settings = core.settings
        self._routers = RouterPrograms(
            settings.model_routers, settings.route_scorers, settings.router_account
        )
        self._tally = make_tally(len(listeners.proxy))  # the daemon's end closes both
        self._vitals = make_vitals(len(listeners.proxy))
        self._empty = str(core.settings.run_dir / "empty")

    # -- signing on ------------------------------------------------------------------------

    def sign_on_rules(self) -> Worker:
        """The rules helper: alone, because the rules stand before anybody else starts."""
        return self._add("rules", 0, lambda: Launch(self._rules_settings(), self._hub()))

    def sign_on(self, inference: InferenceDesk) -> None:
        """Everybody else.

        Args:
            inference: knows the routing file in force.
        """
        self.budgets.in_force = inference.endpoints.budgets
        self._affinity = inference.affinity
        self._status.routing = inference.endpoints.state
        self.scanning.expected_by_file = inference.endpoints.hears_middlewares
        settings = self._settings
        self._add("dialer", 0, self._launch_dialer)
        self._add("dns", 0, self._launch_dns)
        self._add("watch", 0, self._launch_watch)
        for index in range(len(self._listeners.proxy)):
            self._add("proxy", index, lambda i=index: self._launch_proxy(i))
        self.scanning.begin()
        log.info("%d workers of instance %s", len(self._core.supervisor.workers), settings.instance)

    async def stop(self) -> None:
        """Everybody, the operator's programs first: they are asked by one of the workers."""
        await self.scanning.programs.stop()
        await self._routers.stop()
        await self._core.supervisor.stop()

    def _add(self, kind: str, index: int, launch: Any) -> Worker:
        spec = WorkerSpec(
            kind=kind,
            index=index,
            launch=launch,
            full_state=lambda: self._core.roster.full_state(kind),
            on_ask=partial(self._answer, kind, index),
            on_tell=partial(self._on_tell, kind, index),
            on_ready=self._on_ready(kind, index),
        )
        return self._core.supervisor.add(spec)

    # -- what each gets --------------------------------------------------------------------

    def _hub(self) -> dict[str, int]:
        return {"netns": self._core.kernel.hub_descriptor()}

    def _confined(self, account: Account) -> Body:
        return {"uid": account.uid, "gid": account.gid, "root": self._empty}

    def _rules_settings(self) -> Body:
        spec = self._core.kernel.spec
        return {"instance": spec.instance, "proxy_port": spec.proxy_port}

    def _launch_dialer(self) -> Launch:
        return Launch(
            self.surroundings.for_dialer(), confine=self._confined(self._settings.dialer_account)
        )

    def _launch_dns(self) -> Launch:
        fds = {"dns_udp": self._listeners.dns_udp, "dns_tcp": self._listeners.dns_tcp}
        rate = self._settings.dns_queries_per_second
        return Launch(
            {
                "queries_per_s": rate,
                "queries_burst": 2 * rate,
                "answer_ttl_s": self._settings.dns_answer_ttl_s,
            },
            self._hub() | fds,
            self._confined(self._settings.dns_account),
        )

    def _launch_watch(self) -> Launch:
        fds = self._hub() | {"nflog": self._listeners.nflog}
        return Launch({}, fds, self._confined(self._settings.watch_account))

    def _launch_proxy(self, index: int) -> Launch:
        settings = self._settings
        return Launch(
            {
                "index": index,
                "workers": len(self._listeners.proxy),
                "limits": {name: getattr(settings, name) for name in PROXY_LIMITS},
                "ca_roots": self.surroundings.ca_roots,
                "model_routers": [each.name for each in settings.model_routers],
                "route_scorers": list(settings.route_scorers),
            },
            self._hub()
            | {
                "listener": self._listeners.proxy[index],
                "tally": self._tally,
                "vitals": self._vitals,
            },
            self._confined(settings.proxy_account),
        )

    def _launch_scan(self) -> Launch:
        account = self._settings.scan_account
        confined = self._confined(account) | {"before_open": True}  # it imports plug-ins
        return Launch(self.scanning.settings(), self._hub(), confined)

    # -- introductions ---------------------------------------------------------------------

    def _on_ready(self, kind: str, index: int) -> Any:
        if kind == "proxy":
            return lambda peer: self._introduce_proxy(index, peer)
        if kind == "dialer":
            return self._introduce_all
        return self.scanning.meet_all if kind == "scan" else None

    async def _introduce_proxy(self, index: int, proxy: Peer) -> None:
        """A new proxy meets the dialer and the scan worker, if they stand; else their start will do
        it."""
        self._meter.drop(_holder(index))  # the calls of the one before it have ended with it
        self._routers.serve(proxy)
        for worker in self._core.supervisor.of_kind("dialer"):
            if worker.ready.is_set():
                await _introduce(index, proxy, worker.peer)
        await self.scanning.meet_proxy(index, proxy)

    async def _introduce_all(self, dialer: Peer) -> None:
        """A new dialer meets every proxy that stands, those too that come up meanwhile: they have
        not met it, because it is not ready yet."""
        met: set[Peer] = set()
        while waiting := [
            (worker.spec, worker.peer)
            for worker in self._core.supervisor.of_kind("proxy")
            if worker.ready.is_set() and worker.peer not in met
        ]:
            for spec, proxy in waiting:
                met.add(proxy)
                try:
                    await _introduce(spec.index, proxy, dialer)
                except (PeerClosed, PeerRefused, TimeoutError) as failure:
                    log.warning("%s did not meet the dialer: %s", spec.name, failure)

    async def tell_dialer(self, changed: Body) -> None:
        """New surroundings: the host's addresses or DNS servers are others now."""
        for worker in self._core.supervisor.of_kind("dialer"):
            if worker.ready.is_set():
                await worker.peer.ask("settings", changed)

    # -- what they ask and tell --------------------------------------------------------------

    async def _answer(
        self, kind: str, index: int, what: str, body: Body, fds: tuple[int, ...]
    ) -> Answer:
        if kind == "proxy" and what in ("reserve", "objects", "budget", "affinity"):
            try:
                if what == "affinity" and self._affinity is not None:
                    return await self._affinity.answer(body)
                if what == "budget":
                    return self.budgets.reserve(_holder(index), body)
                if what == "objects":
                    return self.owners.judge(body)
                return self._meter.reserve(_holder(index), body)
            except BadInput as fault:
                raise PeerRefused(fault.code, fault.message) from fault
        return await self._questions.answer(kind, what, body)

    def _on_tell(self, kind: str, index: int, what: str, body: Body, fds: tuple[int, ...]) -> None:
        # BadInput: no honest worker tells it; the channel is closed and the worker started anew.
        if what not in MAY_TELL.get(kind, ()):
            raise BadInput(f"{kind} told {what!r:.40}, which is not its to tell")
        match what:
            case "record":
                self._take_record(parse_record(body))
            case "records":
                for record in parse_records(body):
                    self._take_record(record)
            case "settle" | "budget" | "affinity":
                self._call_ended(what, _holder(index), body)
            case "objects":
                self.owners.note(body)
            case "program.gone":
                self.scanning.programs.gone(str(body.get("name")))
            case "denied":
                self._denials.on_denied(body)
            case "spoofing":
                self._denials.on_spoofing(body)

    def _call_ended(self, what: str, holder: str, body: Body) -> None:
        if what == "settle":
            self._meter.settle(holder, body)
        elif what == "budget":
            self.budgets.settle(holder, body)
        elif self._affinity is not None:
            self._affinity.note(body)

    def _take_record(self, record: Body) -> None:
        self._meter.take(record)
        self._core.journal.append(record)
        self._core.refused_keys.note(record)
        self._status.count(record)


def _holder(index: int) -> str:
    """A proxy worker in the meter's ledger, the same after a restart."""
    return f"proxy-{index}"


async def _introduce(index: int, proxy: Peer, dialer: Peer) -> None:
    """Give both ends of a new channel away."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await dialer.ask("worker", {"index": index}, fds=[ours.fileno()], deadline_s=INTRODUCE_S)
        await proxy.ask("dialer", {}, fds=[theirs.fileno()], deadline_s=INTRODUCE_S)
