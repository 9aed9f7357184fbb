"""A daemon to speak to: a real HTTP server on a real unix socket that answers as the API says and
keeps what it was asked. What it answers stands in `ANSWERS`; a test may put its own there."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from netmgr.errors import NetmgrError

BOX = {
    "name": "demo", "id": "s1", "state": "ready", "created": 1_700_000_000.0, "tenant": None,
    "labels": {"team": "a"}, "address": "10.77.0.2", "link": "nm1",
    "netns": "/run/netns/netmgr-demo",
    "attached": False, "policy": {"revision": 3, "digest": "sha256:abcdef0123456789"},
    "run_dir": "/run/netmgr/sandboxes/demo", "env": {"SSL_CERT_FILE": "/x"},
    "files": {
        "ca": "/run/netmgr/sandboxes/demo/ca.pem",
        "ca_bundle": "/run/netmgr/sandboxes/demo/ca-bundle.pem",
        "java_truststore": "/run/netmgr/sandboxes/demo/cacerts.p12", "nss_database": None,
    },
}  # fmt: skip
CHANGE = {
    "revision": 4, "digest": "sha256:0123456789abcdef", "changed": True, "warnings": ["careful"],
}  # fmt: skip
DENIED = {
    "verdict": "denied", "reason": "no_matching_rule", "rule": None, "nearest": "api.example.com",
    "message": "no rule names api.exmaple.com", "treatment": None, "policy_revision": 3,
    "remedy": "netmgr policy update demo --add-endpoint api.exmaple.com:443",
}  # fmt: skip
PROVIDER = {
    "name": "nim", "type": "nvidia", "credentials": ["NVIDIA_API_KEY"], "config": {},
    "created": 1.0, "updated": 1.0, "used_by": ["all"],
}  # fmt: skip
ROUTE = {
    "scope": None, "provider": "nim", "type": "nvidia", "model": "m", "version": 1, "timeout_s": 60,
    "base_url": "https://integrate.api.nvidia.com/v1", "protocols": ["openai_chat_completions"],
    "total_timeout_s": None, "health": "ok",
}  # fmt: skip
RECORD = {
    "seq": 7, "time": "2026-01-31T12:00:00.123456Z", "sandbox": "demo", "tenant": None,
    "kind": "dns", "verdict": "denied", "reason": "no_matching_rule", "rule": None,
    "policy_revision": 3, "count": 3, "message": "no rule", "remedy": "netmgr policy update demo x",
    "destination": {"name": "evil.example", "ip": None, "port": None, "protocol": None},
}  # fmt: skip


@dataclass
class Daemon:
    """What was asked of it, and what it says."""

    path: str
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> tuple[str, str, dict[str, str], Any]:
        return self.asked[-1]

    def reply(self, route: str) -> Response:
        answer = self.answers[route]
        if isinstance(answer, tuple):  # one after the other
            answer, self.answers[route] = answer[0], answer[1:]
        if isinstance(answer, NetmgrError):
            body = {"code": answer.code, "message": answer.message, "details": answer.details}
            return JSONResponse({"error": body}, status_code=answer.http_status)
        if isinstance(answer, Response):
            return answer
        if isinstance(answer, list):
            return StreamingResponse(_lines(answer), media_type="application/x-ndjson")
        return JSONResponse(answer)


async def _lines(records: Sequence[Any]) -> Any:
    for record in records:
        yield json.dumps(record).encode() + b"\n"


LIMITS = {
    "sandbox": None,
    "tenant": "t",
    "default": False,
    "limits": {"money_per_day": "2.5", "concurrency": "none"},
    "used": {"money_per_day": "0.75"},
}
PRICES = {"currency": "USD", "prices": 1, "source": "p.yaml", "text": "currency: USD\n"}
USAGE = {
    "by": "model",
    "since": 1_780_000_000,
    "currency": "USD",
    "usage": [
        {
            "model": model,
            "calls": 12,
            "failed": 1,
            "tokens_in": tokens,
            "tokens_out": 100,
            "tokens_cache_read": 0,
            "tokens_cache_write": 0,
            "cost": cost,
            "unpriced": unpriced,
            "uncounted": 0,
        }
        for model, tokens, cost, unpriced in (
            ("qwen3-coder-480b-a35b-instruct", 123_456, "1.25", 2),
            ("local", 1000, None, 12),
        )
    ],
}


def _standard() -> dict[str, Any]:
    return {
        "GET /v1/version": {"version": "9.9"},
        "GET /v1/status": {"ok": True, "workers": [{"kind": "dns", "state": "ready"}]},
        "GET /v1/hub": {"netns": "/run/netns/netmgr-hub", "links": [{"name": "lo", "up": True}]},
        "POST /v1/sandboxes": BOX,
        "GET /v1/sandboxes": {"sandboxes": [BOX]},
        "DELETE /v1/sandboxes": {"removed": ["demo"]},
        "POST /v1/sandboxes/gc": {"removed": ["old"]},
        "GET /v1/sandboxes/demo": {**BOX, "kernel": {"flows": [{"dport": 443}], "rx": 5}},
        "DELETE /v1/sandboxes/demo": {"removed": ["demo"]},
        "POST /v1/sandboxes/demo/trust": BOX,
        "GET /v1/sandboxes/demo/check": {"ok": True, "differences": []},
        "GET /v1/sandboxes/demo/policy": {
            "text": "version: 1\n", "source": "p.yaml", "revision": 3, "digest": "d",
            "created": 1.0, "warnings": [],
        },
        "PUT /v1/sandboxes/demo/policy": CHANGE,
        "PATCH /v1/sandboxes/demo/policy": CHANGE,
        "PUT /v1/policy": CHANGE,
        "DELETE /v1/policy": {"deleted": True},
        "GET /v1/sandboxes/demo/policy/history": {
            "revisions": [{"revision": 3, "created": 1.0, "digest": "sha256:d", "source": "p.yaml"}]
        },
        "POST /v1/sandboxes/demo/policy/rollback": CHANGE,
        "GET /v1/sandboxes/demo/policy/proposals": {
            "proposals": [
                {"count": 7, "first_seen": "2026-01-01T10:00:00.000000Z",
                 "last_seen": "2026-01-01T11:00:00.000000Z", "binaries": ["/usr/bin/git"],
                 "reasons": ["no_matching_rule"], "arguments": "--add-endpoint new.test:443",
                 "command": "netmgr policy update demo --add-endpoint new.test:443"},
            ],
            "skipped": [{"destination": "db:443", "why": "a name of this host", "count": 2}],
            "fragment": "",
        },
        "POST /v1/explain": DENIED,
        "POST /v1/providers": PROVIDER,
        "GET /v1/providers": {"providers": [PROVIDER]},
        "GET /v1/providers/nim": PROVIDER,
        "PATCH /v1/providers/nim": PROVIDER,
        "DELETE /v1/providers/nim": {"removed": ["nim"]},
        "GET /v1/provider-types": {
            "types": [{"type": "nvidia", "from_existing": ["NVIDIA_API_KEY"], "config": ["A"]}]
        },
        "PUT /v1/inference": {**ROUTE, "validated": [{"url": "https://u", "protocol": "p"}]},
        "PATCH /v1/inference": ROUTE,
        "GET /v1/inference": {"routes": [ROUTE]},
        "DELETE /v1/inference": {"deleted": True},
        "PATCH /v1/inference/limits": LIMITS,
        "GET /v1/inference/limits": {"limits": [LIMITS]},
        "PUT /v1/inference/prices": PRICES,
        "GET /v1/inference/prices": PRICES,
        "GET /v1/inference/usage": USAGE,
        "POST /v1/inference/test": {"validated": [{"url": "https://u", "protocol": "p"}]},
        "GET /v1/records": [RECORD],
    }  # fmt: skip


def _make_app(daemon: Daemon) -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def everything(path: str, request: Request) -> Response:
        raw = await request.body()
        body = json.loads(raw) if raw else None
        daemon.asked.append((request.method, f"/{path}", dict(request.query_params), body))
        route = f"{request.method} /{path}"
        if route in daemon.answers:
            return daemon.reply(route)
        error = {"code": "not_found", "message": f"nothing at {route}", "details": {}}
        return JSONResponse({"error": error}, status_code=404)

    return app


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(str(tmp_path_factory.mktemp("api") / "api.sock"))
    config = uvicorn.Config(
        _make_app(daemon), uds=daemon.path, loop="asyncio", http="h11", lifespan="off",
        log_config=None, access_log=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield daemon
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def daemon(_server: Daemon) -> Daemon:
    """The daemon, with nothing asked yet and the standard answers."""
    _server.asked.clear()
    _server.answers = _standard()
    return _server


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def netmgr(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run a command line against the daemon, as root would."""
    from netmgr_cli.main import main

    monkeypatch.setenv("NETMGR_SOCKET", daemon.path)
    monkeypatch.setattr("os.geteuid", lambda: 0)

    def run(*words: str) -> Outcome:
        capfd.readouterr()
        status = main(words)
        out, err = capfd.readouterr()
        return Outcome(status, out, err)

    return run


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """A small valid policy."""
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 1\n"
        "network_policies:\n"
        "  web:\n"
        "    endpoints:\n"
        "      - {host: api.example.com, port: 443}\n"
        "    binaries: [{path: /**}]\n"
    )
    return path
