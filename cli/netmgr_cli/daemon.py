"""Owns: the fuse box: settings -> state -> kernel -> workers -> adoption -> API -> signals.

One of the two composition roots. Above the line in `_compose` everything is only read and built;
below it the machine is changed. What was begun is ended in the reverse order, whatever fails.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from netmgr.addresses import AddressPool, check_routes
from netmgr.control.app import make_app
from netmgr.control.office import Office
from netmgr.control.server import ControlServer, bind_control_socket
from netmgr.daemon.accounts_desk import AccountsDesk
from netmgr.daemon.adoption import adopt
from netmgr.daemon.core import Core
from netmgr.daemon.inference_desk import InferenceDesk
from netmgr.daemon.inspection import Inspection
from netmgr.daemon.kernel_denials import KernelDenials
from netmgr.daemon.lifecycle import Lifecycle
from netmgr.daemon.meter import Meter
from netmgr.daemon.object_owners import ObjectOwners
from netmgr.daemon.policy_desk import PolicyDesk
from netmgr.daemon.policy_expiry import PolicyExpiry
from netmgr.daemon.policy_moves import PolicyMoves
from netmgr.daemon.provider_desk import ProviderDesk
from netmgr.daemon.refresher import Refresher
from netmgr.daemon.route_desk import RouteDesk
from netmgr.daemon.routing_desk import RoutingDesk
from netmgr.daemon.status import Status
from netmgr.daemon.usage_series import UsageSeries
from netmgr.daemon.vault_desk import VaultDesk, reseal
from netmgr.errors import HostFailed, NetmgrError
from netmgr.inference.catalogue import load_catalogue
from netmgr.journal import Journal, Retention
from netmgr.kernel.claim import hold_alone
from netmgr.kernel.facts import HubSpec
from netmgr.kernel.linux import LinuxKernel
from netmgr.keys.source import open_vault
from netmgr.keys.trust import TrustFiles, system_bundle
from netmgr.process.confine import (
    held_capabilities,
    keep_capabilities,
    no_core_dumps,
    shun_served_files,
)
from netmgr.process.ipc import PeerClosed, PeerRefused
from netmgr.process.supervise import LOAD_S, START_S, Patience, Supervisor, Worker
from netmgr.process.tasks import TaskSet
from netmgr.reasons import Kind
from netmgr.settings.file import load_settings
from netmgr.settings.table import Settings, keys_needing_restart, with_live_keys
from netmgr.store import Store
from netmgr_cli.crew import Crew
from netmgr_cli.service import keep_alive, notify
from netmgr_cli.surroundings import Surroundings
from netmgr_cli.watches import watches

log = logging.getLogger("netmgr")

API_STOP_S: Final = 5.0  # requests that are under way when the daemon stops
ANSWER_FIRST_S: Final = 0.1  # a shutdown's answer leaves before the socket closes
RULES_UP_S: Final = LOAD_S + START_S  # the helper's own deadlines: one whole attempt
RULES_S: Final = 60.0  # installing and reading back the rule set; emulated it takes twenty
EMPTY_DIRECTORY: Final = "empty"  # workers are chrooted into it
NEEDED_CAPABILITIES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "KILL",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_CHROOT",
    "SYS_PTRACE",
)


def run(
    config: Path | None, state_dir: Path | None, run_dir: Path | None, instance: str | None
) -> int:
    """Run the daemon in the foreground until SIGTERM; its exit status.

    Raises:
        NetmgrError: it cannot start; what it had begun is ended again.
    """
    read = partial(load_settings, config, instance=instance, state_dir=state_dir, run_dir=run_dir)
    settings = read()
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="netmgr: %(levelname)s %(message)s",
    )
    if os.geteuid() != 0:
        raise HostFailed("the daemon needs root: it makes network namespaces and rules")
    missing = sorted(set(NEEDED_CAPABILITIES) - held_capabilities())
    if missing:
        raise HostFailed(f"the daemon lacks capabilities: {', '.join(missing)}")
    keep_capabilities(NEEDED_CAPABILITIES)
    shun_served_files()
    no_core_dumps()  # every credential and every authority's key is in this memory
    asyncio.run(_Daemon(settings, read).live())
    return 0


async def _store_last(meter: Meter, owners: ObjectOwners) -> None:
    """What was told up to the workers' last word. A full disk must not keep the daemon from
    ending."""
    for store in (meter.store, owners.store):
        try:
            await store()
        except NetmgrError as failure:
            log.error("the last usage is not stored: %s", failure.message)


def _own_netns() -> tuple[int, int]:
    own = os.stat("/proc/self/ns/net")
    return own.st_dev, own.st_ino


class _Daemon:
    """One daemon from its first directory to its last."""

    def __init__(self, settings: Settings, read_again: Callable[[], Settings]) -> None:
        self._settings = settings
        self._read_again = read_again
        self._stop = asyncio.Event()
        self._remove = False

    async def live(self) -> None:
        """Start everything, serve, end everything."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            stack.enter_context(locked_directories(settings))
            core = await stack.enter_async_context(self._state())
            crew, office, tasks = await self._people(core, stack)
            await stack.enter_async_context(self._api(office))
            tasks.start(crew.surroundings.keep_looking(crew.tell_dialer), name="surroundings")
            self._handle_signals(
                lambda: tasks.start(self._reload(core, crew, office), name="reload")
            )
            works = partial(core.on_kernel, core.kernel.hub_descriptor)
            tasks.start(keep_alive(works), name="watchdog")
            gc.freeze()  # it stands to the end: to collect it took 60 ms in the midst of a change
            notify("READY=1")
            core.record(Kind.LIFECYCLE, "daemon started")
            log.info("ready: instance %s, socket %s", settings.instance, settings.socket_path)
            await self._stop.wait()
            notify("STOPPING=1")
            log.info("stopping")
            core.record(Kind.LIFECYCLE, "daemon stopped")
            if self._remove:
                await office.lifecycle.delete_all()

    # -- stations of the start ---------------------------------------------------------------

    @asynccontextmanager
    async def _state(self) -> AsyncIterator[Core]:
        """Store, vault, journal, kernel: everything that has to be closed."""
        settings = self._settings
        store = Store(settings.database_path)
        vault = open_vault(
            settings.vault_key, settings.key_path, os.environ, must_exist=store.holds_sealed()
        )
        roots = system_bundle(settings.ca_roots)
        trust = TrustFiles(settings.run_dir, settings.state_dir, roots, settings.name_pool)
        keep = Retention(settings.journal_rows, settings.journal_days)
        journal = Journal(
            settings.journal_path,
            keep,
            repeat_s=settings.journal_repeat_s,
            on_available=lambda available: self._journal_changed(core, available),
        )
        kernel = LinuxKernel(
            HubSpec(
                instance=settings.instance,
                netns_dir=settings.netns_dir,
                max_sandboxes=settings.max_sandboxes,
            )
        )
        rests = {row.address: row.freed_at for row in store.sandboxes.leases() if row.freed_at}
        addresses = AddressPool(settings.sandbox_pool, settings.lease_quarantine_s, released=rests)
        patience = Patience(settings.worker_ack_s, settings.drain_s)
        core = Core(
            settings,
            kernel,
            store,
            vault,
            trust,
            journal,
            addresses,
            supervisor=Supervisor(patience),
        )
        self._journal_tasks = TaskSet()
        await journal.start()
        try:
            yield core
        finally:
            await self._journal_tasks.cancel()
            await journal.close()
            await core.on_kernel(kernel.remove_hub if self._remove else kernel.close)
            await core.on_store(store.close)
            trust.close()
            core.close()

    async def _people(self, core: Core, stack: AsyncExitStack) -> tuple[Crew, Office, TaskSet]:
        """The hub with its rules, then the sandboxes that were there, then the workers."""
        settings, kernel = self._settings, core.kernel
        routes = await core.on_kernel(kernel.host_routes)
        check_routes({"sandbox_pool": settings.sandbox_pool}, [(route, "") for route in routes])
        adopted = await core.on_kernel(kernel.ensure_hub)
        proxies = settings.proxy_workers or os.cpu_count() or 1
        listeners = await core.on_kernel(kernel.open_listeners, proxies)
        hub = os.fstat(kernel.hub_descriptor())
        status = Status(core, (hub.st_dev, hub.st_ino))
        tasks = TaskSet()
        stack.push_async_callback(tasks.cancel)
        surroundings = Surroundings(core)
        await surroundings.look()
        denials = KernelDenials(core, tasks)
        meter = Meter(core, UsageSeries(status.registry))
        crew = Crew(core, listeners, surroundings, denials, status, meter)
        stack.push_async_callback(_store_last, meter, crew.owners)
        stack.push_async_callback(crew.stop)
        await self._install_rules(crew, made=not adopted)
        if moved := await core.on_store(reseal, core):
            log.info("%d encrypted values are under the new key; the old one may go", moved)
        outcome = await adopt(core)
        core.types = load_catalogue(settings.provider_types_dir, mock=settings.mock_providers)
        desk = InferenceDesk(core)
        for restore in (desk.restore, meter.restore, crew.owners.restore):
            await core.on_store(restore)
        desk.tell_unusable()
        log.info("hub %s; %s", "adopted" if adopted else "made", outcome)
        crew.sign_on(desk)
        await core.supervisor.wait_ready()
        tasks.start(denials.keep_counting(), name="count refused packets")
        refresher = Refresher(core, desk, tasks)
        await refresher.start()
        lifecycle = Lifecycle(core)
        for work, what in (
            (meter.keep_storing(), "store usage"),
            (crew.owners.keep_storing(), "store objects of providers"),
            (desk.defaults.keep_looking(), "look at stand-ins"),
            (PolicyExpiry(core, PolicyMoves(core)).keep_watching(), "expiry of policy entries"),
            *watches(core, status, lifecycle),
        ):
            tasks.start(work, name=what)
        office = Office(
            lifecycle=lifecycle,
            policies=PolicyDesk(core, PolicyMoves(core)),
            inference=desk,
            routes=RouteDesk(core, desk),
            routing=RoutingDesk(core, desk),
            providers=ProviderDesk(core, desk),
            accounts=AccountsDesk(core, meter),
            refresher=refresher,
            vault=VaultDesk(core),
            journal=core.journal,
            inspection=Inspection(core, lifecycle, status),
            status=status,
            home=_own_netns(),
            shut_down=self._shut_down,
        )
        return crew, office, tasks

    async def _install_rules(self, crew: Crew, *, made: bool) -> None:
        """A host that cannot have the rules does not keep the hub that was made for them."""
        try:
            await install_rules(crew.sign_on_rules())
        except HostFailed:
            self._remove = made
            raise

    @asynccontextmanager
    async def _api(self, office: Office) -> AsyncIterator[None]:
        path = self._settings.socket_path
        server = ControlServer(
            make_app(office), bind_control_socket(str(path), self._settings.socket_group)
        )
        tasks = TaskSet()
        serving = tasks.start(server.run(), name="control API")
        try:
            yield
        finally:
            server.stop()
            await asyncio.wait([serving], timeout=API_STOP_S)
            await tasks.cancel()
            with suppress(FileNotFoundError):
                path.unlink()

    # -- while it runs -----------------------------------------------------------------------

    def _journal_changed(self, core: Core, available: bool) -> None:
        ops = core.roster.set_journal(available)
        self._journal_tasks.start(core.announce(ops), name="journal availability")

    async def _reload(self, core: Core, crew: Crew, office: Office) -> None:
        """SIGHUP: take up what can change while sandboxes run; say what cannot."""
        try:
            wanted = await asyncio.to_thread(self._read_again)
            types = await asyncio.to_thread(
                load_catalogue, wanted.provider_types_dir, mock=wanted.mock_providers
            )
            await office.providers.use_types(types)
        except NetmgrError as problem:
            log.error("the configuration stays as it was:\n%s", problem.message)
            return
        waiting = keys_needing_restart(core.settings, wanted)
        if waiting:
            log.warning("in force after a restart: %s", ", ".join(waiting))
        core.settings = with_live_keys(core.settings, wanted)
        log.setLevel(core.settings.log_level.upper())
        await crew.surroundings.look()
        await crew.tell_dialer(crew.surroundings.for_dialer())
        core.record(Kind.CONFIG, "configuration read again")
        log.info("configuration read again")

    def _handle_signals(self, reload: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload)

    async def _shut_down(self, remove: bool) -> None:
        self._remove = remove
        asyncio.get_running_loop().call_later(ANSWER_FIRST_S, self._stop.set)


