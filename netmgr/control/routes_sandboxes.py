"""Owns: /v1/sandboxes and /v1/policy."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from netmgr.control import schema
from netmgr.control.access import Need
from netmgr.control.office import Office
from netmgr.daemon.policy_desk import Change
from netmgr.daemon.sandbox_spec import SandboxSpec
from netmgr.inference.scope import parse_scope

JsonObject = dict[str, Any]


def sandbox_routes(office: Office) -> APIRouter:
    """Routes of the life of sandboxes, and of their policies."""
    router = APIRouter(prefix="/v1")
    _add_life(router, office)
    _add_policy(router, office, "/sandboxes/{name}/policy")
    _add_policy(router, office, "/policy")
    _add_proposals(router, office)
    return router


def _add_life(router: APIRouter, office: Office) -> None:
    life = office.lifecycle

    # The answer is ours, made a line ago: it is written as it stands, not judged against a model.
    @router.post("/sandboxes", status_code=201, response_model=None)
    async def create(body: schema.CreateSandbox, request: Request) -> JSONResponse:
        office.allow(request, Need.ROOT if body.attach else Need.SANDBOX)
        spec = SandboxSpec.parse(body.model_dump())
        if body.dry_run:
            return JSONResponse({"plan": await life.plan(spec)})
        sandbox, created = await life.create(spec)
        return JSONResponse(sandbox, status_code=201 if created else 200)

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
        return {"removed": await life.collect(body.keep)}

    @router.get("/sandboxes/{name}")
    async def show(name: str) -> JsonObject:
        return await office.inspection.show(name)

    @router.delete("/sandboxes/{name}")
    async def delete(name: str, request: Request) -> JsonObject:
        office.allow(request, Need.SANDBOX)
        await life.delete(name)
        return {"removed": [name]}

    @router.get("/sandboxes/{name}/check")
    async def compare(name: str) -> JsonObject:
        return await office.inspection.check(name)


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
