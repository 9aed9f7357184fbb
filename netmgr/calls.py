"""Owns: every question of the control API as a value: method, path, body, deadline, answer's type.

Knows nothing of sockets or HTTP: `netmgr.client` sends these. Whoever speaks to the daemon (the
command line, an OCI hook, a test) builds its requests here, so a path is spelt once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from netmgr.answers import (
    CheckReport,
    Explanation,
    Injection,
    Plan,
    PolicyChange,
    PolicyDoc,
    Removed,
    Revisions,
    Sandbox,
    Sandboxes,
)
from netmgr.answers import Json as Json  # every file of calls takes it from here

READ_S: Final = 15.0  # an answer from memory and the kernel; a loaded host needs seconds at worst
CHANGE_S: Final = 60.0  # a change waits for every worker; a silent one is replaced after 2 s each
PROBE_S: Final = 60.0  # the default bound of one inference probe (contract: `--timeout`)
PROBES: Final = 4  # protocols that a verification tries one after the other, at most

T_co = TypeVar("T_co", covariant=True)
TrustStore = Literal["java", "nss"]


class PolicyFile(TypedDict):
    """A policy file as the client read it."""

    text: str
    source: str


class Attachment(TypedDict, total=False):
    """An existing namespace: exactly one of the first two.

    `starting`: the process is a runtime's own that has yet to give up its privileges; the runtime
    answers for what the container will hold. `replace_links`: links made before are taken away.
    """

    netns: str
    pid: int
    starting: bool
    replace_links: bool


@dataclass(frozen=True)  # no slots: Python 3.11 cannot make Call[T](...) with them
class Call(Generic[T_co]):
    """One request. `T_co` is the type of its answer.

    Attributes:
        path: absolute, percent-encoded.
        headers: further header fields.
        deadline_s: seconds until the whole answer must be there.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    deadline_s: float = READ_S
    headers: Mapping[str, str] = field(default_factory=dict)


def path_part(text: str) -> str:
    """A word as one segment of a path."""
    return quote(text, safe="")


def given(**words: object) -> dict[str, str]:
    """Query words whose value was given, as text."""
    return {key: str(value) for key, value in words.items() if value is not None}


def _present(**fields: object) -> Json:
    """Body fields whose value was given."""
    return {key: value for key, value in fields.items() if value is not None}


# -- the daemon ----------------------------------------------------------------------------------


def version() -> Call[Json]:
    """The daemon's version."""
    return Call("GET", "/v1/version")


def status() -> Call[Json]:
    """Health of every part."""
    return Call("GET", "/v1/status")


def hub() -> Call[Json]:
    """The hub as the kernel has it."""
    return Call("GET", "/v1/hub")


def shutdown(*, remove: bool) -> Call[Json]:
    """End the daemon; with `remove`, its sandboxes and the hub go too."""
    return Call("POST", "/v1/shutdown", body={"remove": remove}, deadline_s=CHANGE_S)


# -- sandboxes -----------------------------------------------------------------------------------


def sandbox_create(  # noqa: PLR0913 - the fields of one body, by keyword
    name: str,
    *,
    policy: PolicyFile | None = None,
    allow: Sequence[str] = (),
    tenant: str | None = None,
    labels: Mapping[str, str] | None = None,
    attach: Attachment | None = None,
    trust_stores: Sequence[TrustStore] = (),
    idempotency_key: str | None = None,
) -> Call[Sandbox]:
    """Create a sandbox, or attach an existing namespace.

    Args:
        policy: a policy file's text and its name; without one nothing is allowed but `allow`.
        allow: endpoints, `HOST[:PORT]`, for any program.
        trust_stores: further stores of certificates to make: for Java, for NSS (Chromium, Firefox).
        idempotency_key: the same key with the same request is answered as the first time.
    """
    body: Json = {
        "name": name,
        "policy": policy,
        "allow": list(allow),
        "tenant": tenant,
        "labels": dict(labels or {}),
        "attach": attach,
    }
    if trust_stores:
        body["trust_stores"] = list(trust_stores)
    headers = {} if idempotency_key is None else {"idempotency-key": idempotency_key}
    return Call("POST", "/v1/sandboxes", body=body, deadline_s=CHANGE_S, headers=headers)


