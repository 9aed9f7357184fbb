"""Owns: /v1/sandboxes and /v1/policy."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse

from netmgr.control import schema
from netmgr.control.access import Need
from netmgr.control.office import Office
from netmgr.daemon.lifecycle import Outcome
from netmgr.daemon.policy_desk import Change
from netmgr.daemon.sandbox_spec import Living, SandboxSpec
from netmgr.errors import BadInput
from netmgr.inference.scope import parse_scope
from netmgr.model import parse_sandbox_name

JsonObject = dict[str, Any]

REPEATED: Final = "idempotency-replayed"  # says that an answer is that of an earlier request


def sandbox_routes(office: Office) -> APIRouter:
    """Routes of the life of sandboxes, and of their policies."""
    router = APIRouter(prefix="/v1")
    _add_life(router, office)
    _add_contents(router, office)
    _add_policy(router, office, "/sandboxes/{name}/policy")
    _add_policy(router, office, "/policy")
    _add_proposals(router, office)
    return router


def _add_life(router: APIRouter, office: Office) -> None:
    life = office.lifecycle

    # The answer is ours, made a line ago: it is written as it stands, not judged against a model.
    @router.post("/sandboxes", status_code=201, response_model=None)
    async def create(
        body: schema.CreateSandbox,
        request: Request,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> JSONResponse:
        office.allow(request, Need.ROOT if body.attach else Need.SANDBOX)
        given = body.model_dump()
        given["idempotency_key"] = _one_key(idempotency_key, body.idempotency_key)
        spec = SandboxSpec.parse(given)
        if body.dry_run:
            return JSONResponse(await life.plan(spec))
        sandbox, outcome = await life.create(spec)
        headers = {REPEATED: "true"} if outcome is Outcome.REPEATED else None
        status = 200 if outcome is Outcome.EXISTED else 201
        return JSONResponse(sandbox, status_code=status, headers=headers)

    @router.get("/sandboxes")
    async def listing(label: schema.LabelWords = ()) -> JsonObject:
        return {"sandboxes": life.listing(parse_scope(None, word).label for word in label)}

    @router.delete("/sandboxes")
    async def delete_all(request: Request) -> JsonObject:
        office.allow(request, Need.SANDBOX)
        return {"removed": await life.delete_all()}

    @router.post("/sandboxes/gc")
    async def collect(body: schema.Keep, request: Request) -> JsonObject:
        office.allow(request, Need.SANDBOX)
        return {"removed": await life.collect(Living.parse(body.model_dump()))}

    @router.get("/sandboxes/{name}")
    async def show(name: str) -> JsonObject:
        return await office.inspection.show(name)

    @router.delete("/sandboxes/{name}")
    async def delete(name: str, request: Request) -> JsonObject:
        office.allow(request, Need.SANDBOX)
        await life.delete(name)
        return {"removed": [name]}


def _add_contents(router: APIRouter, office: Office) -> None:
    """What is in a sandbox, and what belongs into one."""
    life = office.lifecycle

    @router.post("/sandboxes/{name}/trust")
    async def add_trust(name: str, body: schema.AddTrustStores, request: Request) -> JsonObject:
        office.allow(request, Need.SANDBOX)
        return await life.add_trust_stores(name, body.stores)

    @router.get("/sandboxes/{name}/injection")
    async def injection(name: str) -> JsonObject:
        return life.injection(parse_sandbox_name(name))

    @router.get("/sandboxes/{name}/check")
    async def compare(name: str) -> JsonObject:
        return await office.inspection.check(name)


def _one_key(header: str | None, field: str | None) -> str | None:
    """The idempotency key, from the header or the body."""
    if header is not None and field is not None and header != field:
        raise BadInput("idempotency key: the header and the body name different ones; give one")
    return field if header is None else header


def _add_proposals(router: APIRouter, office: Office) -> None:
    @router.get("/sandboxes/{name}/policy/proposals")
    async def proposals(name: str, since: schema.Seconds | None = None) -> JsonObject:
        return await office.policies.propose(name, since)


def _add_policy(router: APIRouter, office: Office, path: str) -> None:
    """The same routes for a sandbox's policy and for the global one (`name` None)."""
    desk = office.policies

    def scope(request: Request) -> str | None:
        return request.path_params.get("name")

    @router.get(path)
    async def get(request: Request, revision: schema.Number | None = None) -> JsonObject:
        return await desk.get(scope(request), revision)

    @router.put(path)
    async def put(body: schema.SetPolicy, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        change = Change(scope(request), body.if_revision, body.dry_run)
        return await desk.set(change, body.text, body.source)

    @router.patch(path)
    async def patch(body: schema.UpdatePolicy, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        change = Change(scope(request), body.if_revision, body.dry_run)
        return await desk.update(change, body.operations)

    @router.delete(path)
    async def delete(request: Request, if_revision: schema.Number | None = None) -> JsonObject:
        office.allow(request, Need.ROOT)
        return await desk.delete(Change(scope(request), if_revision))

    @router.get(f"{path}/history")
    async def history(request: Request) -> JsonObject:
        return {"revisions": await desk.history(scope(request))}

    @router.post(f"{path}/rollback")
    async def rollback(body: schema.RollBack, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        change = Change(scope(request), body.if_revision, body.dry_run)
        return await desk.roll_back(change, body.revision)
