"""Owns: calling a plug-in as what it is: somebody else's code. Its answer is checked, its faults
are told, and in every case there is an order.

A plug-in can drop or order what is permitted, nothing else. Whoever fails often is asked less.
How a call is kept from taking long is the affair of whoever makes it: decisions have no clock.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from netmgr.routing.contract import (
    AttemptOutcome,
    EndpointId,
    EndpointView,
    Ordering,
    Ratings,
    RouteContext,
)

FAULTS_IN_A_ROW: Final = 3  # after so many the plug-in rests
REST_CALLS: Final = 1000  # decisions that a resting plug-in is not asked for
MAX_FAULT: Final = 200  # characters of a plug-in's own words in a finding


class Guard:
    """One plug-in's calls.

    Args:
        name: of the plug-in, for findings.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._faults = 0
        self._resting = 0
        self.rested = False  # whether it was not asked the last time

    def ask(self, call: Callable[[], Any]) -> tuple[Any, str]:
        """(what it answered, '') or (None, what it did instead); see `rested`."""
        self.rested = self._resting > 0
        if self.rested:
            self._resting -= 1
            return None, ""
        try:
            answer = call()
        except TimeoutError:
            return None, self.fault("took too long")
        except Exception as fault:
            said = f"{type(fault).__name__}: {fault}"[:MAX_FAULT]
            return None, self.fault(f"raised {said!r}")
        return answer, ""

    def fault(self, what: str) -> str:
        """Note that it did what it must not; the finding."""
        self._faults += 1
        if self._faults >= FAULTS_IN_A_ROW:
            self._faults, self._resting = 0, REST_CALLS
            what += f"; it is not asked for the next {REST_CALLS} decisions"
        return f"router plug-in {self._name} {what}: the default order was used"

    def well(self) -> None:
        """It answered as it should."""
        self._faults = 0


class GuardedRouter:
    """A router whose answers are checked."""

    def __init__(self, router: Ordering) -> None:
        self._router = router
        self._guard = Guard(router.NAME)

    def order(
        self, ctx: RouteContext, permitted: Sequence[EndpointView]
    ) -> tuple[tuple[EndpointId, ...], str]:
        """(ids in the plug-in's order, '') or ((), the finding)."""
        answer, finding = self._guard.ask(lambda: self._router.order(ctx, permitted))
        if finding or self._guard.rested:
            return (), finding
        ids = tuple(view.id for view in permitted)
        wrong = what_is_wrong(answer, ids)
        if wrong:
            return (), self._guard.fault(wrong)
        self._guard.well()
        return tuple(answer), ""

    def observe(self, outcome: AttemptOutcome) -> str:
        """Tell it how an attempt ended; the finding, where it misbehaves."""
        return self._guard.ask(lambda: self._router.observe(outcome))[1]


class GuardedScorer:
    """A scorer whose answers are checked."""

    def __init__(self, scorer: Ratings) -> None:
        self._scorer = scorer
        self._guard = Guard(scorer.NAME)

    def scores(
        self, ctx: RouteContext, permitted: Sequence[EndpointView]
    ) -> tuple[tuple[float, ...], str]:
        """(one score each, '') or ((), the finding). One deadline for all of them."""
        answer, finding = self._guard.ask(lambda: self._scorer.scores(ctx, permitted))
        if finding or self._guard.rested:
            return (), finding
        if type(answer) not in (list, tuple) or len(answer) != len(permitted):
            return (), self._guard.fault("gave no score for each endpoint")
        if not all(type(score) in (int, float) and 0 <= score <= 1 for score in answer):
            return (), self._guard.fault("gave a score that is no number from 0 to 1")
        self._guard.well()
        return tuple(answer), ""


def what_is_wrong(answer: Any, permitted: Sequence[EndpointId]) -> str:
    """What keeps a plug-in's answer from being an order of `permitted`; '' where nothing does.

    Nothing of a stranger's class is called: types are compared, not asked.
    """
    if type(answer) not in (list, tuple):
        return f"answered {type(answer).__name__}, not a list of ids"
    if not answer:
        return "dropped every endpoint"
    if not all(type(item) is str for item in answer):
        return "answered what is no id"
    if len(set(answer)) != len(answer):
        return "repeated an id"
    if not set(answer) <= set(permitted):
        return "added an id that is not permitted"
    return ""