def sandbox_plan(create: Call[Sandbox]) -> Call[Plan]:
    """The steps that a create would walk; nothing is done."""
    return Call(create.method, create.path, body={**create.body, "dry_run": True})


def sandbox_list(labels: Sequence[str] = ()) -> Call[Sandboxes]:
    """Every sandbox, by name; those that have all these labels (`K=V`)."""
    words = "&".join(f"label={quote(label, safe='')}" for label in labels)
    return Call("GET", f"/v1/sandboxes?{words}" if words else "/v1/sandboxes")


def sandbox_injection(name: str) -> Call[Injection]:
    """What a runtime puts into a container of this sandbox, which need not exist yet."""
    return Call("GET", f"/v1/sandboxes/{path_part(name)}/injection")


def sandbox_show(name: str) -> Call[Sandbox]:
    """Record and kernel truth of one sandbox."""
    return Call("GET", f"/v1/sandboxes/{path_part(name)}")


def sandbox_check(name: str) -> Call[CheckReport]:
    """Compare record and kernel."""
    return Call("GET", f"/v1/sandboxes/{path_part(name)}/check")


def sandbox_delete(name: str) -> Call[Removed]:
    """Delete one sandbox."""
    return Call("DELETE", f"/v1/sandboxes/{path_part(name)}", deadline_s=CHANGE_S)


def sandbox_delete_all() -> Call[Removed]:
    """Delete every sandbox."""
    return Call("DELETE", "/v1/sandboxes", deadline_s=CHANGE_S)


def sandbox_gc(
    keep: Sequence[str],
    *,
    by: str | None = None,
    labels: Mapping[str, str] | None = None,
    tenant: str | None = None,
) -> Call[Removed]:
    """Delete every sandbox that is not named.

    Args:
        keep: what lives: names; with `by`, values of that label (a runtime's own ids).
        by: only sandboxes that have this label are looked at.
        labels, tenant: only sandboxes that have these are looked at.
    """
    scope = _present(by=by, labels=dict(labels) if labels else None, tenant=tenant)
    body = {"keep": list(keep), **scope}
    return Call("POST", "/v1/sandboxes/gc", body=body, deadline_s=CHANGE_S)


def sandbox_trust(name: str, stores: Sequence[TrustStore]) -> Call[Sandbox]:
    """Make further stores of certificates; the sandbox with them. Those that are there stay."""
    path = f"/v1/sandboxes/{path_part(name)}/trust"
    return Call("POST", path, body={"stores": list(stores)}, deadline_s=CHANGE_S)


# -- policies; `scope` is a sandbox's name, or None for the global policy ------------------------


def _policy(scope: str | None) -> str:
    return "/v1/policy" if scope is None else f"/v1/sandboxes/{path_part(scope)}/policy"


def policy_get(scope: str | None, *, revision: int | None = None) -> Call[PolicyDoc]:
    """One revision; the one in force where none is named."""
    return Call("GET", _policy(scope), query=given(revision=revision))


def policy_set(
    scope: str | None, policy: PolicyFile, *, if_revision: int | None = None, dry_run: bool = False
) -> Call[PolicyChange]:
    """Replace the policy."""
    body = {**policy, "if_revision": if_revision, "dry_run": dry_run}
    return Call("PUT", _policy(scope), body=body, deadline_s=CHANGE_S)


def policy_update(
    scope: str | None,
    operations: Sequence[Mapping[str, Any]],
    *,
    if_revision: int | None = None,
    dry_run: bool = False,
) -> Call[PolicyChange]:
    """Apply one atomic batch of operations."""
    body = {"operations": list(operations), "if_revision": if_revision, "dry_run": dry_run}
    return Call("PATCH", _policy(scope), body=body, deadline_s=CHANGE_S)


def policy_history(scope: str | None) -> Call[Revisions]:
    """Every revision that is kept, without its text."""
    return Call("GET", f"{_policy(scope)}/history")


def policy_propose(sandbox: str, *, since: float | None = None) -> Call[Json]:
    """Rules that would have allowed what was denied; `since` in epoch seconds."""
    return Call("GET", f"{_policy(sandbox)}/proposals", query=given(since=since))


