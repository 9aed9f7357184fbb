"""Owns: the shape of every request body of the control API. Unknown keys are errors."""

from typing import Annotated, Any, Final, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from netmgr.accounts.limits import Measure
from netmgr.inference.profiles import MAX_ALIASES
from netmgr.inference.rules import MAX_NAMES, ModelMode
from netmgr.inference.scope import MAX_LABEL
from netmgr.journal import DEFAULT_LIMIT, MAX_LIMIT
from netmgr.keys.stores import STORES
from netmgr.reasons import Kind, Verdict

MAX_POLICY_TEXT: Final = 1024 * 1024  # bytes of a policy file; the largest known ones are 40 KiB
MAX_ALLOW: Final = 256  # --allow options of one sandbox
MAX_LABELS: Final = 64
MAX_KEEP: Final = 65536  # names of one garbage collection: max_sandboxes can be no larger
MAX_CREDENTIAL: Final = 8192  # bytes of one credential value
MAX_CREDENTIALS: Final = 32  # of one provider; the largest known kind has four
MAX_CONFIG: Final = 64  # config keys of one provider
MAX_OPERATIONS: Final = 256  # operations of one `policy update`

MAX_ROUTE_WORDS: Final = 64  # findings, stages or labels of one question about routing

MAX_NUMBER: Final = 2**53  # what JSON holds exactly, and SQLite anyhow

Text256 = Annotated[str, Field(max_length=256)]
Label = Annotated[str, Field(max_length=MAX_LABEL)]
LabelWords = Annotated[tuple[Label, ...], Query(max_length=MAX_LABELS)]
Number = Annotated[int, Field(ge=0, le=MAX_NUMBER)]  # a revision, a record's number
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Credential = Annotated[str, Field(max_length=MAX_CREDENTIAL)]
ConfigValue = Annotated[str, Field(max_length=MAX_CREDENTIAL)]


Labels = Annotated[dict[Text256, Text256], Field(max_length=MAX_LABELS)]
TrustStores = Annotated[list[Literal["java", "nss"]], Field(max_length=len(STORES))]


class Body(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PolicyText(Body):
    """A policy file as the client read it; `source` names it in error messages."""

    text: Annotated[str, Field(max_length=MAX_POLICY_TEXT)]
    source: Annotated[str, Field(max_length=4096)] = "<policy>"


class Attach(Body):
    """An existing namespace: by path, or by a process in it.

    `starting`: the process is a container runtime's that has yet to give up its privileges; the
    caller has judged what the container will hold, so the process is not judged by what it holds.
    `replace_links`: links that somebody made in it before are removed; otherwise they are a reason
    to refuse it.
    """

    netns: Annotated[str, Field(max_length=4096, pattern="^[^\\x00]+$")] | None = None
    pid: Annotated[int, Field(gt=0)] | None = None
    starting: bool = False
    replace_links: bool = False


class CreateSandbox(Body):
    """POST /v1/sandboxes."""

    name: str
    policy: PolicyText | None = None
    allow: Annotated[list[Text256], Field(max_length=MAX_ALLOW)] = []
    tenant: Text256 | None = None
    labels: Labels = {}
    attach: Attach | None = None
    trust_stores: TrustStores = []
    idempotency_key: Text256 | None = None
    dry_run: bool = False


class AddTrustStores(Body):
    """POST /v1/sandboxes/{name}/trust."""

    stores: TrustStores


class Keep(Body):
    """POST /v1/sandboxes/gc: everything that is not named goes.

    With `by`, `keep` has values of that label (a runtime's own ids), and only sandboxes that have
    the label are looked at; with `labels` or `tenant`, only those that have them."""

    keep: Annotated[list[Text256], Field(max_length=MAX_KEEP)]
    by: Text256 | None = None
    labels: Labels = {}
    tenant: Text256 | None = None


class SetPolicy(PolicyText):
    """PUT .../policy."""

    if_revision: Number | None = None
    dry_run: bool = False


class UpdatePolicy(Body):
    """PATCH .../policy: one atomic batch."""

    operations: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_OPERATIONS)]
    if_revision: Number | None = None
    dry_run: bool = False


class RollBack(Body):
    """POST .../policy/rollback."""

    revision: Number
    if_revision: Number | None = None
    dry_run: bool = False


class Explain(Body):
    """POST /v1/explain."""

    sandbox: str
    target: Annotated[str, Field(max_length=8192)]
    method: Text256 | None = None
    binaries: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=33)] = []
    operation: Annotated[str, Field(max_length=8192)] | None = None


class ProviderContent(Body):
    """What a provider consists of. `expires`: when credentials end, epoch seconds; 0 is never."""

    credentials: Annotated[dict[Text256, Credential], Field(max_length=MAX_CREDENTIALS)] = {}
    config: Annotated[dict[Text256, ConfigValue], Field(max_length=MAX_CONFIG)] = {}
    expires: Annotated[dict[Text256, Seconds], Field(max_length=MAX_CREDENTIALS)] = {}


class UpdateProvider(ProviderContent):
    """PATCH /v1/providers/{name}: an empty value removes the key. With `force`, calls end that
    are under way with what it replaces."""

    force: bool = False


