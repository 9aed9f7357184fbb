"""Owns: what a runtime asks: environment and configuration, parsed. No I/O.

A key that is nobody's is the specification's business and passes; a misspelt one of ours is an
error. What a container may choose for itself is what the configuration says it may, or it fails.
"""

from netmgr_cli.shim.cni.faults import (
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    INVALID_ENVIRONMENT,
    UNSUPPORTED_FIELD,
    Fault,
)
from netmgr_cli.shim.names import is_name, sandbox_name
from netmgr_cli.shim.policies import DIRECTORY, is_policy_name
from netmgr_cli.shim.wire import DEFAULT_SOCKET

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = {  # command -> what it needs of the environment, and the version that it came with
    "ADD": (("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"), "0.3.0"),
    "DEL": (("CNI_CONTAINERID", "CNI_IFNAME"), "0.3.0"),
    "CHECK": (("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"), "0.4.0"),
    "GC": ((), "1.1.0"),
    "STATUS": ((), "1.1.0"),
    "VERSION": ((), "0.3.0"),
}
NETWORK, CONTAINER = "cni.network", "cni.container"  # labels that say whose a sandbox is
LINK = "eth0"  # a sandbox's one door
MAX_INPUT = 1024 * 1024  # bytes of the configuration; pods' annotations may have 256 KiB
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"  # the capability by which containerd gives them
VALID = "cni.dev/valid-attachments"
_OF_SPECIFICATION = frozenset(
    (
        "cniVersion",
        "name",
        "type",
        "capabilities",
        "runtimeConfig",
        "prevResult",
        "args",
        "ipam",
        "ipMasq",
        "dns",
        "cni.dev/attachments",
        VALID,
    )
)
_OURS = {  # key -> its type, as a word for messages
    "socket": (str, "a path"),
    "policy": (str, "a policy's name or the absolute path of its file"),
    "policyDir": (str, "a path"),
    "allow": (list, "a list of HOST[:PORT]"),
    "tenant": (str, "a text"),
    "labels": (dict, "an object of texts"),
    "selectable": (dict, "an object of lists: policy, tenant"),
    "nameFrom": (str, "'id' or 'pod'"),
    "earlierLinks": (str, "'refuse' or 'remove'"),
}
_SELECTABLE = ("policy", "tenant")


class Request:
    """One call of the plugin.

    Attributes:
        command: one of COMMANDS.
        version: the configuration's `cniVersion`: results have it.
        config: the configuration, judged.
        container, netns, ifname: as the runtime gives them; empty where the command has none.
        pod: CNI_ARGS.
    """

    __slots__ = ("command", "config", "container", "ifname", "netns", "pod", "version")

    def __init__(
        self, command: str, config: dict[str, object], env: dict[str, str], pod: dict[str, str]
    ) -> None:
        self.command = command
        self.config = config
        self.version = str(config["cniVersion"])
        self.container = env.get("CNI_CONTAINERID", "")
        self.netns = env.get("CNI_NETNS", "")
        self.ifname = env.get("CNI_IFNAME", "")
        self.pod = pod

    @property
    def network(self) -> str:
        """The name of the network."""
        return str(self.config.get("name", ""))

    @property
    def socket(self) -> str:
        """The daemon's socket."""
        return str(self.config.get("socket", DEFAULT_SOCKET))

    @property
    def has_result(self) -> bool:
        """Whether the runtime has kept what ADD answered."""
        return self.config.get("prevResult") is not None

    @property
    def policy_dir(self) -> str:
        """Where policies are named after their files."""
        return str(self.config.get("policyDir", DIRECTORY))

    @property
    def sandbox(self) -> str:
        """The name of the container's sandbox."""
        if self.config.get("nameFrom") != "pod":
            return sandbox_name(self.container)
        namespace, pod = self.pod.get("K8S_POD_NAMESPACE", ""), self.pod.get("K8S_POD_NAME", "")
        if not pod:
            return sandbox_name(self.container)
        word = pod if namespace in ("", pod) else f"{namespace}-{pod}"
        return word if is_name(word) else sandbox_name(word)

    @property
    def annotations(self) -> dict[str, str]:
        """The pod's annotations, where the runtime gives them."""
        given = _object(_object(self.config, "runtimeConfig"), ANNOTATIONS)
        return {key: value for key, value in given.items() if isinstance(value, str)}

    def chosen(self, what: str) -> str | None:
        """The `policy` or `tenant` of this container: its own choice, where it may have one, or the
        configuration's.

        Raises:
            Fault: it chooses what it may not.
        """
        wish = self.annotations.get(f"netmgr.{what}", self.pod.get(f"NETMGR_{what.upper()}"))
        configured = self.config.get(what)
        if wish is None or wish == configured:
            return None if configured is None else str(configured)
        offered = _object(self.config, "selectable").get(what, [])
        everything = isinstance(offered, list) and "*" in offered and is_policy_name(wish)
        if isinstance(offered, list) and (wish in offered or everything):
            return wish
        raise Fault(
            INVALID_CONFIG,
            f"the container chooses netmgr.{what}={wish!r}, which network {self.network!r} does "
            "not offer",
            f'"selectable": {{"{what}": ["{wish}"]}} in the configuration would offer it',
        )

    @property
    def owner(self) -> dict[str, str]:
        """The labels that say whose the sandbox is."""
        return {NETWORK: self.network, CONTAINER: self.container}

    @property
    def labels(self) -> dict[str, str]:
        """What the sandbox is labelled with: the configuration's, and whose it is."""
        found = {key: str(value) for key, value in _object(self.config, "labels").items()}
        found |= self.owner
        for label, word in (("pod.namespace", "K8S_POD_NAMESPACE"), ("pod.name", "K8S_POD_NAME")):
            if self.pod.get(word):
                found[label] = self.pod[word]
        return found

    @property
    def valid(self) -> frozenset[str] | None:
        """GC: ids of the containers that are alive; None where the runtime does not say.

        Raises:
            Fault: the list is none.
        """
        if VALID not in self.config:
            return None
        listed = self.config[VALID] or []  # libcni writes null where nobody is alive
        if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
            raise Fault(INVALID_CONFIG, f"{VALID}: expected a list of objects")
        return frozenset(
            str(each.get("containerID")) for each in listed if each.get("ifname") == LINK
        )


