"""Owns: the control API as one FastAPI application: routes, error faces, the OpenAPI document.

Each route parses, checks the caller, and calls one verb of the office. Knows nothing of how a verb
does its work.
"""

from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from netmgr import __version__
from netmgr.control.access import Need, check
from netmgr.control.office import Office
from netmgr.control.openapi import document
from netmgr.control.routes_audit import audit_routes
from netmgr.control.routes_inference import inference_routes
from netmgr.control.routes_records import record_routes
from netmgr.control.routes_routing import routing_routes
from netmgr.control.routes_sandboxes import sandbox_routes
from netmgr.control.routes_status import status_routes
from netmgr.control.server import caller_in
from netmgr.errors import BadInput, NetmgrError, NotFound


def make_app(office: Office) -> FastAPI:
    """The whole API of one daemon."""
    app = FastAPI(
        title="netmgr control API",
        version=__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.office = office
    for router in (
        status_routes(office),
        sandbox_routes(office),
        inference_routes(office),
        record_routes(office),
        routing_routes(office),
        audit_routes(office),
    ):
        app.include_router(router)
    app.add_exception_handler(NetmgrError, _our_error)
    app.add_exception_handler(RequestValidationError, _bad_body)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)
    app.add_middleware(_OnlyFromOutside, office=office)
    app.openapi = partial(document, app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


class _OnlyFromOutside:
    """Turns every caller away that stands in a sandbox, before anything of its request is read."""

    def __init__(self, app: ASGIApp, office: Office) -> None:
        self._app = app
        self._office = office

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            check(caller_in(scope), Need.READ, self._office.is_inside)
        except NetmgrError as error:
            await error_response(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def error_response(error: NetmgrError) -> JSONResponse:
    """The one face of an error."""
    body = {"code": error.code, "message": error.message, "details": error.details}
    return JSONResponse({"error": body}, status_code=error.http_status)


async def _our_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NetmgrError)
    return error_response(error)


async def _bad_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [_problem(item) for item in error.errors()]
    return error_response(BadInput("; ".join(problems), problems=problems))


def _problem(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"] if part != "body")
    return f"{where}: {item['msg']}" if where else str(item["msg"])


async def _fault(request: Request, error: Exception) -> Response:
    """A fault of ours: it is in the log, and says nothing of what it holds to the caller."""
    return error_response(NetmgrError("the daemon failed; its log says how"))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == NotFound.http_status:
        return error_response(NotFound(f"the API has no {request.method} {request.url.path}"))
    body = {"code": "invalid_input", "message": str(error.detail), "details": {}}
    return JSONResponse({"error": body}, status_code=error.status_code)
