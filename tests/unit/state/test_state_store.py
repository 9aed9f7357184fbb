"""The store: each table's promises, transactions, migrations, and what a failing disk gets."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing, suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from netmgr.addresses import NameAddress
from netmgr.errors import Conflict, HostFailed, NotFound, TryLater
from netmgr.keys.vault import Sealed
from netmgr.model import SandboxName
from netmgr.store import (
    InferenceRoute,
    PolicyRevision,
    PolicyStatus,
    Provider,
    Sandbox,
    SandboxState,
    Store,
)

SEALED = Sealed("k", b"blob")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Any:
    store = Store(path)
    yield store
    store.close()


def a_sandbox(store: Store, name: str = "a", **values: Any) -> Sandbox:
    number = store.sandboxes.next_id()
    plain = Sandbox(
        id=number,
        name=SandboxName(name),
        created=1.5,
        address=IPv4Address("10.77.0.0") + number,
        link=f"nm{number}",
        netns=f"/run/netns/netmgr-{name}",
        netns_dev=4,
        netns_ino=4026532000 + number,
        labels={"team": "x"},
    )
    return replace(plain, **values)


def added(store: Store, name: str = "a", **values: Any) -> Sandbox:
    sandbox = a_sandbox(store, name, **values)
    store.sandboxes.add(sandbox)
    return sandbox


def a_policy(scope: int | None, digest: str, **values: Any) -> PolicyRevision:
    plain = PolicyRevision(
        scope=scope,
        revision=0,
        digest=digest,
        text=f"# {digest}",
        source="p.yaml",
        doc={"version": 1},
        created=2.0,
    )
    return replace(plain, **values)


def a_provider(name: str = "p") -> Provider:
    return Provider(name=name, type="openai", config={"B": "1"}, created=1.0, updated=1.0)


def a_route(scope: int | None, provider: str = "p", model: str = "m") -> InferenceRoute:
    return InferenceRoute(
        scope=scope,
        provider=provider,
        model=model,
        timeout_s=None,
        total_timeout_s=None,
        version=0,
        updated=1.0,
    )


def test_a_program_is_what_it_was_first_for_its_sandbox_alone(path: Path, store: Store) -> None:
    one, other = a_sandbox(store, "one"), a_sandbox(store, "other")
    store.sandboxes.add(one)
    store.sandboxes.add(other)
    store.programs.add(one.id, "/bin/a", "aa")
    store.programs.add(one.id, "/bin/a", "bb")
    store.programs.add(99, "/bin/a", "cc")  # gone meanwhile
    with closing(Store(path)) as later:
        assert later.programs.of(one.id) == {"/bin/a": "aa"}
        assert later.programs.of(other.id) == later.programs.of(99) == {}
    store.sandboxes.remove(one.id, 2.0)
    assert store.programs.of(one.id) == {}


class TestSandboxes:
    def test_what_was_stored_comes_back(self, store: Store, path: Path) -> None:
        big = 2**64 - 1
        sandbox = added(store, tenant="t", attached=True, netns_ino=big, netns_dev=2**63)
        store.close()
        again = Store(path)
        assert again.sandboxes.get("a") == sandbox
        assert again.sandboxes.all() == (sandbox,)
        again.close()

    def test_a_name_is_given_once(self, store: Store) -> None:
        added(store)
        with pytest.raises(Conflict, match="'a' exists"):
            added(store)

    def test_an_absent_one_names_the_nearest(self, store: Store) -> None:
        added(store, "agent-7")
        assert store.sandboxes.find("agent-8") is None
        with pytest.raises(NotFound, match="did you mean 'agent-7'"):
            store.sandboxes.get("agent-8")

    def test_an_id_is_never_given_again(self, store: Store, path: Path) -> None:
        first = added(store)
        store.sandboxes.remove(first.id, 9.0)
        store.close()
        again = Store(path)
        assert again.sandboxes.next_id() == first.id + 1
        assert again.sandboxes.next_id() == first.id + 2
        again.close()

    def test_update_changes_what_may_change(self, store: Store) -> None:
        sandbox = added(store)
        changed = store.sandboxes.update(sandbox, revision=3, digest="d", state=SandboxState.BROKEN)
        assert store.sandboxes.get("a") == changed
        assert changed.revision == 3

    def test_removal_takes_everything_but_the_lease(self, store: Store) -> None:
        sandbox = added(store)
        store.providers.add(a_provider(), {})
        store.names.put(sandbox.id, [NameAddress("x.example", IPv4Address("198.18.0.3"))])
        store.policies.put(a_policy(sandbox.id, "d"), keep=5)
        store.inference.put(a_route(sandbox.id))
        store.authorities.put(sandbox.id, "pem", SEALED)
        store.sandboxes.remove(sandbox.id, 9.0)
        store.sandboxes.remove(sandbox.id, 10.0)  # twice is once
        assert store.sandboxes.all() == ()
        assert store.names.of(sandbox.id) == ()
        assert store.policies.history(sandbox.id) == ()
        assert store.inference.find(sandbox.id) is None
        assert store.authorities.get(sandbox.id) is None
        (lease,) = store.sandboxes.leases()
        assert (lease.address, lease.sandbox_id, lease.freed_at) == (sandbox.address, None, 9.0)

    def test_a_rested_address_can_be_leased_again(self, store: Store) -> None:
        first = added(store)
        store.sandboxes.remove(first.id, 9.0)
        second = added(store, "b", address=first.address)
        (lease,) = store.sandboxes.leases()
        assert (lease.sandbox_id, lease.freed_at) == (second.id, None)

    def test_an_address_in_use_is_never_leased_twice(self, store: Store) -> None:
        first = added(store)
        with pytest.raises(sqlite3.IntegrityError):
            added(store, "b", address=first.address)
        assert len(store.sandboxes.all()) == 1

    def test_an_authority_comes_back_sealed(self, store: Store) -> None:
        sandbox = added(store)
        assert store.holds_sealed() is False
        store.authorities.put(sandbox.id, "pem", SEALED)
        assert store.authorities.get(sandbox.id) == ("pem", SEALED)
        assert store.holds_sealed() is True


class TestNames:
    def test_an_address_stands_for_one_name(self, store: Store) -> None:
        sandbox = added(store)
        ip = IPv4Address("198.18.0.3")
        store.names.put(sandbox.id, [NameAddress("old.example", ip, True, 5.0)])
        store.names.put(sandbox.id, [NameAddress("new.example", ip)])
        assert store.names.of(sandbox.id) == (NameAddress("new.example", ip),)

    def test_each_sandbox_has_the_range_to_itself(self, store: Store) -> None:
        rows = (NameAddress("x.example", IPv4Address("198.18.0.3"), True, 7.0),)
        one, two = added(store, "a"), added(store, "b")
        store.names.put(one.id, rows)
        store.names.put(two.id, rows)
        assert store.names.of(one.id) == store.names.of(two.id) == rows


class TestPolicies:
    @pytest.fixture(params=["sandbox", "global"])
    def scope(self, request: pytest.FixtureRequest, store: Store) -> int | None:
        return added(store).id if request.param == "sandbox" else None

    def test_revisions_count_from_one(self, store: Store, scope: int | None) -> None:
        assert store.policies.active(scope) is None
        one, new = store.policies.put(a_policy(scope, "d1"), keep=9)
        two, _ = store.policies.put(a_policy(scope, "d2"), keep=9)
        assert new
        assert (one.revision, two.revision) == (1, 2)
        assert store.policies.active(scope) == two
        assert [(p.revision, p.status) for p in store.policies.history(scope)] == [
            (2, PolicyStatus.ACTIVE),
            (1, PolicyStatus.SUPERSEDED),
        ]

    def test_an_identical_push_changes_nothing(self, store: Store, scope: int | None) -> None:
        one, _ = store.policies.put(a_policy(scope, "d1"), keep=9)
        assert store.policies.put(a_policy(scope, "d1", text="# other"), keep=9) == (one, False)
        assert len(store.policies.history(scope)) == 1

    def test_an_older_policy_comes_back_as_a_new_revision(
        self, store: Store, scope: int | None
    ) -> None:
        for digest in ("d1", "d2", "d1"):
            store.policies.put(a_policy(scope, digest), keep=9)
        active = store.policies.active(scope)
        assert active is not None
        assert (active.revision, active.digest) == (3, "d1")

    def test_another_revision_than_expected_is_a_conflict(
        self, store: Store, scope: int | None
    ) -> None:
        store.policies.put(a_policy(scope, "d1"), keep=9, if_revision=0)
        with pytest.raises(Conflict, match="revision 1 is in force, not 0") as caught:
            store.policies.put(a_policy(scope, "d2"), keep=9, if_revision=0)
        assert caught.value.details == {"revision": 1}
        assert store.policies.put(a_policy(scope, "d2"), keep=9, if_revision=1)[1]

    def test_a_failed_revision_gives_way_to_the_one_before(
        self, store: Store, scope: int | None
    ) -> None:
        one, _ = store.policies.put(a_policy(scope, "d1"), keep=9)
        store.policies.put(a_policy(scope, "d2"), keep=9)
        assert store.policies.fail(scope, 2, "no room", restore=1) == one
        failed = store.policies.get(scope, 2)
        assert (failed.status, failed.message) == (PolicyStatus.FAILED, "no room")
        again, new = store.policies.put(a_policy(scope, "d2"), keep=9)
        assert (again.revision, new) == (3, True)

    def test_a_failed_first_revision_leaves_none(self, store: Store, scope: int | None) -> None:
        store.policies.put(a_policy(scope, "d1"), keep=9)
        assert store.policies.fail(scope, 1, "no", restore=0) is None

    def test_history_is_bounded(self, store: Store, scope: int | None) -> None:
        for number in range(6):
            store.policies.put(a_policy(scope, f"d{number}"), keep=3)
        assert [p.revision for p in store.policies.history(scope)] == [6, 5, 4]
        with pytest.raises(NotFound, match="revision 2"):
            store.policies.get(scope, 2)

    def test_removal_keeps_history_and_numbers(self, store: Store, scope: int | None) -> None:
        store.policies.put(a_policy(scope, "d1"), keep=9)
        assert store.policies.remove(scope) is True
        assert store.policies.remove(scope) is False
        assert store.policies.active(scope) is None
        assert store.policies.put(a_policy(scope, "d1"), keep=9)[0].revision == 2

    def test_scopes_do_not_mix(self, store: Store) -> None:
        one = added(store)
        store.policies.put(a_policy(None, "g"), keep=9)
        store.policies.put(a_policy(one.id, "s"), keep=9)
        active = store.policies.active(None)
        assert active is not None
        assert active.digest == "g"
        store.sandboxes.remove(one.id, 1.0)
        assert store.policies.active(None) == active


class TestProviders:
    def test_credentials_are_listed_by_name_only(self, store: Store) -> None:
        store.providers.add(a_provider(), {"KEY": SEALED, "ALSO": SEALED})
        assert store.providers.get("p").credentials == ("ALSO", "KEY")
        assert store.providers.credentials("p") == {"ALSO": SEALED, "KEY": SEALED}
        assert store.holds_sealed()

    def test_a_name_is_given_once(self, store: Store) -> None:
        store.providers.add(a_provider(), {})
        with pytest.raises(Conflict, match="'p' exists"):
            store.providers.add(a_provider(), {"KEY": SEALED})
        assert not store.holds_sealed()

    def test_an_absent_one_names_the_nearest(self, store: Store) -> None:
        store.providers.add(a_provider("nvidia"), {})
        with pytest.raises(NotFound, match="did you mean 'nvidia'"):
            store.providers.update("nvida", 2.0, config={})

    def test_update_touches_only_what_is_named(self, store: Store) -> None:
        store.providers.add(a_provider(), {"A": SEALED, "B": SEALED})
        other = Sealed("k2", b"x")
        changed = store.providers.update("p", 5.0, credentials={"A": None, "C": other})
        assert (changed.credentials, changed.config, changed.updated) == (("B", "C"), {"B": "1"}, 5)
        assert store.providers.update("p", 6.0, config={}).config == {}
        assert store.providers.all() == (store.providers.get("p"),)

    def test_what_a_probe_saw_is_forgotten_where_something_else_would_answer(
        self, store: Store
    ) -> None:
        store.providers.add(a_provider(), {"KEY": SEALED})
        stored = store.inference.put(a_route(None))
        store.inference.note_verified(stored, 3.0)
        store.providers.update("p", 4.0, credentials={"KEY": Sealed("k2", b"renewed")})
        assert [route.verified for route in store.inference.all()] == [3.0]
        store.providers.update("p", 5.0, config={}, unverify=True)
        assert [route.verified for route in store.inference.all()] == [None]

    def test_a_provider_in_use_stays_unless_forced(self, store: Store) -> None:
        sandbox = added(store)
        store.providers.add(a_provider(), {"KEY": SEALED})
        store.inference.put(a_route(None))
        store.inference.put(a_route(sandbox.id))
        with pytest.raises(Conflict, match="2 inference routes"):
            store.providers.remove("p")
        gone = store.providers.remove("p", force=True)
        assert {route.scope for route in gone} == {None, sandbox.id}
        assert store.inference.all() == ()
        assert not store.holds_sealed()
        with pytest.raises(NotFound):
            store.providers.remove("p")


class TestInference:
    def test_a_route_needs_its_provider(self, store: Store) -> None:
        with pytest.raises(NotFound, match="no provider 'p'"):
            store.inference.put(a_route(None))

    def test_versions_never_go_back(self, store: Store) -> None:
        store.providers.add(a_provider(), {})
        assert store.inference.put(a_route(None)).version == 1
        assert store.inference.put(a_route(None, model="n")).version == 2
        assert store.inference.remove(None) is True
        assert store.inference.remove(None) is False
        assert store.inference.put(a_route(None)).version == 3

    def test_the_default_comes_first(self, store: Store) -> None:
        store.providers.add(a_provider(), {})
        sandbox = added(store)
        store.inference.put(a_route(sandbox.id, model="own"))
        store.inference.put(a_route(None))
        assert [route.scope for route in store.inference.all()] == [None, sandbox.id]
        found = store.inference.find(sandbox.id)
        assert found is not None
        assert found.model == "own"


class TestWhole:
    def test_a_state_has_an_identity(self, store: Store, path: Path, tmp_path: Path) -> None:
        identity = store.state_id
        store.close()
        again, other = Store(path), Store(tmp_path / "other.db")
        assert again.state_id == identity != other.state_id
        again.close()
        other.close()

    def test_change_numbers_go_up(self, store: Store) -> None:
        assert [store.last_change, store.next_change(), store.next_change()] == [0, 1, 2]
        assert store.last_change == 2

    def test_an_idempotency_key_answers_once_more(self, store: Store) -> None:
        assert store.recall("k", "r", 10.0) is None
        store.remember("k", "r", {"name": "a"}, 10.0)
        assert store.recall("k", "r", 20.0) == {"name": "a"}
        with pytest.raises(Conflict, match="another request"):
            store.recall("k", "other", 20.0)
        assert store.recall("k", "r", 10.0 + 86401) is None
        store.remember("l", "r", {}, 10.0 + 86401)
        assert store._db.one("SELECT count(*) AS n FROM idempotency")["n"] == 1  # type: ignore[index]

    def test_no_more_keys_are_kept_than_are_allowed(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("netmgr.store.MAX_IDEMPOTENCY", 3)
        for number in range(1, 7):
            store.remember(f"k{number}", "r", {"n": number}, float(number))
        kept = [store.recall(f"k{number}", "r", 7.0) for number in range(1, 7)]
        assert kept == [None, None, None, {"n": 4}, {"n": 5}, {"n": 6}]

    def test_a_failure_in_the_middle_undoes_all(self, store: Store) -> None:
        sandbox = a_sandbox(store)
        with suppress(ZeroDivisionError), store.transaction():
            store.sandboxes.add(sandbox)
            store.next_change()
            1 / 0  # noqa: B018
        assert store.sandboxes.all() == ()
        assert store.last_change == 0
        store.sandboxes.add(sandbox)  # and the store works on

    def test_a_caught_inner_failure_undoes_all_the_same(self, store: Store) -> None:
        def careless() -> None:
            with store.transaction():
                store.next_change()
                with suppress(RuntimeError), store.transaction():
                    store.next_change()
                    raise RuntimeError
                store.remember("k", "r", {}, 1.0)

        with pytest.raises(RuntimeError, match="the rest went on"):
            careless()
        assert store.last_change == 0
        assert store.recall("k", "r", 2.0) is None
        assert store.next_change() == 1

    def test_the_file_is_for_its_owner_alone(self, store: Store, path: Path) -> None:
        added(store)
        for file in path.parent.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file

    def test_commits_are_synced(self, store: Store) -> None:
        row = store._db.one("PRAGMA synchronous")
        assert row is not None
        assert row[0] == 2  # FULL
        journal = store._db.one("PRAGMA journal_mode")
        assert journal is not None
        assert journal[0] == "wal"


class TestTrouble:
    def test_a_newer_database_is_refused(self, path: Path) -> None:
        Store(path).close()
        with sqlite3.connect(path) as raw:
            raw.execute("PRAGMA user_version = 99")
        raw.close()
        with pytest.raises(HostFailed, match="newer netmgr"):
            Store(path)

    def test_a_file_that_is_no_database_is_refused(self, path: Path) -> None:
        path.write_bytes(b"not a database" * 1000)
        with pytest.raises(HostFailed, match="damaged"):
            Store(path)

    def test_a_missing_directory_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(HostFailed, match="No such file"):
            Store(tmp_path / "absent" / "state.db")

    def test_a_held_database_is_a_matter_of_time(
        self, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store._db.execute("PRAGMA busy_timeout = 10")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryLater, match="another program"):
            store.next_change()
        other.execute("ROLLBACK")
        other.close()
        assert store.next_change() == 1

    def test_a_full_database_changes_nothing(self, store: Store) -> None:
        sandbox = added(store)

        def change() -> None:
            with store.transaction():
                store.next_change()
                store.policies.put(a_policy(sandbox.id, "d", text="x" * 100_000), keep=3)

        pages = store._db.one("PRAGMA page_count")
        assert pages is not None
        store._db.execute(f"PRAGMA max_page_count = {pages[0]}")
        with pytest.raises(HostFailed, match="no space left"):
            change()
        assert store.last_change == 0
        assert store.policies.active(sandbox.id) is None
        store._db.execute("PRAGMA max_page_count = 100000")
        change()
        assert store.last_change == 1

    def test_a_write_that_the_kernel_refuses_changes_nothing(
        self, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sandbox = added(store)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # write(2) answers EFBIG instead
        size = path.with_name("state.db-wal").stat().st_size
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            with pytest.raises(HostFailed, match="nothing was changed"):
                store.policies.put(a_policy(sandbox.id, "d", text="x" * 100_000), keep=3)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, before)
        assert store.policies.active(sandbox.id) is None
        assert store.policies.put(a_policy(sandbox.id, "d"), keep=3)[1]

    def test_what_was_committed_survives_a_kill(self, path: Path) -> None:
        script = textwrap.dedent(
            """
            import os, signal, sys
            from pathlib import Path
            from netmgr.store import Store
            store = Store(Path(sys.argv[1]))
            for _ in range(10):
                store.next_change()
            store._db.execute("BEGIN IMMEDIATE")
            store._db.execute("UPDATE counters SET value = 99")
            os.kill(os.getpid(), signal.SIGKILL)
            """
        )
        done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=os.getcwd())
        assert done.returncode == -signal.SIGKILL
        store = Store(path)
        assert store.last_change == 10
        store.close()

    def test_a_label_is_a_scope_of_its_own(self, store: Store) -> None:
        store.providers.add(a_provider(), {})
        store.inference.put(a_route(None))
        labelled = replace(a_route(None), label="team=ml", aliases={"fast": "small"})
        assert store.inference.put(labelled).version == 1
        found = store.inference.find(None, "team=ml")
        assert found is not None
        assert found.aliases == {"fast": "small"}
        assert store.inference.remove(None, "team=ml") is True
        assert store.inference.find(None) is not None

    def test_only_the_version_that_was_seen_is_replaced(self, store: Store) -> None:
        store.providers.add(a_provider(), {})
        store.inference.put(a_route(None), if_version=0)
        with pytest.raises(Conflict, match="version 1, not 0"):
            store.inference.put(a_route(None), if_version=0)
        assert store.inference.put(a_route(None), if_version=1).version == 2
