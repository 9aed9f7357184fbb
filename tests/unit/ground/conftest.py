"""A daemon's core with everything real but the kernel and the processes."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from netmgr.addresses import AddressPool
from netmgr.daemon.core import Core
from netmgr.journal import Journal, Retention
from netmgr.kernel.facts import HubSpec
from netmgr.keys.trust import TrustFiles
from netmgr.keys.vault import Vault
from netmgr.settings.table import Settings
from netmgr.store import Store
from netmgr.testing.fake_kernel import FakeKernel
from netmgr.testing.fake_world import FakeWorld

CoreFactory = Callable[..., AbstractAsyncContextManager[Core]]


@pytest.fixture
def open_core(tmp_path: Path) -> CoreFactory:
    """`async with open_core(world) as core`: again on the same directory is a restart."""

    @asynccontextmanager
    async def make(world: FakeWorld | None = None, **settings: object) -> AsyncIterator[Core]:
        values = {"state_dir": tmp_path / "state", "run_dir": tmp_path / "run", **settings}
        chosen = Settings.for_instance("t1", **values)
        for directory in (chosen.state_dir, chosen.run_dir):
            directory.mkdir(exist_ok=True)
        roots = tmp_path / "roots.pem"
        roots.write_text("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
        store = Store(chosen.database_path)
        vault = Vault.open(chosen.key_path, must_exist=store.holds_sealed())
        trust = TrustFiles(chosen.run_dir, chosen.state_dir, roots, chosen.name_pool)
        journal = Journal(chosen.journal_path, Retention(1000, 1))
        kernel = FakeKernel(HubSpec(instance=chosen.instance), world)
        rests = {row.address: row.freed_at for row in store.sandboxes.leases() if row.freed_at}
        pool = AddressPool(chosen.sandbox_pool, chosen.lease_quarantine_s, released=rests)
        core = Core(chosen, kernel, store, vault, trust, journal, pool)
        await journal.start()
        await core.on_kernel(kernel.ensure_hub)
        try:
            yield core
        finally:
            await journal.close()
            store.close()
            trust.close()
            kernel.close()
            core.close()

    return make