async def install_rules(worker: Worker) -> None:
    """Have the rule set stand, read back, before anything else is done.

    Raises:
        HostFailed: what the kernel lacks or refused, in the helper's words.
    """
    try:
        async with asyncio.timeout(RULES_UP_S):
            await worker.ready.wait()
    except TimeoutError:
        said = "the rules helper does not come up; `netmgr doctor` says what the host lacks"
        raise HostFailed(said) from None
    try:
        await worker.peer.ask("install", deadline_s=RULES_S)
    except PeerRefused as refusal:
        raise HostFailed(refusal.message, **refusal.details) from refusal
    except (PeerClosed, TimeoutError) as failure:
        raise HostFailed("the rules helper ended while it installed the rule set") from failure


@contextmanager
def locked_directories(settings: Settings) -> Iterator[None]:
    """Make the directories, and hold the instance's lock.

    Raises:
        Conflict: another daemon of this instance runs.
        HostFailed: a directory cannot be made.
    """
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.state_dir.chmod(0o700)
        if not settings.run_dir.exists():
            settings.run_dir.mkdir(parents=True)
            settings.run_dir.chmod(0o755)  # whatever the umask: the socket's group has to get in
        empty = settings.run_dir / EMPTY_DIRECTORY
        empty.mkdir(exist_ok=True)
        # Whatever the umask (the unit has 0077): a worker looks its root up as its own user.
        empty.chmod(0o555)
        lock = os.open(settings.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileExistsError as problem:
        raise HostFailed(f"{problem.filename}: expected a directory, found a file") from problem
    except OSError as problem:
        raise HostFailed(f"{problem.filename}: {problem.strerror}") from problem
    hold_alone(lock, settings.instance)
    try:
        yield
    finally:
        os.close(lock)
