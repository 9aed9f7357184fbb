"""Owns: a whole world: its two namespaces, the link between them, and everything's end.

    ┌ sandboxes ┐   ┌ w12n1-hub ┐   ┌ w12n1.host ────────┐  up0  ┌ w12n1.inet ─────────────┐
    │ eth0 ─────┼───┤ nm...     │   │ netmgrd, dialer    ├───────┤ every public address,   │
    └───────────┘   └───────────┘   │ 192.0.2.1          │       │ name servers, servers   │
                                    └────────────────────┘       └─────────────────────────┘
No link leads out of it. The host forwards (as one with a container engine does) and has a default
route, so whatever netmgr let slip would arrive at the internet and be captured there.
"""

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import certifi

from world import internet, leaks
from world.authority import Authority
from world.capture import Capture
from world.daemon import Daemon, default_config
from world.internet import Internet
from world.namespaces import Namespace, ip_batch
from world.sandbox import Sandbox

HOST_ADDRESS: Final = "192.0.2.1"  # RFC 5737, TEST-NET-1
GATEWAY_ADDRESS: Final = "192.0.2.254"
HOST_V6: Final = "2001:db8::1"  # RFC 3849
GATEWAY_V6: Final = "2001:db8::fe"
# The daemon's run directory lies in memory, as /run does on every host with systemd; not here,
# perhaps, where the tests may run in a container.
MEMORY: Final = Path("/dev/shm")

_numbers = itertools.count(1)


