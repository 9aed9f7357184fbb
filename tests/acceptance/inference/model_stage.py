"""Owns: what inference cases share: a world with providers, sandboxes with a talker each, and the
operator who configures routes by the command line.

A provider of a given shape is created once and used again; a route is set where another is in
force.
"""

import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import yaml
from acceptance.inference.connect_proxy import CREDENTIAL, ConnectProxy
from acceptance.inference.provider import Provider
from acceptance.inference.talk import Talker
from world import Sandbox, World
from world.internet import Site

HERE: Final = Path(__file__).parent
TABLE: Final[dict[str, Any]] = yaml.safe_load((HERE / "cases.yaml").read_text())
TABLE["cases"] += yaml.safe_load((HERE / "neighbours.yaml").read_text())["cases"]

ORIGIN: Final = "model.test"
WRONG: Final = "wrong.test"  # leads to the same server, whose certificate is not for it
REBOUND: Final = "rebound.test"  # leads to what clouds keep their machines' credentials at
METADATA: Final = "169.254.169.254"
OTHER: Final = "other.test"  # where a redirect would lead
CLOSED: Final = "http://host.openshell.internal:9"  # nothing listens there
ON_HOST: Final = ("127.0.0.1", 8081)  # a server on the host's loopback

# How the table's settings are spelt; times are short, so that what waits for them is quick.
SETTINGS: Final[dict[str, Any]] = {
    "inference_body_bytes": 10 * 1024 * 1024,
    "request_head_timeout_s": 3.0,
    "drain_s": 0.5,
    "mock_providers": True,
}
VERTEX: Final = "us-east5-aiplatform.googleapis.com"
VERTEX_GLOBAL: Final = "aiplatform.googleapis.com"
BEDROCK: Final = "bedrock-runtime.us-east-1.amazonaws.com"
AZURE: Final = "acme.openai.azure.com"
VENDORS: Final = (VERTEX, VERTEX_GLOBAL, BEDROCK, AZURE)
MUTUAL: Final = "mutual.test"  # wants a client's certificate
PROXY: Final = "proxy.test"
PROXY_PORT: Final = 3128  # of an upstream proxy at the provider's address
# The credential of types that have one, and nothing else to say.
KEYS: Final = {
    "openai": "OPENAI",
    "nvidia": "NVIDIA",
    "anthropic": "ANTHROPIC",
    "deepinfra": "DEEPINFRA",
}
_CONFIG: Final = {"idle_timeout_s": "IDLE_TIMEOUT", "first_byte_timeout_s": "FIRST_BYTE_TIMEOUT"}

_DEFAULTS: Final = {"origin": f"https://{ORIGIN}"}

Route = dict[str, Any]
Done = subprocess.CompletedProcess[str]


