"""Owns: every setting of the daemon, once: key, type, unit, default, bounds and meaning.

`Settings()` holds the defaults, `Settings.for_instance(name)` those of another instance;
netmgr.settings.file reads them from /etc/netmgr/netmgr.yaml, netmgr.settings.docs prints
docs/config.md. The file is flat: one key, one value. Knows nothing of who uses a setting.
"""
# ruff: noqa: RUF009 - the calls below return dataclasses.field()

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.model import InstanceName, parse_instance_name
from netmgr.settings.agreement import check_accounts, check_pools
from netmgr.settings.fields import account, count, seconds, value
from netmgr.settings.plugins import PluginName, parse_routers, parse_scorers
from netmgr.settings.stages import StageSettings
from netmgr.settings.values import (
    Account,
    Key,
    KeySource,
    Nameserver,
    Network,
    parse_choice,
    parse_choices,
    parse_flag,
    parse_int,
    parse_key_source,
    parse_nameservers,
    parse_optional_path,
    parse_path,
    parse_pool,
    parse_ports,
    parse_public_networks,
    parse_text,
)

DEFAULT_INSTANCE: Final = InstanceName("netmgr")
GATEWAY: Final = IPv4Address("169.254.77.1")  # the hub as every sandbox sees it; never on a wire
_WORKERS: Final = ("dns", "proxy", "dialer", "watch", "scan", "middleware", "router")
ACCOUNTS: Final = tuple(f"{worker}_account" for worker in _WORKERS)

KIB: Final = 1024
MIB: Final = 1024 * KIB
DERIVED: Final = Path()  # a directory that follows from the instance's name


