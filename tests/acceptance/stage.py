"""Owns: what a case finds when it begins: policies, servers, names, a sandbox; and its variables.

Servers are set up once per run and used again: their addresses stay, their records begin anew.
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from world import World, web
from world.internet import Site
from world.sandbox import Sandbox
from world.streams import Server

HERE: Final = Path(__file__).parent
SOON: Final = timedelta(seconds=9)  # time enough for the steps before, under load too
LONG: Final = "x" * 5000  # longer than the 4096 bytes that a path may have
FIELDS: Final = "".join(f"X-{number}: y\r\n" for number in range(100))  # with Host, one too many
_VARIABLE = re.compile(
    r"\{(it|sandbox|self|other|long|fields|soon|(?:address|real|sha256):[^}]+)\}"
)

POLICIES: Final[dict[str, str]] = yaml.safe_load((HERE / "policies.yaml").read_text())


class Stage:
    """The shared half: a world, and every server that a case ever asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._servers: dict[str, Site | Server] = {}
        self._addresses: dict[str, str] = {}

    def raise_servers(self, entries: list[str]) -> None:
        """Make the servers of a case; `entries` as in the tables: kind, name, port, flavour.

        `@ADDRESS` among them says where, which is a public address of its own otherwise.
        """
        for entry in entries:
            kind, _, rest = entry.partition(" ")
            if rest not in self._servers:
                self._servers[rest] = self._raise(kind, rest.split())
        for server in self._servers.values():
            server.forget()

    def server(self, key: str) -> Site | Server:
        """The server that a table calls `key`: its name, and its port unless it is the usual."""
        return self._servers[self._whole(key)]

    def address(self, key: str) -> str:
        """Its real address."""
        return self.server(key).address

    def addresses(self, turns: list[list[str]]) -> list[list[str]]:
        """What a name answers, turn by turn, with `{address:SERVER}` filled in."""
        return [
            [
                _VARIABLE.sub(lambda found: self.address(found[1].partition(":")[2]), each)
                for each in turn
            ]
            for turn in turns
        ]

    def _whole(self, key: str) -> str:
        fits = [known for known in self._servers if (known + " ").startswith(key + " ")]
        assert fits, f"no server {key!r}; there are {sorted(self._servers)}"
        return min(fits, key=len)

    def _raise(self, kind: str, words: list[str]) -> Site | Server:
        internet = self.world.internet
        name, options = words[0], [word for word in words[1:] if word[0] != "@"]
        port = int(options.pop(0)) if options and options[0].isdigit() else None
        if kind == "host":
            host = self.world.host
            return internet.listen_in(host, name, port or 0, web.Web(web.echo).handler)
        told = next((word[1:] for word in words if word[0] == "@"), None)
        address = self._addresses.setdefault(name, told or internet.address())
        if kind == "tcp":
            handler = web.banner(b"220 " + name.encode() + b"\r\n") if "banner" in options else None
            return internet.tcp(name, port or 0, handler or web.echo_bytes, address=address)
        if kind == "http":
            return internet.http(name, port=port or 80, address=address)
        assert kind == "https", kind
        tls = self._bad_tls(name, options[0]) if options else None
        return internet.https(name, port=port or 443, address=address, tls=tls)

    def _bad_tls(self, name: str, flavour: str) -> Any:
        authority = self.world.authority
        match flavour:
            case "expired":
                return authority.server_context(name, expired=True)
            case "self-signed":
                return authority.server_context(name, self_signed=True)
            case "wrong-name":
                return authority.server_context("another.test")
            case other:
                raise ValueError(f"no flavour {other!r}")


class Scene:
    """One case's own half: its sandbox and neighbours, and what the variables stand for."""

    def __init__(
        self, stage: Stage, sandbox: Sandbox, others: list[Sandbox], scratch: Path
    ) -> None:
        self.stage = stage
        self.world = stage.world
        self.sandbox = sandbox
        self.others = others
        self.scratch = scratch
        self.since = stage.world.capture.mark()

    def fill(self, value: Any, it: str | None) -> Any:
        """`value` with every variable in it replaced, in any depth."""
        if isinstance(value, str):
            return _VARIABLE.sub(lambda found: self._variable(found[1], it), value)
        if isinstance(value, list):
            return [self.fill(part, it) for part in value]
        if isinstance(value, dict):
            return {key: self.fill(part, it) for key, part in value.items()}
        return value

    def policy_file(self, text: str) -> Path:
        """A file with a policy: one of policies.yaml by its name, or `text` itself."""
        path = self.scratch / "policy.yaml"
        path.write_text(str(self.fill(POLICIES.get(text, text), None)))
        return path

    def _variable(self, name: str, it: str | None) -> str:
        match name:
            case "it":
                assert it is not None, "{it} stands for the items of `each`"
                return it
            case "sandbox":
                return self.sandbox.name
            case "self":
                return self.sandbox.address
            case "other":
                return self.others[0].address
            case "soon":
                soon = datetime.now(UTC) + SOON
                return soon.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            case "long":
                return LONG
            case "fields":
                return FIELDS
        kind, _, rest = name.partition(":")
        match kind:
            case "real":
                return str(Path(rest).resolve())
            case "sha256":
                return hashlib.sha256(Path(rest).read_bytes()).hexdigest()
            case _:
                return self.stage.address(rest)
