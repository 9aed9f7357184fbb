"""Owns: loading enabled router plug-ins into this process, and ending a call that takes too long.

A plug-in is imported once, before the worker gives up its privileges and its root directory (later
there is no file to import); it is called confined. Only the daemon's settings enable one; one that
cannot be loaded is told of and left out: it could only have ordered.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from types import FrameType
from typing import Any, Final

from netmgr.routing.contract import API_VERSION
from netmgr.routing.guarded import PluginLate, Timed, untimed
from netmgr.routing.plugins import Plugins
from netmgr_proxy.line_router import LineRouter

log = logging.getLogger(__name__)

ROUTERS: Final = "netmgr.model_routers"
SCORERS: Final = "netmgr.route_scorers"
# Two milliseconds are promised to authors; the rest is what a busy machine takes away. Nobody else
# is served meanwhile.
ORDER_S: Final = 0.005
PREPARE_S: Final = 1.0  # once per file


def load_plugins(
    routers: Iterable[str], scorers: Iterable[str], programs: Iterable[str] = ()
) -> Plugins:
    """The plug-ins of these names; programs are connected to later."""
    found_routers = _load(ROUTERS, routers, ("validate", "prepare", "order", "observe"))
    found_routers |= {name: LineRouter(name) for name in programs}
    found_scorers = _load(SCORERS, scorers, ("score",))
    if not found_routers and not found_scorers:
        return Plugins()
    return Plugins(found_routers, found_scorers, timer(ORDER_S), timer(PREPARE_S))


def _load(group: str, names: Iterable[str], methods: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        points = entry_points(group=group, name=name)
        if not points:
            log.error("plug-in %s is not installed: no entry point of %s", name, group)
            continue
        try:
            found[name] = _make(next(iter(points)), methods)
        except Exception as fault:
            log.error("plug-in %s cannot be loaded: %s: %s", name, type(fault).__name__, fault)
    return found


def _make(point: EntryPoint, methods: tuple[str, ...]) -> Any:
    made = point.load()()
    version = getattr(made, "API_VERSION", None)
    if version != API_VERSION:
        raise TypeError(f"API_VERSION is {version!r}; this netmgr speaks {API_VERSION}")
    missing = [name for name in methods if not callable(getattr(made, name, None))]
    if missing:
        raise TypeError(f"it has no {', '.join(missing)}")
    return made


def timer(seconds: float) -> Timed:
    """Runs a call, and raises PluginLate in it when its time is over, and again until it ends.

    By SIGALRM, which interrupts a sleep as well; Python delivers it between two instructions of the
    main thread. A plug-in's C code that never returns to Python is not interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        return untimed

    def timed(call: Callable[[], Any]) -> Any:
        before = signal.signal(signal.SIGALRM, _late)
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
            try:
                return call()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, before)

    return timed


def _late(number: int, frame: FrameType | None) -> None:
    raise PluginLate
