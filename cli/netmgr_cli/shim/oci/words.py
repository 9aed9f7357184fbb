"""Owns: what is asked for a container: by the operator in the runtime's own words
(`--netmgr-policy=agent`), by whoever starts it in annotations (`netmgr.policy`). No I/O.

The operator's words bind: an annotation may add to them, and may not say otherwise.
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
    """

    __slots__ = ("labels", "policies", "policy", "runtime", "socket", "tenant")

    def __init__(self) -> None:
        self.policy: str | None = None
        self.tenant: str | None = None
        self.labels: dict[str, str] = {}
        self.socket = DEFAULT_SOCKET
        self.runtime: str | None = None
        self.policies = DIRECTORY

    def as_arguments(self) -> list[str]:
        """The same words for another command line of ours."""
        single = [(key, getattr(self, key)) for key in SINGLE]
        found = [f"{PREFIX}{key}={value}" for key, value in single if value is not None]
        return found + [f"{PREFIX}label={key}={value}" for key, value in self.labels.items()]


SINGLE = ("policy", "tenant", "socket", "runtime", "policies")


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
        if key == "label":
            name, equals, text = value.partition("=")
            if not equals:
                raise Refused(f"{argument}: expected {PREFIX}label=KEY=VALUE")
            words.labels[name] = text
        elif key in SINGLE:
            setattr(words, key, value)
        else:
            raise Refused(f"{argument}: expected one of {', '.join((*SINGLE, 'label'))}")
    return words, rest


class Wish:
    """What one container shall have.

    Attributes:
        policy: name or path; None where nobody named one.
        chosen: who starts the container has named a policy, a tenant or a label.
    """

    __slots__ = ("chosen", "labels", "policy", "tenant")

    def __init__(self, policy: str | None, tenant: str | None, labels: dict[str, str]) -> None:
        self.policy = policy
        self.tenant = tenant
        self.labels = labels
        self.chosen = False


def wish_of(words: Words, annotations: object) -> Wish:
    """What the operator and the container's annotations come to.

    Raises:
        Refused: an annotation that there is not, that cannot be meant, or that contradicts.
    """
    asked = _asked(annotations)
    policy = _bound("policy", words.policy, asked.pop("policy", None))
    wish = Wish(
        policy, _bound("tenant", words.tenant, asked.pop("tenant", None)), dict(words.labels)
    )
    for key, value in _labels(asked):
        _bound(f"labels.{key}", wish.labels.get(key), value)
        wish.labels[key] = value
    taken = [key for key in OURS if key in wish.labels]
    if taken:
        raise Refused(f"label {taken[0]!r} is netmgr's own")
    if len(wish.labels) > MAX_LABELS:
        raise Refused(f"{len(wish.labels)} labels: {MAX_LABELS} at most")
    wish.chosen = bool(_asked(annotations))
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


def _bound(what: str, operator: str | None, container: str | None) -> str | None:
    """The operator's word, else the container's."""
    if operator is None:
        return container
    if container not in (None, operator):
        raise Refused(
            f"annotation {what}={container!r}: the operator has bound this runtime to {operator!r}"
        )
    return operator
