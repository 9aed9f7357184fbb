"""Owns: /v1/status, /v1/hub, /v1/explain, /metrics, /v1/shutdown."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from netmgr import __version__
from netmgr.control import schema
from netmgr.control.access import Need
from netmgr.control.office import Office

JsonObject = dict[str, Any]


def status_routes(office: Office) -> APIRouter:
    """Routes that look, and the one that ends the daemon."""
    router = APIRouter()

    @router.get("/v1/version")
    async def version() -> JsonObject:
        return {"version": __version__}

    @router.get("/v1/status")
    async def status() -> JsonObject:
        return await office.status.status()

    @router.get("/v1/hub")
    async def hub() -> JsonObject:
        return await office.status.hub()

    @router.get("/metrics")
    async def metrics() -> Response:
        text = await office.status.metrics()
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.post("/v1/explain")
    async def explain(body: schema.Explain) -> JsonObject:
        return await office.policies.explain(
            body.sandbox, body.target, body.method, body.binaries, body.operation
        )

    @router.post("/v1/shutdown", status_code=202)
    async def shutdown(body: schema.Shutdown, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        await office.shut_down(body.remove)
        return {"stopping": True}

    return router
