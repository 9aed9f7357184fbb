"""Owns: the shapes of the control API's answers, once: types of the client, schemas of the OpenAPI.

Plain TypedDicts, so that a command line that starts in milliseconds can import them. Knows nothing
of who sends or reads them. Times are epoch seconds.
"""

from typing import Any, NotRequired, TypedDict

Json = dict[str, Any]


class PolicyRef(TypedDict):
    """Which policy is in force: the sandbox's own, or the one over all sandboxes (`scope`)."""

    revision: int
    digest: str
    scope: NotRequired[str]


class Files(TypedDict):
    """Files of a sandbox on the host, by purpose. The last two are null until they are asked for:
    `trust_stores` of the creation, or `POST /v1/sandboxes/{name}/trust`."""

    resolv_conf: str
    hosts: str
    nsswitch_conf: str
    ca: str
    ca_bundle: str
    env: str
    java_truststore: str | None
    nss_database: str | None


class Mount(TypedDict):
    """A read-only bind mount. An optional one is for images that have the target, and no others."""

    source: str
    target: str
    optional: bool


class Sandbox(TypedDict):
    """A sandbox. `mounts` and `env` are all that a runtime puts into its container: with them the
    container finds names and trusts the sandbox's authority. `show` adds the kernel's truth."""

    name: str
    id: int
    state: str
    created: float
    tenant: str | None
    labels: dict[str, str]
    address: str
    gateway: str
    mac: str
    link: str
    netns: str
    attached: bool
    policy: PolicyRef | None
    run_dir: str
    files: Files
    mounts: list[Mount]
    env: dict[str, str]
    names: NotRequired[Json]
    kernel: NotRequired[Json | None]


class Injection(TypedDict):
    """What a runtime puts into a container of a sandbox that may not exist yet."""

    name: str
    exists: bool
    netns: str
    files: Files
    mounts: list[Mount]
    env: dict[str, str]


class Plan(TypedDict):
    """The steps that a creation would walk, and the variables that it would give: for who has to
    say them before the namespace exists. Nothing was done."""

    plan: list[str]
    env: dict[str, str]


class Sandboxes(TypedDict):
    """Every sandbox, by name."""

    sandboxes: list[Sandbox]


class Removed(TypedDict):
    """Names of what was removed."""

    removed: list[str]


class Difference(TypedDict):
    """One thing that is not in the kernel as it is in the record."""

    what: str
    expected: Any
    found: Any
    remedy: str | None


class CheckReport(TypedDict):
    """The record of a sandbox compared with the kernel and its files."""

    ok: bool
    differences: list[Difference]


class PolicyDoc(TypedDict):
    """One revision of a policy."""

    text: str
    source: str
    revision: int
    digest: str
    created: float | str
    warnings: list[str]


class PolicyChange(TypedDict):
    """What a policy write did, or with `dry_run` would do."""

    revision: int
    digest: str
    changed: bool
    warnings: list[str]
    notes: NotRequired[list[str]]
    diff: NotRequired[list[str]]


class Revisions(TypedDict):
    """Every revision that is kept, without its text."""

    revisions: list[Json]


class Explanation(TypedDict):
    """A decision, as `policy explain` shows it."""

    verdict: str
    reason: str
    rule: str | None
    nearest: str | None
    message: str
    remedy: str | None
    treatment: str | None
    expires: str | None
    policy_revision: int | None


class Error(TypedDict):
    """What failed: a word for programs, a sentence for people, and further facts."""

    code: str
    message: str
    details: Json


class Failure(TypedDict):
    """The body of every answer that is an error."""

    error: Error
