"""Owns: the calls of the control API about limits, prices and usage of model inference.

Knows nothing of sending them (netmgr.client). What the answers hold: docs/inference.md.
"""

from collections.abc import Mapping

from netmgr.calls import CHANGE_S, Call, Json


def _given(**words: object) -> dict[str, str]:
    """Query words whose value was given, as text."""
    return {key: str(value) for key, value in words.items() if value is not None}


def limits_get() -> Call[Json]:
    """`{"limits": [{sandbox, tenant, default, limits, used}]}`."""
    return Call("GET", "/v1/inference/limits")


def limits_set(limits: Mapping[str, str], *, sandbox: str | None, tenant: str | None) -> Call[Json]:
    """Change single limits of a sandbox, of a tenant, or (neither) of all without own."""
    scope = {"sandbox": sandbox, "tenant": tenant}
    body = {"limits": dict(limits), **scope}
    return Call("PATCH", "/v1/inference/limits", body=body, deadline_s=CHANGE_S)


def limits_delete(*, sandbox: str | None, tenant: str | None) -> Call[Json]:
    """Forget limits and what was used of them."""
    query = _given(sandbox=sandbox, tenant=tenant)
    return Call("DELETE", "/v1/inference/limits", query=query, deadline_s=CHANGE_S)


def prices_get() -> Call[Json]:
    """The price file: `{"currency", "prices", "source", "text"}`."""
    return Call("GET", "/v1/inference/prices")


def prices_set(text: str, source: str) -> Call[Json]:
    """Replace the price file."""
    body = {"text": text, "source": source}
    return Call("PUT", "/v1/inference/prices", body=body, deadline_s=CHANGE_S)


def prices_delete() -> Call[Json]:
    """Forget the price file."""
    return Call("DELETE", "/v1/inference/prices", deadline_s=CHANGE_S)


def inference_usage(
    by: str, *, since: float | None, sandbox: str | None, tenant: str | None
) -> Call[Json]:
    """`{"by", "since", "currency", "usage": [...]}`."""
    query = _given(by=by, since=since, sandbox=sandbox, tenant=tenant)
    return Call("GET", "/v1/inference/usage", query=query)
