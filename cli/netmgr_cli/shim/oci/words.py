"""Owns: what is asked for a container: by the operator in the runtime's own words
(`--netmgr-policy=agent`), by whoever starts it in annotations (`netmgr.policy`). No I/O.

The operator's words bind. An annotation says nothing else, and of its own only what the operator
lets be selected: podman gives a container the annotations of its image's manifest, too.
"""

from netmgr_cli.shim.policies import DIRECTORY, is_policy_name
from netmgr_cli.shim.wire import DEFAULT_SOCKET

PREFIX = "--netmgr-"
ANNOTATIONS = ("io.netmgr.", "netmgr.")
DEFAULT_POLICY = "default"  # its file need not exist; without it nothing but inference.local
RUNTIMES = ("/usr/bin/runc", "/usr/sbin/runc", "/usr/local/sbin/runc", "/usr/bin/crun")
MAX_LABELS = 60  # the control API takes 64, and some are ours
CONTAINER_LABEL = "container"  # the whole id of whose sandbox it is
BUNDLE_LABEL = "bundle"
POLICY_LABEL = "policy"  # the policy's name, or the file's path
MAX_VALUE = 256  # characters of a label
OURS = (CONTAINER_LABEL, BUNDLE_LABEL, POLICY_LABEL)


class Refused(Exception):
    """This container gets no sandbox, so it is not created; the text says why and what helps."""


class Words:
    """The operator's words.

    Attributes:
        policy: name or absolute path of a policy's file, or None.
        runtime: absolute path of the real runtime, or None: the first of RUNTIMES that is there.
        policies: directory of the policies that have names.
        selectable: one of SELECTABLE -> what annotations may choose of it; `*` is everything.
    """

    __slots__ = ("labels", "policies", "policy", "runtime", "selectable", "socket", "tenant")

    def __init__(self) -> None:
        self.policy: str | None = None
        self.tenant: str | None = None
        self.labels: dict[str, str] = {}
        self.socket = DEFAULT_SOCKET
        self.runtime: str | None = None
        self.policies = DIRECTORY
        self.selectable: dict[str, list[str]] = {}

    def lets(self, kind: str, value: str) -> bool:
        """Whether an annotation may choose a value."""
        offered = self.selectable.get(kind, ())
        return value in offered or "*" in offered

    def as_arguments(self) -> list[str]:
        """The same words for another command line of ours."""
        single = [(key, getattr(self, key)) for key in SINGLE]
        found = [f"{PREFIX}{key}={value}" for key, value in single if value is not None]
        found += [f"{PREFIX}label={key}={value}" for key, value in self.labels.items()]
        offers = [(kind, value) for kind, every in self.selectable.items() for value in every]
        return found + [f"{PREFIX}selectable={kind}={value}" for kind, value in offers]


SINGLE = ("policy", "tenant", "socket", "runtime", "policies")
PAIRS = ("label", "selectable")
SELECTABLE = ("policy", "tenant", "label")  # of a label, the key


def take_words(arguments: list[str]) -> tuple[Words, list[str]]:
    """Our words out of a command line, wherever they stand, and what is left of it. The last of a
    word counts, so that a caller's follows the installation's.

    Raises:
        Refused: a word of ours that there is not, or without a value.
    """
    words, rest = Words(), []
    for argument in arguments:
        if not argument.startswith(PREFIX):
            rest.append(argument)
            continue
        key, equals, value = argument[len(PREFIX) :].partition("=")
        if not equals or not value:
            raise Refused(f"{argument}: expected {PREFIX}KEY=VALUE")
        if key in PAIRS:
            _take_pair(words, key, value)
        elif key in SINGLE:
            setattr(words, key, value)
        else:
            raise Refused(f"{argument}: expected one of {', '.join((*SINGLE, *PAIRS))}")
    return words, rest


def _take_pair(words: Words, key: str, pair: str) -> None:
    name, equals, value = pair.partition("=")
    if not equals:
        raise Refused(f"{PREFIX}{key}={pair}: expected {PREFIX}{key}=KEY=VALUE")
    if key == "label":
        words.labels[name] = value
    else:
        offer(words, name, value)