def policy_rollback(
    scope: str | None, revision: int, *, if_revision: int | None = None, dry_run: bool = False
) -> Call[PolicyChange]:
    """Make an older revision's text the newest revision."""
    body = {"revision": revision, "if_revision": if_revision, "dry_run": dry_run}
    return Call("POST", f"{_policy(scope)}/rollback", body=body, deadline_s=CHANGE_S)


def policy_delete_global(*, if_revision: int | None = None) -> Call[Json]:
    """Take the policy over all sandboxes away."""
    query = given(if_revision=if_revision)
    return Call("DELETE", _policy(None), query=query, deadline_s=CHANGE_S)


def explain(
    sandbox: str,
    target: str,
    *,
    method: str | None = None,
    binaries: Sequence[str] = (),
    operation: str | None = None,
) -> Call[Explanation]:
    """What would become of `target` in `sandbox`, judged by the object that enforces."""
    body = {
        "sandbox": sandbox,
        "target": target,
        "method": method,
        "binaries": list(binaries),
        "operation": operation,
    }
    return Call("POST", "/v1/explain", body=body)


# -- providers and inference ---------------------------------------------------------------------


def _verifying(timeout_s: float | None) -> float:
    return CHANGE_S + PROBES * (timeout_s or PROBE_S)


def inference_set(
    provider: str, model: str, *, verify: bool = True, **fields: object
) -> Call[Json]:
    """Point inference.local at a provider's model, in one sandbox, under a label, or in all.

    Args:
        fields: of `timeout_s`, `total_timeout_s`, `aliases`, `rules`, `sandbox`, `label`,
            `if_version`.
    """
    body = {"provider": provider, "model": model, "verify": verify, **_present(**fields)}
    timeout = fields.get("timeout_s")
    patience = _verifying(float(timeout) if isinstance(timeout, int | float) else None)
    return Call("PUT", "/v1/inference", body=body, deadline_s=patience)


def inference_update(
    *,
    sandbox: str | None,
    verify: bool,
    label: str | None = None,
    if_version: int | None = None,
    **changes: object,
) -> Call[Json]:
    """Change what is given of `provider`, `model`, `aliases`, `timeout_s`, `total_timeout_s`,
    `rules`."""
    words = _present(sandbox=sandbox, label=label, if_version=if_version)
    body = {"verify": verify, **words, **_present(**changes)}
    timeout = changes.get("timeout_s")
    patience = _verifying(float(timeout) if isinstance(timeout, int | float) else None)
    return Call("PATCH", "/v1/inference", body=body, deadline_s=patience)


def inference_get(sandbox: str | None, label: str | None = None) -> Call[Json]:
    """`{"routes": [...]}`; the one that holds in a sandbox, or a label's, where one is named."""
    return Call("GET", "/v1/inference", query=given(sandbox=sandbox, label=label))


def inference_delete(
    sandbox: str | None, label: str | None = None, *, cut: bool = False
) -> Call[Json]:
    """Forget the route; done also where none is set. With `cut`, calls under way end, too."""
    query = given(sandbox=sandbox, label=label, cut=1 if cut else None)
    return Call("DELETE", "/v1/inference", query=query, deadline_s=CHANGE_S)


def inference_test(
    sandbox: str | None, label: str | None = None, timeout_s: float | None = None
) -> Call[Json]:
    """Probe the route in force; with its own timeout unless one is given."""
    body = _present(sandbox=sandbox, label=label, timeout_s=timeout_s)
    return Call("POST", "/v1/inference/test", body=body, deadline_s=_verifying(timeout_s))


# -- records -------------------------------------------------------------------------------------


def records(
    *,
    filters: Mapping[str, object] | None = None,
    after: int | None = None,
    limit: int | None = None,
    follow: bool = False,
) -> Call[Json]:
    """Decision records, oldest first, one JSON object per line. Sent with `stream`.

    Args:
        filters: of `sandbox`, `verdict`, `kind`, `name` (a glob), `since` (seconds, epoch).
    """
    words = given(**(filters or {}), after=after, limit=limit, follow=1 if follow else None)
    return Call("GET", "/v1/records", query=words)