class World:
    """A context manager; everything it made is gone at its end, or the end raises.

    Attributes:
        id: prefix of every name that this world makes, and netmgr's instance name in it.
        host: the namespace that the daemon takes for the host.
        internet: everything outside.
        capture: every frame on every link.
    """

    def __init__(self) -> None:
        self.id = f"w{os.getpid()}n{next(_numbers)}"
        self.host = Namespace(f"{self.id}.host")
        self.inet = Namespace(f"{self.id}.inet")
        self.directory = Path(tempfile.mkdtemp(prefix=f"{self.id}-"))
        self.directory.chmod(0o755)  # workers read the trust bundle as their own users
        self._memory = Path(tempfile.mkdtemp(prefix=f"{self.id}-", dir=MEMORY))
        self._memory.chmod(0o755)
        self.authority = Authority(self.directory)
        self._daemon: Daemon | None = None
        self._sandboxes: list[Sandbox] = []
        self._names = itertools.count(1)

    def __repr__(self) -> str:
        return f"World({self.id})"

    # -- beginning and end -----------------------------------------------------------------

    def __enter__(self) -> Self:
        self._before = leaks.Snapshot.take()
        try:
            self._build()
        except BaseException:
            self._close()
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        found = self._end()
        if kind is None:
            assert not found, f"{self} leaves behind:\n  " + "\n  ".join(found)

    def _build(self) -> None:
        ip_batch(
            [
                f"netns add {self.host.name}",
                f"netns add {self.inet.name}",
                f"link add up0 netns {self.host.name} type veth"
                f" peer name up0 netns {self.inet.name}",
            ]
        )
        self.host.sysctl("ipv4/ip_forward", 1)
        for namespace in (self.host, self.inet):
            namespace.sysctl("ipv6/conf/all/disable_ipv6", 0)
            namespace.sysctl("ipv6/conf/default/disable_ipv6", 0)
            namespace.sysctl("ipv6/conf/up0/disable_ipv6", 0)
        self.capture = Capture()
        self.capture.watch("host", self.host)
        self.capture.watch("inet", self.inet)
        self.host.ip(
            "link set lo up",
            f"address add {HOST_ADDRESS}/24 dev up0",
            f"address add {HOST_V6}/64 dev up0 nodad",
            "link set up0 up",
            f"route add default via {GATEWAY_ADDRESS}",
            f"route add ::/0 via {GATEWAY_V6}",
        )
        self.inet.ip(
            "link set lo up",
            f"address add {GATEWAY_ADDRESS}/24 dev up0",
            f"address add {GATEWAY_V6}/64 dev up0 nodad",
            "link set up0 up",
            *internet.routes(),
        )
        self.internet = Internet(self.inet, self.authority)

    def _end(self) -> list[str]:
        """End everything; what was left over, and what could not be ended in good order."""
        found: list[str] = []
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            found += self._end_daemon(daemon)
            self._daemon = None
        self._close()
        namespaces = [self.host, self.inet, Namespace(f"{self.id}-hub")]
        found += leaks.left_processes(namespaces)
        expected = frozenset(ns.name for ns in namespaces)
        found += leaks.left_namespaces((f"{self.id}.", f"{self.id}-"), expected)
        self._remove()
        found += leaks.left_mounts((self.id,))
        found += self._before.leaks_since()
        return found

    def _end_daemon(self, daemon: Daemon) -> list[str]:
        found: list[str] = []
        if daemon.process is not None:
            try:
                daemon.delete_sandboxes()
                found += leaks.left_in_hub(daemon.hub, self._empty_hub)
                daemon.stop()
            except (AssertionError, OSError) as failure:
                found.append(f"the daemon's end: {failure}")
                daemon.kill()
        daemon.clean()
        return found

    def _close(self) -> None:
        for part in ("internet", "capture"):
            if hasattr(self, part):
                getattr(self, part).close()

    def _remove(self) -> None:
        for namespace in (self.host, self.inet, Namespace(f"{self.id}-hub")):
            namespace.delete()
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self._memory, ignore_errors=True)

    # -- netmgr in it ----------------------------------------------------------------------

    def daemon(self, **config: Any) -> Daemon:
        """Start netmgr here (once); `config` overrides keys of its config file."""
        assert self._daemon is None, "this world has its daemon"
        settings = default_config(self._trust_file(), **config)
        daemon = Daemon(self.id, self.host, self.directory, self._memory, settings)
        self._daemon = daemon
        daemon.start()
        self._empty_hub = leaks.contents_of(daemon.hub)
        self.capture.watch("hub", daemon.hub)
        return daemon

    @property
    def netmgrd(self) -> Daemon:
        """The daemon that was started."""
        assert self._daemon is not None, "no daemon was started in this world"
        return self._daemon

    def netmgr(self, *argv: str, **options: Any) -> Any:
        """Run `netmgr ARGV...`; a CompletedProcess."""
        return self.netmgrd.cli(*argv, **options)

    def do(self, *words: str, status: int = 0, **options: Any) -> str:
        """What a command prints that ends with that status: its data, or else its errors."""
        done = self.netmgr(*words, **options)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return str(done.stdout if status == 0 else done.stderr)

    def show(self, *words: str, **options: Any) -> Any:
        """The same as JSON."""
        return json.loads(self.do(*words, "-o", "json", **options))

    def provider(self, name: str, base_url: str) -> None:
        """A provider of the type `openai` with the key `sk-NAME`."""
        words = ["--name", name, "--type", "openai", "--credential", "OPENAI_API_KEY=-"]
        words += ["--config", f"OPENAI_BASE_URL={base_url}"]
        self.do("provider", "create", *words, stdin=f"sk-{name}")

    @contextmanager
    def routed(self, text: str, providers: Mapping[str, str]) -> Iterator[None]:
        """A routing file in force, and the providers (name -> base URL) that its endpoints name;
        both are gone afterwards."""
        path = self.directory / "routing.yaml"
        path.write_text(text)
        for name, base_url in providers.items():
            self.provider(name, base_url)
        self.do("route", "set", str(path))
        yield
        self.do("route", "delete")
        for name in providers:
            self.do("provider", "delete", name, "--force")

    def sandbox(
        self,
        name: str | None = None,
        policy: str | None = None,
        *,
        allow: Sequence[str] = (),
        watch: bool = False,
        **more: Any,
    ) -> Sandbox:
        """A new sandbox; `watch` records the frames on its own link, under its name."""
        name = name or f"s{next(self._names)}"
        body = {"name": name, "allow": list(allow), "labels": {}, **more}
        if policy is not None:
            body["policy"] = {"text": policy, "source": "test.yaml"}
        status, answer = self.netmgrd.api("POST", "/v1/sandboxes", body)
        assert status == 201, answer
        sandbox = Sandbox(self.netmgrd, answer)
        if watch:
            self.capture.watch(name, sandbox.namespace)
        return sandbox

    def _trust_file(self) -> Path:
        """The roots that this world's host trusts: its own, and those that every host has."""
        path = self.directory / "trust.pem"
        path.write_text(self.authority.root_pem + Path(certifi.where()).read_text())
        return path
