"""Owns: /v1/routing."""

from typing import Any

from fastapi import APIRouter, Request

from netmgr.control import schema
from netmgr.control.access import Need
from netmgr.control.office import Office
from netmgr.daemon.routing_desk import RoutingChange

JsonObject = dict[str, Any]


def routing_routes(office: Office) -> APIRouter:
    """Routes of the routing file."""
    router = APIRouter(prefix="/v1/routing")
    desk = office.routing

    @router.get("")
    async def get(revision: int | None = None) -> JsonObject:
        return await desk.get(revision)

    @router.get("/history")
    async def history() -> JsonObject:
        return {"revisions": await desk.history()}

    @router.put("")
    async def put(body: schema.SetRouting, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return await desk.set(_change(body), body.text, body.source)

    @router.post("/rollback")
    async def roll_back(body: schema.RollBackRouting, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return await desk.roll_back(_change(body), body.revision)

    @router.delete("")
    async def delete(
        request: Request, shadow: bool = False, if_revision: int | None = None
    ) -> JsonObject:
        office.allow(request, Need.ROOT)
        return {"deleted": await desk.delete(shadow_only=shadow, if_revision=if_revision)}

    @router.delete("/labels")
    async def reset(request: Request, sandbox: str | None = None) -> JsonObject:
        office.allow(request, Need.ROOT)
        return {"reset": await desk.affinity.reset(sandbox)}

    @router.post("/explain")
    async def explain(body: schema.ExplainRoute) -> JsonObject:
        return await desk.explain(body.model_dump(exclude_none=True))

    @router.get("/why/{request_id}")
    async def why(request_id: str) -> JsonObject:
        return await desk.why(request_id)

    @router.post("/replay")
    async def replay(body: schema.ReplayRouting) -> JsonObject:
        return await desk.replay(body.since, body.text, body.source)

    return router


def _change(body: schema.SetRouting | schema.RollBackRouting) -> RoutingChange:
    return RoutingChange(body.if_revision, body.dry_run, body.accept_widening)
