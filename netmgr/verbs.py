"""Owns: the calls of the control API as methods, for both clients from one description.

A call is described once, as a function that makes a value (netmgr.calls and its neighbours). Here
each becomes a method that a `Client` answers at once and an `AsyncClient` when awaited, with the
function's own parameters and answer. Knows nothing of how a call is sent.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

from netmgr import account_calls, calls, provider_calls, routing_calls
from netmgr.calls import Call, Json

if TYPE_CHECKING:
    from netmgr.client import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")


class Ask(Generic[P, T]):
    """A method that sends a call and gives its answer."""

    def __init__(self, call: Callable[P, Call[T]]) -> None:
        self.call = call
        self.__doc__ = call.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(
        self, client: "AsyncClient", owner: type
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        @wraps(self.call)
        def ask(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self.call(*args, **kwargs))

        return ask


class Follow(Generic[P]):
    """A method that gives the objects of an answer as they arrive."""

    def __init__(self, call: Callable[P, Call[Json]]) -> None:
        self.call = call
        self.__doc__ = call.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: type) -> Callable[P, Iterator[Json]]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type) -> Callable[P, AsyncIterator[Json]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self

        @wraps(self.call)
        def follow(*args: P.args, **kwargs: P.kwargs) -> Any:
            call = self.call(*args, **kwargs)
            # Whoever follows waits for what may not happen for hours.
            return client.stream(call, idle_s=None if "follow" in call.query else calls.READ_S)

        return follow


class Verbs:
    """Everything that the control API does. A sandbox's policy and the one over all sandboxes have
    the same verbs: `scope` is a sandbox's name, or None."""

    version = Ask(calls.version)
    status = Ask(calls.status)
    hub = Ask(calls.hub)
    shutdown = Ask(calls.shutdown)

    sandbox_create = Ask(calls.sandbox_create)
    sandbox_plan = Ask(calls.sandbox_plan)
    sandbox_list = Ask(calls.sandbox_list)
    sandbox_show = Ask(calls.sandbox_show)
    sandbox_check = Ask(calls.sandbox_check)
    sandbox_injection = Ask(calls.sandbox_injection)
    sandbox_trust = Ask(calls.sandbox_trust)
    sandbox_delete = Ask(calls.sandbox_delete)
    sandbox_delete_all = Ask(calls.sandbox_delete_all)
    sandbox_gc = Ask(calls.sandbox_gc)

    policy_get = Ask(calls.policy_get)
    policy_set = Ask(calls.policy_set)
    policy_update = Ask(calls.policy_update)
    policy_history = Ask(calls.policy_history)
    policy_propose = Ask(calls.policy_propose)
    policy_rollback = Ask(calls.policy_rollback)
    policy_delete_global = Ask(calls.policy_delete_global)
    explain = Ask(calls.explain)
    records = Follow(calls.records)

    inference_set = Ask(calls.inference_set)
    inference_update = Ask(calls.inference_update)
    inference_get = Ask(calls.inference_get)
    inference_delete = Ask(calls.inference_delete)
    inference_test = Ask(calls.inference_test)

    provider_create = Ask(provider_calls.provider_create)
    provider_list = Ask(provider_calls.provider_list)
    provider_get = Ask(provider_calls.provider_get)
    provider_update = Ask(provider_calls.provider_update)
    provider_delete = Ask(provider_calls.provider_delete)
    provider_types = Ask(provider_calls.provider_types)
    refresh_status = Ask(provider_calls.refresh_status)
    refresh_configure = Ask(provider_calls.refresh_configure)
    refresh_rotate = Ask(provider_calls.refresh_rotate)
    refresh_delete = Ask(provider_calls.refresh_delete)
    vault_status = Ask(provider_calls.vault_status)
    vault_rotate = Ask(provider_calls.vault_rotate)

    limits_get = Ask(account_calls.limits_get)
    limits_set = Ask(account_calls.limits_set)
    limits_delete = Ask(account_calls.limits_delete)
    prices_get = Ask(account_calls.prices_get)
    prices_set = Ask(account_calls.prices_set)
    prices_delete = Ask(account_calls.prices_delete)
    inference_usage = Ask(account_calls.inference_usage)

    routing_get = Ask(routing_calls.routing_get)
    routing_history = Ask(routing_calls.routing_history)
    routing_set = Ask(routing_calls.routing_set)
    routing_rollback = Ask(routing_calls.routing_rollback)
    routing_delete = Ask(routing_calls.routing_delete)
    routing_reset = Ask(routing_calls.routing_reset)
    routing_explain = Ask(routing_calls.routing_explain)
    routing_why = Ask(routing_calls.routing_why)
    routing_replay = Ask(routing_calls.routing_replay)
    audit_verify = Ask(routing_calls.audit_verify)
    audit_prove = Ask(routing_calls.audit_prove)
