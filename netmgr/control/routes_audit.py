"""Owns: /v1/audit."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from netmgr.control import schema
from netmgr.control.office import Office

JsonObject = dict[str, Any]


def audit_routes(office: Office) -> APIRouter:
    """What the ledger proves."""
    router = APIRouter(prefix="/v1/audit")

    @router.get("/verify")
    async def verify() -> JsonObject:
        return await office.routing.audit.verify()

    @router.get("/prove")
    async def prove(asked: Annotated[schema.ProveQuery, Query()]) -> JsonObject:
        return await office.routing.audit.prove(
            asked.label, asked.operated_by, asked.residency, asked.since
        )

    return router