def _instance(raw: Any) -> InstanceName:
    try:
        return parse_instance_name(parse_text(raw))
    except BadInput as problem:
        raise ValueError(problem.message) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(StageSettings):
    """All settings of one daemon; times in seconds, sizes in bytes.

    Raises:
        BadInput: on construction, where two settings contradict each other.
    """

    instance: InstanceName = value(
        "Places",
        DEFAULT_INSTANCE,
        _instance,
        "Name of this daemon on the host. It is part of its directories and of every kernel name, "
        "so that several daemons can live side by side.",
    )
    state_dir: Path = value(
        "Places",
        DERIVED,
        parse_path,
        "Directory of the database, the journal and the key; mode 0700.",
        shown="/var/lib/netmgr; of another instance /var/lib/netmgr-INSTANCE",
    )
    run_dir: Path = value(
        "Places",
        DERIVED,
        parse_path,
        "Directory of the control socket and of the files that sandboxes get.",
        shown="/run/netmgr; of another instance /run/netmgr-INSTANCE",
    )
    netns_dir: Path = value(
        "Places",
        Path("/run/netns"),
        parse_path,
        "Directory in which named network namespaces are mounted, as ip-netns(8) has it.",
    )
    socket_group: str = value(
        "Places",
        "netmgr",
        parse_text,
        "Group that may use the control socket besides root. Where the host has no such group, "
        "only root may.",
    )
    ca_roots: Path | None = value(
        "Places",
        None,
        parse_optional_path,
        "PEM file of the authorities that upstream servers are verified against, and that "
        "sandboxes trust besides their own.",
        shown="the distribution's bundle, else certifi's",
    )
    trust_stores: tuple[str, ...] = value(
        "Places",
        (),
        parse_choices("java", "nss"),
        "Stores of certificates that every sandbox gets besides the PEM bundle: `java` (PKCS #12), "
        "`nss` (Chromium, Firefox; needs certutil). Others are made when they are asked for "
        "(docs/trust.md); each costs a creation some ten milliseconds.",
    )
    provider_types_dir: Path | None = value(
        "Places",
        Path("/etc/netmgr/provider-types"),
        parse_optional_path,
        "Directory of `*.yaml` files, each a type of model provider of the operator's own "
        "(docs/inference.md). It need not exist. Read again on SIGHUP.",
        live=True,
    )
    model_routers: tuple[PluginName, ...] = value(
        "Places",
        (),
        parse_routers,
        "Router plug-ins that a routing file may name (docs/model-routing.md): `NAME` of an "
        "installed entry point, or `NAME=/PATH/TO/PROGRAM` that is asked in JSON lines.",
    )
    route_scorers: tuple[str, ...] = value(
        "Places",
        (),
        parse_scorers,
        "Scorer plug-ins that the `weighted` router may use: names of installed entry points.",
    )
    mock_providers: bool = value(
        "Places", False, parse_flag, "Test mode: base URLs may be `mock://NAME`.", live=True
    )
    log_level: str = value(
        "Places",
        "info",
        parse_choice("debug", "info", "warning", "error"),
        "How much the daemon tells on stderr. Decisions go to the journal, not to the log.",
        live=True,
    )

    sandbox_pool: IPv4Network = value(
        "Addresses",
        IPv4Network("10.77.0.0/16"),
        parse_pool,
        "Addresses that sandboxes get, one each. Must not overlap a route of the host.",
    )
    name_pool: IPv4Network = value(
        "Addresses",
        IPv4Network("198.18.0.0/15"),
        parse_pool,
        "Private addresses that stand for names. Every sandbox has the whole range to itself.",
    )
    lease_quarantine_s: float = seconds(
        "Addresses",
        600.0,
        (1.0, 86400.0),
        "How long a sandbox's address rests before another sandbox may get it.",
    )
    name_quarantine_s: float = seconds(
        "Addresses",
        86400.0,
        (86400.0, 30 * 86400.0),
        "How long a private address rests before it may stand for another name, once no fresh "
        "one is left.",
    )

    proxy_workers: int = value(
        "Processes",
        0,
        parse_int,
        "Number of proxy workers; 0 is one per processor.",
        least=0,
        most=256,
    )
    dns_account: Account = account(0, "dns worker")
    proxy_account: Account = account(1, "proxy workers")
    dialer_account: Account = account(2, "dialer")
    watch_account: Account = account(3, "watcher of kernel denials")
    worker_ack_s: float = seconds(
        "Processes",
        2.0,
        (0.5, 10.0),
        "How long a worker may take to acknowledge a change before it is killed and restarted.",
    )
    drain_s: float = seconds(
        "Processes", 5.0, (0.5, 60.0), "How long flows may go on after SIGTERM."
    )
    rules_check_s: float = seconds(
        "Processes", 10.0, (0.5, 3600.0), "How often changes of the hub by hand are put right."
    )

    dns_servers: tuple[Nameserver, ...] = value(
        "Upstream DNS",
        (),
        parse_nameservers,
        "Servers that the dialer asks, in order: `ADDRESS`, `IPV4:PORT` or `[IPV6]:PORT`.",
        live=True,
        shown="the nameservers of /etc/resolv.conf",
    )
    dns_try_s: float = seconds(
        "Upstream DNS", 1.5, (0.1, 30.0), "How long one server may take for one question."
    )
    dns_total_s: float = seconds(
        "Upstream DNS", 8.0, (0.2, 60.0), "How long the resolution of one name may take in all."
    )
    dns_answer_ttl_s: int = count(
        "Upstream DNS",
        30,
        (1, 30),
        "TTL of the answers that sandboxes get.",
        unit="seconds",
    )

    treat_as_public: tuple[Network, ...] = value(
        "Address guard",
        (),
        parse_public_networks,
        "Networks that count as public although they are not, for example a company's own "
        "addresses inside 100.64.0.0/10. Loopback and link-local never do.",
        live=True,
    )
    control_plane_ports: tuple[int, ...] = value(
        "Address guard",
        (2375, 2376, 2379, 2380, 6443, 10250, 10255),
        parse_ports,
        "Ports that are never dialled for a sandbox, whatever a policy says: container engines, "
        "etcd, Kubernetes.",
        live=True,
    )

    connect_timeout_s: float = seconds(
        "Time-outs", 10.0, (0.1, 120.0), "Connecting to an upstream, TLS included."
    )
    hello_timeout_s: float = seconds(
        "Time-outs", 10.0, (1.0, 60.0), "A client's first bytes until they can be classified."
    )
    request_head_timeout_s: float = seconds(
        "Time-outs", 15.0, (1.0, 60.0), "A request's head, from its first byte."
    )
    request_body_timeout_s: float = seconds(
        "Time-outs", 60.0, (1.0, 3600.0), "Silence within a request's body."
    )
    keepalive_timeout_s: float = seconds(
        "Time-outs", 120.0, (1.0, 3600.0), "An idle kept-alive connection of a sandbox."
    )
    response_head_timeout_s: float = seconds(
        "Time-outs", 120.0, (1.0, 3600.0), "An upstream's answer to begin, outside inference."
    )
    flow_idle_timeout_s: float = seconds(
        "Time-outs", 7200.0, (10.0, 7 * 86400.0), "Silence in both directions of a relayed flow."
    )
    vault_key: KeySource = value(
        "Places",
        KeySource(),
        parse_key_source,
        "Where the key of what is encrypted at rest is: `file` (`vault.key` in `state_dir`), "
        "`credential:NAME` (systemd's) or `keyring:DESCRIPTION` (a `user` key of root's keyring).",
    )
    spiffe_svid: Path | None = value(
        "Places",
        None,
        parse_optional_path,
        "File with a JWT-SVID that a SPIFFE agent keeps fresh: for `spiffe-token-grant`.",
        shown="none",
        live=True,
    )
    credential_warning_s: float = seconds(
        "Time-outs",
        7 * 86400.0,
        (0.0, 365 * 86400.0),
        "How long before its end a credential is told of: a record, and a line in `netmgr status`.",
    )
    inference_timeout_s: float = seconds(
        "Time-outs",
        60.0,
        (1.0, 3600.0),
        "A buffered inference answer whole, or a stream until its first body byte, where the "
        "route says nothing else.",
    )

    request_head_bytes: int = count(
        "Limits", 16 * KIB, (1 * KIB, 16 * KIB), "A request's head.", unit="bytes"
    )
    request_headers: int = count("Limits", 100, (10, 100), "Header fields in a request.")
    response_head_bytes: int = count(
        "Limits", 64 * KIB, (4 * KIB, 256 * KIB), "An upstream response's head.", unit="bytes"
    )
    inference_body_bytes: int = count(
        "Limits",
        32 * MIB,
        (1 * KIB, 256 * MIB),
        "An inference request's body, and a buffered answer's.",
        unit="bytes",
    )
    connections_per_sandbox: int = count(
        "Limits", 1024, (1, 65536), "Connections of one sandbox at the same time."
    )
    dns_queries_per_second: int = count(
        "Limits", 200, (1, 100000), "DNS questions of one sandbox per second, on average."
    )
    wildcard_names_per_sandbox: int = count(
        "Limits",
        1024,
        (1, 65536),
        "Names that one sandbox may bring into being through the wildcards of its policy.",
    )
    max_sandboxes: int = count("Limits", 4096, (1, 65536), "Sandboxes of this daemon.")
    policy_history: int = count("Limits", 100, (1, 10000), "Revisions kept of each policy.")

    journal_rows: int = count(
        "Journal", 1_000_000, (1000, 100_000_000), "Decision records that are kept."
    )
    journal_days: int = count(
        "Journal", 30, (1, 3650), "Age at which a decision record goes.", unit="days"
    )
    journal_repeat_s: float = seconds(
        "Journal", 10.0, (1.0, 10.0), "Repeats of a decision become one record in this time."
    )

    def __post_init__(self) -> None:
        suffix = "" if self.instance == DEFAULT_INSTANCE else f"-{self.instance}"
        for name, parent in (("state_dir", "/var/lib"), ("run_dir", "/run")):
            if getattr(self, name) == DERIVED:
                object.__setattr__(self, name, Path(parent, f"netmgr{suffix}"))
        check_pools(self.sandbox_pool, self.name_pool)
        check_accounts({name: getattr(self, name) for name in ACCOUNTS})

    @classmethod
    def for_instance(cls, instance: str, **values: Any) -> "Settings":
        """The defaults of the instance of that name, with some values replaced.

        Raises:
            BadInput: the name breaks its rule, or the values contradict each other.
        """
        return cls(instance=parse_instance_name(instance), **values)

    @property
    def socket_path(self) -> Path:
        """The control API's unix socket."""
        return self.run_dir / "api.sock"

    @property
    def lock_path(self) -> Path:
        """The file whose flock(2) makes a second daemon of this instance impossible."""
        return self.run_dir / "lock"

    @property
    def database_path(self) -> Path:
        """The store."""
        return self.state_dir / "state.db"

    @property
    def journal_path(self) -> Path:
        """The decision records."""
        return self.state_dir / "journal.db"

    @property
    def key_path(self) -> Path:
        """The key that credentials at rest are encrypted with."""
        return self.state_dir / "vault.key"

    def sandbox_run_dir(self, name: str) -> Path:
        """Where a sandbox's resolv.conf, hosts, trust and environment files stand."""
        return self.run_dir / "sandboxes" / name

    def netns_path(self, name: str) -> Path:
        """The named namespace of a sandbox, or of the hub (`hub`)."""
        return self.netns_dir / f"{self.instance}-{name}"


def settings_keys() -> Mapping[str, Key]:
    """Every key by its name, in the order of the documentation."""
    return {f.name: f.metadata["key"] for f in fields(Settings)}


def keys_needing_restart(old: Settings, new: Settings) -> tuple[str, ...]:
    """Names of the settings that differ and that a running daemon cannot take up."""
    return tuple(
        name
        for name, key in settings_keys().items()
        if not key.live and getattr(old, name) != getattr(new, name)
    )


def with_live_keys(old: Settings, new: Settings) -> Settings:
    """`old`, with the values of `new` in every key that a running daemon can take up."""
    live = {name: getattr(new, name) for name, key in settings_keys().items() if key.live}
    return replace(old, **live)