def parse_request(env: dict[str, str], config: object) -> Request:
    """What is asked.

    Raises:
        Fault: it cannot be meant, or is not of a version that we speak.
    """
    command = env.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise Fault(
            INVALID_ENVIRONMENT,
            f"CNI_COMMAND={command!r}: expected one of {', '.join(COMMANDS)}; "
            "this program is a CNI plugin, executed by container runtimes",
        )
    if not isinstance(config, dict):
        raise Fault(DECODING_FAILURE, "the configuration on standard input is no JSON object")
    config.setdefault("cniVersion", VERSIONS[0])
    if command != "VERSION":
        _judge_version(command, config["cniVersion"])
        _judge_config(config)
    needed, _ = COMMANDS[command]
    for name in needed:
        if not env.get(name):
            raise Fault(INVALID_ENVIRONMENT, f"{command} needs {name}")
    if "CNI_IFNAME" in needed and command != "DEL" and env["CNI_IFNAME"] != LINK:
        raise Fault(
            INVALID_ENVIRONMENT,
            f"CNI_IFNAME={env['CNI_IFNAME']!r}: a sandbox has one door, and it is {LINK}",
            "attach the container to this network alone",
        )
    return Request(command, config, env, _parse_args(env.get("CNI_ARGS", "")))


def _judge_version(command: str, version: object) -> None:
    if version not in VERSIONS:
        raise Fault(
            INCOMPATIBLE_VERSION,
            f"cniVersion {version!r}: this plugin speaks {', '.join(VERSIONS)}",
        )
    _, since = COMMANDS[command]
    if VERSIONS.index(str(version)) < VERSIONS.index(since):
        raise Fault(INCOMPATIBLE_VERSION, f"{command} came with {since}, not {version}")


def _judge_config(config: dict[str, object]) -> None:
    for key, value in config.items():
        if key in _OF_SPECIFICATION:
            continue
        if key not in _OURS:
            raise Fault(
                UNSUPPORTED_FIELD, f"unknown key {key!r}; known are {', '.join(sorted(_OURS))}"
            )
        kind, words = _OURS[key]
        if not isinstance(value, kind):
            raise Fault(INVALID_CONFIG, f"{key}: expected {words}")
    for key in ("ipam", "ipMasq"):
        if config.get(key):
            raise Fault(
                UNSUPPORTED_FIELD,
                f"{key}: a sandbox gets its address of netmgr, and nothing is masqueraded",
            )
    for key, choices in (("nameFrom", ("id", "pod")), ("earlierLinks", ("refuse", "remove"))):
        if config.get(key, choices[0]) not in choices:
            raise Fault(INVALID_CONFIG, f"{key}: expected {_OURS[key][1]}")
    _judge_choices(_object(config, "selectable"))
    if not all(isinstance(value, str) for value in _object(config, "labels").values()):
        raise Fault(INVALID_CONFIG, "labels: expected an object of texts")


def _judge_choices(selectable: dict[str, object]) -> None:
    for key, words in selectable.items():
        if key not in _SELECTABLE:
            raise Fault(UNSUPPORTED_FIELD, f"selectable.{key}: known are {', '.join(_SELECTABLE)}")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Fault(INVALID_CONFIG, f"selectable.{key}: expected a list of texts")


def _parse_args(text: str) -> dict[str, str]:
    """CNI_ARGS: `KEY=VALUE;...`. Other plugins' keys pass; of ours only those that exist.

    Raises:
        Fault: not of this form, or an unknown key of ours.
    """
    found = {}
    for pair in filter(None, text.split(";")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise Fault(INVALID_ENVIRONMENT, f"CNI_ARGS: {pair!r}: expected KEY=VALUE")
        if key.startswith("NETMGR_") and key.removeprefix("NETMGR_").lower() not in _SELECTABLE:
            raise Fault(
                INVALID_ENVIRONMENT,
                f"CNI_ARGS: unknown key {key}; known are NETMGR_POLICY and NETMGR_TENANT",
            )
        found[key] = value
    return found


def _object(parent: dict[str, object], key: str) -> dict[str, object]:
    found = parent.get(key)
    return found if isinstance(found, dict) else {}
