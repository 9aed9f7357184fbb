"""Owns: /v1/providers and /v1/inference."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from netmgr.control import schema
from netmgr.control.access import Need
from netmgr.control.office import Office
from netmgr.daemon.provider_desk import Given
from netmgr.daemon.refresher import Renewal
from netmgr.inference.scope import parse_scope
from netmgr.secret import Secret

JsonObject = dict[str, Any]


def inference_routes(office: Office) -> APIRouter:
    """Routes of providers and of what `inference.local` leads to."""
    router = APIRouter(prefix="/v1")
    _add_providers(router, office)
    _add_refreshes(router, office)
    _add_vault(router, office)
    _add_inference(router, office)
    _add_accounts(router, office)
    return router


def _given(body: schema.ProviderContent) -> Given:
    secrets = {key: Secret(value) for key, value in body.credentials.items()}
    return Given(secrets, body.config, body.expires)


def _renewal(body: schema.ConfigureRefresh) -> Renewal:
    secrets = {key: Secret(value) for key, value in body.secrets.items()}
    return Renewal(body.strategy, body.material, secrets, body.key)


def _add_providers(router: APIRouter, office: Office) -> None:
    desk = office.providers

    @router.post("/providers", status_code=201)
    async def create(body: schema.CreateProvider, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        if body.refresh is None:
            return await desk.create(body.name, body.type, _given(body))
        renewal = _renewal(body.refresh)
        return await office.refresher.create(desk, body.name, body.type, _given(body), renewal)

    @router.get("/providers")
    async def listing() -> JsonObject:
        return {"providers": await desk.list()}

    @router.get("/provider-types")
    async def types() -> JsonObject:
        return {"types": desk.types()}

    @router.get("/providers/{name}")
    async def get(name: str) -> JsonObject:
        return await desk.get(name)

    @router.patch("/providers/{name}")
    async def update(name: str, body: schema.UpdateProvider, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return await desk.update(name, _given(body), force=body.force)

    @router.delete("/providers/{name}")
    async def delete(name: str, request: Request, force: bool = False) -> JsonObject:
        office.allow(request, Need.ROOT)
        await desk.delete(name, force=force)
        return {"removed": [name]}


def _add_refreshes(router: APIRouter, office: Office) -> None:
    refresher = office.refresher

    @router.get("/providers/{name}/refresh")
    async def get(name: str) -> JsonObject:
        return {"provider": name, "refresh": await refresher.status(name)}

    @router.put("/providers/{name}/refresh")
    async def put(name: str, body: schema.ConfigureRefresh, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        found = await refresher.configure(name, _renewal(body))
        return {"provider": name, "refresh": found}

    @router.post("/providers/{name}/refresh/rotate")
    async def rotate(name: str, body: schema.RotateRefresh, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return {"provider": name, "refresh": await refresher.rotate(name, body.key)}

    @router.delete("/providers/{name}/refresh")
    async def delete(name: str, request: Request, key: str | None = None) -> JsonObject:
        office.allow(request, Need.ROOT)
        await refresher.delete(name, key)
        return {"removed": [name]}


def _add_vault(router: APIRouter, office: Office) -> None:
    @router.get("/vault")
    async def get() -> JsonObject:
        return await office.vault.status()

    @router.post("/vault/rotate")
    async def rotate(request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return await office.vault.rotate()


def _add_inference(router: APIRouter, office: Office) -> None:
    desk = office.routes

    @router.get("/inference")
    async def get(sandbox: str | None = None, label: str | None = None) -> JsonObject:
        return {"routes": await desk.get(sandbox, label), "standby": desk.standbys()}

    @router.put("/inference")
    async def put(body: schema.SetInference, request: Request, response: Response) -> JsonObject:
        office.allow(request, Need.ROOT)
        fields = body.model_dump(exclude={"verify", "if_version"}, exclude_none=True)
        fields |= {"sandbox": body.sandbox, "label": body.label}
        return await desk.set(fields, verify=body.verify, if_version=body.if_version)

    @router.patch("/inference")
    async def patch(body: schema.UpdateInference, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        apart = {"verify", "sandbox", "label", "if_version"}
        given = body.model_dump(exclude=apart, exclude_none=True)
        scope = parse_scope(body.sandbox, body.label)
        return await desk.update(scope, given, verify=body.verify, if_version=body.if_version)

    @router.delete("/inference")
    async def delete(
        request: Request, sandbox: str | None = None, label: str | None = None, cut: bool = False
    ) -> JsonObject:
        office.allow(request, Need.ROOT)
        return {"deleted": await desk.delete(parse_scope(sandbox, label), cut=cut)}

    @router.post("/inference/test")
    async def test(body: schema.TestInference, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return await desk.test(body.sandbox, body.label, timeout_s=body.timeout_s)


def _add_accounts(router: APIRouter, office: Office) -> None:
    desk = office.accounts

    @router.get("/inference/limits")
    async def limits() -> JsonObject:
        return {"limits": await desk.limits()}

    @router.patch("/inference/limits")
    async def set_limits(body: schema.SetLimits, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return await desk.set_limits(body.sandbox, body.tenant, body.limits)

    @router.delete("/inference/limits")
    async def delete_limits(
        request: Request, sandbox: str | None = None, tenant: str | None = None
    ) -> JsonObject:
        office.allow(request, Need.ROOT)
        return {"deleted": await desk.delete_limits(sandbox, tenant)}

    @router.get("/inference/prices")
    async def prices() -> JsonObject:
        return await desk.prices()

    @router.put("/inference/prices")
    async def set_prices(body: schema.PolicyText, request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return await desk.set_prices(body.text, body.source)

    @router.delete("/inference/prices")
    async def delete_prices(request: Request) -> JsonObject:
        office.allow(request, Need.ROOT)
        return {"deleted": await desk.delete_prices()}

    @router.get("/inference/usage")
    async def usage(query: Annotated[schema.UsageQuery, Query()]) -> JsonObject:
        return await desk.usage(
            query.by, since=query.since, sandbox=query.sandbox, tenant=query.tenant
        )