class ModelStage:
    """A world for inference cases. Made by `model_stage`."""

    def __init__(self, world: World, stack: ExitStack) -> None:
        self.world = world
        self._stack = stack
        self._providers: dict[str, str] = {}  # the route's JSON -> provider's name
        self._numbers = count(1)
        self._in_force: dict[str | None, str | None] = {None: None}
        self._talkers: dict[str, Talker] = {}
        address = world.internet.address()
        for name in (ORIGIN, WRONG):
            world.internet.zone.set(name, address)
        world.internet.zone.set(REBOUND, METADATA)
        for name in (*VENDORS, PROXY):
            world.internet.zone.set(name, address)
        tls = world.authority.server_context(ORIGIN, *VENDORS)
        self.provider = Provider(world.inet, address, 443, tls)
        stack.callback(self.provider.close)
        self.proxy = ConnectProxy(world.inet, address, PROXY_PORT, (address, 443))
        stack.callback(self.proxy.close)
        self.mutual = self._mutual(stack)
        self.local = Provider(world.host, *ON_HOST)
        stack.callback(self.local.close)
        self.other: Site = world.internet.http(OTHER)

    def _mutual(self, stack: ExitStack) -> Provider:
        """A provider that talks to those only who show a certificate of the world's authority."""
        internet, authority = self.world.internet, self.world.authority
        address = internet.address()
        internet.zone.set(MUTUAL, address)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(authority.leaf_file(MUTUAL))
        tls.load_verify_locations(cadata=authority.root_pem)
        tls.verify_mode = ssl.CERT_REQUIRED
        made = Provider(self.world.inet, address, 443, tls)
        stack.callback(made.close)
        return made

    # -- the operator ----------------------------------------------------------------------

    def netmgr(self, *argv: str, status: int = 0, **options: Any) -> Done:
        """A command of the operator's that ends with `status`."""
        done: Done = self.world.netmgr(*argv, **options)
        story = f"netmgr {' '.join(argv)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == status, story
        return done

    def netmgr_json(self, *argv: str) -> Any:
        """What such a command prints as JSON."""
        return json.loads(self.netmgr(*argv, "-o", "json").stdout)

    def route(self, name: str, **parts: Any) -> Route:
        """A route of the table, with parts replaced."""
        return _DEFAULTS | TABLE["routes"][name] | {"name": name} | parts

    def provider_of(self, route: Route) -> str:
        """The name of a provider for that route; created where there is none yet."""
        kept = {key: value for key, value in route.items() if key not in ("model", *_TIMEOUTS)}
        shape = json.dumps(kept, sort_keys=True)
        if shape not in self._providers:
            name = f"{route['name']}{next(self._numbers)}"
            self._providers[shape] = name
            create = ["provider", "create", "--name", name, "--type", route["type"]]
            self.netmgr(*create, *self._provider_words(route))
        return self._providers[shape]

    def _provider_words(self, route: Route) -> list[str]:
        """Credentials and settings of a route's provider, for the command line."""
        prefix = KEYS.get(route["type"])
        config = dict(route.get("config", {}))
        credentials = dict(route.get("credentials", {}))
        if prefix is not None:
            credentials[f"{prefix}_API_KEY"] = route["key"]
        if "base" in route:
            config["BASE_URL"] = route["origin"] + route["base"]
        config |= {name: route[key] for key, name in _CONFIG.items() if key in route}
        if route.get("mutual"):
            leaf = self.world.authority.leaf_file("client.test")
            begin = "-----BEGIN PRIVATE KEY-----"
            credentials["CLIENT_KEY_PEM"] = begin + leaf.read_text().partition(begin)[2]
            config["CLIENT_CERT_PEM"] = f"@{leaf}"
        if route.get("proxied"):
            config["PROXY"] = f"http://{PROXY}:{PROXY_PORT}"
            credentials["PROXY_CREDENTIAL"] = CREDENTIAL
        words = [f"--credential={key}={value}" for key, value in credentials.items()]
        return words + [f"--config={key}={value}" for key, value in config.items()]

    def set_words(self, route: Route, sandbox: str | None = None) -> list[str]:
        """The command that puts a route in force."""
        words = ["inference", "set", "--provider", self.provider_of(route)]
        words += ["--model", route["model"]]
        for key, option in _TIMEOUTS.items():
            words += [option, str(route[key])] if key in route else []
        return words + (["--sandbox", sandbox] if sandbox else [])

    def put_in_force(self, route: Route | None, sandbox: str | None = None) -> None:
        """Let this route hold (None: none), unverified; nothing where it does already."""
        shape = json.dumps(route, sort_keys=True) if route is not None else None
        if sandbox in self._in_force and self._in_force[sandbox] == shape:
            return
        where = ["--sandbox", sandbox] if sandbox else []
        if route is None:
            self.netmgr("inference", "delete", *where)
        else:
            self.netmgr(*self.set_words(route, sandbox), "--no-verify")
        self._in_force[sandbox] = shape

    def forget_routes(self) -> None:
        """A case has set routes by itself: what holds is not known any more."""
        self._in_force.clear()

    def forget_provider(self, route: Route) -> None:
        """A case has changed this route's provider: nothing else may use it."""
        name = self.provider_of(route)
        self._providers = {key: value for key, value in self._providers.items() if value != name}
        self.forget_routes()

    # -- inside ----------------------------------------------------------------------------

    def talker(self, sandbox: str = "agent") -> Talker:
        """The talker of a sandbox; both are made where there is none."""
        if sandbox not in self._talkers:
            made: Sandbox = self.world.sandbox(sandbox)
            self._talkers[sandbox] = talker = Talker(self.world, made)
            self._stack.callback(talker.close)
        return self._talkers[sandbox]


_TIMEOUTS: Final = {"timeout_s": "--timeout", "total_timeout_s": "--total-timeout"}


@contextmanager
def model_stage(**settings: Any) -> Iterator[ModelStage]:
    """A stage in a world of its own: its daemon's limits are the table's, and what is given."""
    with World() as world, ExitStack() as stack:
        world.daemon(**SETTINGS | settings)
        yield ModelStage(world, stack)