def offer(words: Words, kind: str, value: str) -> None:
    """Let annotations choose a value.

    Raises:
        Refused: a kind that nobody chooses, or no value.
    """
    if kind not in SELECTABLE or not value:
        raise Refused(f"selectable {kind}={value}: expected {', '.join(SELECTABLE)} and a value")
    words.selectable.setdefault(kind, []).append(value)


class Wish:
    """What one container shall have.

    Attributes:
        policy: name or path; None where nobody named one.
    """

    __slots__ = ("labels", "policy", "tenant")

    def __init__(self, policy: str | None, tenant: str | None, labels: dict[str, str]) -> None:
        self.policy = policy
        self.tenant = tenant
        self.labels = labels


def wish_of(words: Words, annotations: object) -> Wish:
    """What the operator and the container's annotations come to.

    Raises:
        Refused: an annotation that there is not, that cannot be meant, that contradicts, or that
            chooses what may not be chosen.
    """
    asked = _asked(annotations)
    policy, tenant = asked.pop("policy", None), asked.pop("tenant", None)
    wish = Wish(
        _settled(words, ("policy", policy), words.policy, policy),
        _settled(words, ("tenant", tenant), words.tenant, tenant),
        dict(words.labels),
    )
    for key, value in _labels(asked):
        _settled(words, ("label", key), wish.labels.get(key), value)
        wish.labels[key] = value
    taken = [key for key in OURS if key in wish.labels]
    if taken:
        raise Refused(f"label {taken[0]!r} is netmgr's own")
    if len(wish.labels) > MAX_LABELS:
        raise Refused(f"{len(wish.labels)} labels: {MAX_LABELS} at most")
    return wish


def _asked(annotations: object) -> dict[str, str]:
    """The annotations that are ours, by what follows the prefix."""
    found: dict[str, str] = {}
    if not isinstance(annotations, dict):
        return found
    for name, value in annotations.items():
        prefix = next((p for p in ANNOTATIONS if name.startswith(p)), None)
        if prefix is None:
            continue
        key, text = name[len(prefix) :], str(value)
        if key not in ("policy", "tenant", "labels") and not key.startswith("labels."):
            raise Refused(f"annotation {name}: there are policy, tenant, labels and labels.KEY")
        if found.setdefault(key, text) != text:
            raise Refused(f"annotation {name}: {found[key]!r} and {text!r} are both asked for")
    policy = found.get("policy")
    if policy is not None and not is_policy_name(policy):
        raise Refused(f"annotation policy={policy!r}: expected a policy's name, without a path")
    return found


def _labels(asked: dict[str, str]) -> list[tuple[str, str]]:
    found = []
    for pair in filter(None, asked.pop("labels", "").split(",")):
        key, equals, value = pair.strip().partition("=")
        if not equals or not key:
            raise Refused(f"annotation labels: {pair!r}: expected KEY=VALUE,KEY=VALUE")
        found.append((key, value))
    return found + [(name.partition(".")[2], value) for name, value in asked.items()]


def _settled(
    words: Words, choice: tuple[str, str | None], operator: str | None, container: str | None
) -> str | None:
    """The operator's word, else the container's, where it may have one.

    Args:
        choice: what of SELECTABLE, and which of it.
    """
    kind, wanted = choice
    if container is None or wanted is None or container == operator:
        return operator
    what = f"labels.{wanted}" if kind == "label" else kind
    if operator is not None:
        raise Refused(
            f"annotation {what}={container!r}: the operator has bound this runtime to {operator!r}"
        )
    if not words.lets(kind, wanted) and choice != ("policy", DEFAULT_POLICY):
        raise Refused(
            f"annotation {what}={container!r}: containers of this runtime may not choose it, since "
            "an image can bring annotations of its own. To let them: netmgr oci install "
            f"--selectable {kind}={wanted}; for one container: {PREFIX}selectable={kind}={wanted} "
            "among the runtime's options"
        )
    return container
