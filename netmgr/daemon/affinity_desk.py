"""Owns: what of a sandbox's earlier model calls holds for its next one: the label that never falls
again until the operator resets it, and the endpoint that answered last.

Labels are stored before the call that raised them is sent: no crash lowers one. Endpoints are only
remembered. Knows nothing of how a label comes about.
"""

from typing import Final

from netmgr.daemon.core import Core
from netmgr.daemon.endpoint_routes import EndpointRoutes
from netmgr.errors import BadInput
from netmgr.process.ipc import Answer, Body, PeerRefused
from netmgr.reasons import Kind, Reason
from netmgr.routing.language import Sensitivity

WHOLE: Final = ""  # the conversation that stands for all of a sandbox's
MAX_TEXT: Final = 256  # characters of a conversation's name and of a label
# Conversations of one sandbox with a label of their own. One more raises the whole sandbox's label:
# who makes up names must not get rid of a label by it.
MAX_CONVERSATIONS: Final = 1000
MAX_STICKY: Final = 10_000  # remembered endpoints; beyond it all are forgotten


class AffinityDesk:
    """Answers proxies, and the operator's reset.

    Args:
        endpoints: says which file is in force.
    """

    def __init__(self, core: Core, endpoints: EndpointRoutes) -> None:
        self._core = core
        self._endpoints = endpoints
        self._labels: dict[int, dict[str, str]] = {}  # sandbox id -> conversation -> label
        self._sticky: dict[tuple[int, str], str] = {}

    def restore(self) -> None:
        """Begin with what is stored; on the store's thread."""
        self._labels = self._core.store.routing.labels()

    async def answer(self, body: Body) -> Answer:
        """What holds for a call: {address, conversation, label?} -> {label, endpoint}.

        Args:
            body: with a label, that is the call's, and what holds afterwards is no lower.

        Raises:
            PeerRefused: the sandbox is gone.
            BadInput: no honest worker asks that.
        """
        sandbox, conversation = self._place(body)
        live = self._endpoints.live
        if live is None:
            return Answer({"label": None, "endpoint": None})
        known = live.file.sensitivity
        held = self._held(sandbox, conversation, known)
        if (label := body.get("label")) is not None:
            if label not in known.order:
                raise BadInput(f"affinity: label {label!r:.40}")
            if held is None or known.rank(label) > known.rank(held):
                await self._raise(sandbox, conversation, label, known)
                held = label
        return Answer({"label": held, "endpoint": self._sticky.get((sandbox, conversation))})

    def note(self, body: Body) -> None:
        """A call was answered: {address, conversation, endpoint}.

        Raises:
            BadInput: no honest worker tells that.
        """
        try:
            place = self._place(body)
        except PeerRefused:
            return
        if len(self._sticky) >= MAX_STICKY:
            self._sticky.clear()
        self._sticky[place] = _text(body, "endpoint")

    async def reset(self, sandbox: str | None) -> int:
        """Let labels fall again, of one sandbox or of all; how many there were.

        Raises:
            NotFound: no such sandbox.
        """
        core = self._core
        number = core.resident(sandbox).row.id if sandbox is not None else None
        gone = list(self._labels) if number is None else [number]
        count = sum(len(self._labels.pop(each, {})) for each in gone)
        await core.on_store(core.store.routing.forget_labels, number)
        of = f"of sandbox {sandbox}" if sandbox is not None else "of all sandboxes"
        core.record(Kind.CONFIG, f"labels {of} may fall again ({count})")
        return count

    def _place(self, body: Body) -> tuple[int, str]:
        resident = self._core.residents.at(_text(body, "address"))
        if resident is None:
            raise PeerRefused(Reason.UNKNOWN_CALLER, "the sandbox is gone")
        return resident.row.id, _text(body, "conversation")

    def _held(self, sandbox: int, conversation: str, known: Sensitivity) -> str | None:
        """The highest label that holds; one that the file does not know counts as the highest."""
        labels = self._labels.get(sandbox, {})
        held = {labels[name] for name in (WHOLE, conversation) if name in labels}
        if not held:
            return None
        if not held <= set(known.order):
            return known.order[-1]
        return known.highest(*held)

    async def _raise(self, sandbox: int, conversation: str, label: str, known: Sensitivity) -> None:
        labels = self._labels.setdefault(sandbox, {})
        if conversation not in labels and len(labels) >= MAX_CONVERSATIONS:
            conversation = WHOLE
            if (whole := self._held(sandbox, WHOLE, known)) is not None:
                label = known.highest(label, whole)
        labels[conversation] = label
        core = self._core
        await core.on_store(core.store.routing.put_label, sandbox, conversation, label)


def _text(body: Body, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadInput(f"{key}: expected a text")
    return value