Aliases = Annotated[dict[Text256, Text256], Field(max_length=MAX_ALIASES)]


class ConfigureRefresh(Body):
    """PUT /v1/providers/{name}/refresh."""

    key: Text256 | None = None
    strategy: Text256
    material: Annotated[dict[Text256, ConfigValue], Field(max_length=MAX_CREDENTIALS)] = {}
    secrets: Annotated[dict[Text256, Credential], Field(max_length=MAX_CREDENTIALS)] = {}


class CreateProvider(ProviderContent):
    """POST /v1/providers. With `refresh` a credential is fetched before the answer."""

    name: Text256
    type: Annotated[str, Field(max_length=64)]
    refresh: ConfigureRefresh | None = None


class RotateRefresh(Body):
    """POST /v1/providers/{name}/refresh/rotate."""

    key: Text256 | None = None


Names = Annotated[list[Text256], Field(max_length=MAX_NAMES)]


class Rules(Body):
    """What calls over a route may be; what is not given stays, or is at its default."""

    model_mode: ModelMode | None = None
    models: Names | None = None
    server_tools: Names | None = None
    remote_urls: Names | None = None
    stored_objects: Names | None = None
    connect_timeout_s: Seconds | None = None
    first_byte_timeout_s: Seconds | None = None
    idle_timeout_s: Seconds | None = None
    heartbeat_s: Seconds | None = None
    plain_http: bool | None = None


class SetInference(Body):
    """PUT /v1/inference: a route whole. Its scope is one sandbox, a label `K=V`, or all."""

    provider: Text256
    model: Text256
    aliases: Aliases = {}
    timeout_s: Seconds = 0
    total_timeout_s: Seconds = 0
    rules: Rules = Rules()
    verify: bool = True
    sandbox: str | None = None
    label: Label | None = None
    if_version: Number | None = None


class UpdateInference(Body):
    """PATCH /v1/inference: only what is given changes; an alias without a model is removed."""

    provider: Text256 | None = None
    model: Text256 | None = None
    aliases: Aliases | None = None
    timeout_s: Seconds | None = None
    total_timeout_s: Seconds | None = None
    rules: Rules | None = None
    verify: bool = True
    sandbox: str | None = None
    label: Label | None = None
    if_version: Number | None = None


class TestInference(Body):
    """POST /v1/inference/test. Without a `timeout_s`, or with 0, the route's own holds."""

    sandbox: str | None = None
    label: Label | None = None
    timeout_s: Seconds = 0


class SetLimits(Body):
    """PATCH /v1/inference/limits: single limits of a sandbox, of a tenant, or of all others.

    A value is a number, money as text, `none` (no limit) or `inherit` (the default)."""

    sandbox: str | None = None
    tenant: Text256 | None = None
    limits: Annotated[dict[Text256, Text256 | Number], Field(max_length=len(Measure))]


class UsageQuery(Body):
    """GET /v1/inference/usage."""

    by: Text256 = "model"
    since: Seconds | None = None
    sandbox: Text256 | None = None
    tenant: Text256 | None = None


Words = Annotated[list[Text256], Field(max_length=MAX_ROUTE_WORDS)]
Pairs = Annotated[dict[Text256, Text256], Field(max_length=MAX_ROUTE_WORDS)]


class SetRouting(PolicyText):
    """PUT /v1/routing. `accept_widening`: what was not permitted so far may be."""

    if_revision: Number | None = None
    dry_run: bool = False
    accept_widening: bool = False


class RollBackRouting(Body):
    """POST /v1/routing/rollback."""

    revision: Number
    if_revision: Number | None = None
    dry_run: bool = False
    accept_widening: bool = False


class RouteRequest(Body):
    """A model call as routing sees it; never its text. With `sandbox`, tenant and labels are
    those of that sandbox unless they are given."""

    sandbox: Text256 | None = None
    tenant: Text256 | None = None
    workload: Pairs | None = None
    protocol: Text256 | None = None
    model: Text256 | None = None
    stream: bool | None = None
    needs: Words | None = None
    tokens_in: Number | None = None
    tokens_out_max: Number | None = None


class ExplainRoute(Body):
    """POST /v1/routing/explain: a call, and what the middleware shall have said of it."""

    request: RouteRequest = RouteRequest()
    findings: Words = []
    stages: Pairs = {}
    says: Pairs = {}


class ReplayRouting(PolicyText):
    """POST /v1/routing/replay: stored decisions since a time, decided anew by another file."""

    since: Seconds


class ProveQuery(Body):
    """GET /v1/audit/prove: one of `operated_by` and `residency`."""

    label: Text256
    operated_by: Text256 | None = None
    residency: Text256 | None = None
    since: Seconds


class RecordQuery(Body):
    """GET /v1/records: which decisions to show; `follow` keeps the answer open."""

    sandbox: str | None = None
    verdict: Verdict | None = None
    kind: Kind | None = None
    name: Text256 | None = None
    since: Seconds | None = None
    after: Number | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT
    follow: bool = False


class Shutdown(Body):
    """POST /v1/shutdown. With `remove`, sandboxes and the hub go too."""

    remove: bool = False
