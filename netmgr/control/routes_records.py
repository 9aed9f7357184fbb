"""Owns: /v1/records: history and the live stream of decisions, one JSON object per line."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from netmgr.control.office import Office
from netmgr.control.schema import RecordQuery
from netmgr.journal import Filter

MEDIA_TYPE: Final = "application/x-ndjson"


def record_routes(office: Office) -> APIRouter:
    """The one route of the journal."""
    router = APIRouter(prefix="/v1")

    @router.get("/records")
    async def records(asked: Annotated[RecordQuery, Query()]) -> StreamingResponse:
        wanted = Filter(**asked.model_dump(exclude={"follow"}))
        if asked.follow:
            source: AsyncIterator[dict[str, Any]] = office.journal.subscribe(wanted)
        else:
            source = _each(await office.journal.query(wanted))
        return StreamingResponse(_lines(source), media_type=MEDIA_TYPE)

    return router


async def _each(records: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    for record in records:
        yield record


async def _lines(records: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for record in records:
        yield json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
