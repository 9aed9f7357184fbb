"""Owns: which generation plans a call, and what its endpoints come to: the routing file in force,
or else what `inference set` wrote for the sandbox, which is a generation of one endpoint.

Everything else about a call is the same on both ways (netmgr_proxy.courses). Knows nothing of
bodies.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from netmgr.inference.protocols import Protocol as WireProtocol
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr.routing.contract import EndpointId
from netmgr.routing.generation import Generation
from netmgr.routing.language import Failure
from netmgr_proxy.inference.admit import Admitted
from netmgr_proxy.inference.answer_here import Made, list_models
from netmgr_proxy.routes import LiveRoute, Routes
from netmgr_proxy.wire.face import Refusal, Refused

_TELLS_ROUTE: Final = "route"  # of `observe: headers`


class Way(Protocol):
    """Where a call's plan comes from.

    Attributes:
        generation: decides.
        by_file: whether an operator wrote a routing file that holds.
    """

    @property
    def generation(self) -> Generation: ...

    by_file: bool

    def heads(self) -> Iterable[LiveRoute | None]:
        """By which routes a call's head may be judged; the first that takes it does. None: there
        is none."""

    def live(self, endpoint: EndpointId) -> LiveRoute | None:
        """What an endpoint comes to now."""

    @property
    def rules(self) -> Failure | None:
        """How a plan is travelled; None: one attempt, whose answer is relayed as it is."""

    @property
    def tells_route(self) -> bool:
        """Whether the sandbox is told who answered."""

    def listed(self, admitted: Admitted) -> Made | None:
        """The answer to a question for models, where netmgr gives it."""

    def check(self, sandbox: SandboxView, live: LiveRoute) -> None:
        """Before the first byte to a provider.

        Raises:
            Refused: policy_stale; the call may not go there any more.
        """


class FileWay:
    """By the routing file in force. A plan is frozen: a new file changes it no more, and what is
    revoked has left it."""

    by_file = True

    def __init__(self, generation: Generation, routes: Routes) -> None:
        self.generation = generation
        self._routes = routes

    def heads(self) -> Iterable[LiveRoute | None]:
        """See Way."""
        found = (self.live(each.id) for each in self.generation.file.endpoints)
        return (live for live in found if live is not None)

    def live(self, endpoint: EndpointId) -> LiveRoute | None:
        """See Way."""
        return self._routes.bounded(endpoint, self.generation.failure)

    @property
    def rules(self) -> Failure | None:
        """See Way."""
        return self.generation.failure

    @property
    def tells_route(self) -> bool:
        """See Way."""
        return self.generation.file.observe.headers == _TELLS_ROUTE

    def listed(self, admitted: Admitted) -> Made | None:
        """See Way. The file's routes are what may be asked for."""
        if admitted.pattern.protocol is not WireProtocol.MODELS:
            return None
        return list_models(admitted, sorted(self.generation.file.routes))

    def check(self, sandbox: SandboxView, live: LiveRoute) -> None:
        """See Way."""


class SetWay:
    """By what `inference set` wrote: no key and no model is used that was taken away while the
    provider was connected to."""

    by_file = False
    rules: Failure | None = None
    tells_route = True

    def __init__(self, sandbox: SandboxView, routes: Routes) -> None:
        self._routes = routes
        self._live = routes.get(sandbox)
        self._generation: Generation | None = None

    @property
    def generation(self) -> Generation:
        """See Way."""
        if self._generation is None:
            assert self._live is not None  # a call without a route ends with its head
            self._generation = self._routes.single(self._live)
        return self._generation

    def holds(self, sandbox: SandboxView) -> bool:
        """Whether the route in force is the same still."""
        return self._routes.get(sandbox) is self._live

    def heads(self) -> Iterable[LiveRoute | None]:
        """See Way."""
        return (self._live,)

    def live(self, endpoint: EndpointId) -> LiveRoute | None:
        """See Way."""
        return self._live

    def listed(self, admitted: Admitted) -> Made | None:
        """See Way. The provider is asked, or answered for, as for any other call."""
        return None

    def check(self, sandbox: SandboxView, live: LiveRoute) -> None:
        """See Way."""
        if self._routes.get(sandbox) is not live:
            why = "the inference route was changed while the provider was connected to; try again"
            raise Refused(Refusal(Reason.POLICY_STALE, why))


def way_of(
    live: Generation | None, routes: Routes, sandbox: SandboxView, before: Way | None = None
) -> Way:
    """How the plan of a call comes about now.

    Args:
        live: of the routing file in force; None where there is none.
        before: how it came about a moment ago; given again where it still does.
    """
    if live is None and isinstance(before, SetWay) and before.holds(sandbox):
        return before
    return FileWay(live, routes) if live is not None else SetWay(sandbox, routes)
