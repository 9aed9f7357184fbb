"""The control API as a runtime of one's own uses it: black-box, over the unix socket."""

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from world import World
from world.environment import clean_environment
from world.namespaces import Namespace

pytestmark = pytest.mark.root


class Api:
    """Calls with header fields of one's own."""

    def __init__(self, world: World) -> None:
        self._path = str(world.netmgrd.socket)

    def __call__(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("netmgr", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self._path)
        fields = {"content-type": "application/json"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, fields)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), json.loads(text)


@pytest.fixture
def api(world: World) -> Iterator[Api]:
    yield Api(world)
    for name in ("rt-1", "rt-2", "rt-3"):
        world.netmgrd.api("DELETE", f"/v1/sandboxes/{name}")


def test_a_repeated_request_gets_the_first_answer(api: Api) -> None:
    body = {"name": "rt-1", "allow": ["api.test"], "labels": {"box": "A"}}
    status, fields, first = api("POST", "/v1/sandboxes", body, idempotency_key="k1")
    assert (status, "idempotency-replayed" in fields) == (201, False)
    status, fields, again = api("POST", "/v1/sandboxes", body, idempotency_key="k1")
    assert (status, fields["idempotency-replayed"], again) == (201, "true", first)
    status, _, error = api("POST", "/v1/sandboxes", {"name": "rt-2"}, idempotency_key="k1")
    assert (status, error["error"]["code"]) == (409, "conflict")
    assert api("GET", "/v1/sandboxes/rt-2")[0] == 404
    status, _, _ = api("POST", "/v1/sandboxes", body)
    assert status == 200
    status, _, error = api("POST", "/v1/sandboxes", {"name": "rt-2"}, idempotency_key="a b")
    assert (status, error["error"]["code"]) == (422, "invalid_input")


def test_keys_outlive_the_daemon(make_world: Callable[[], World]) -> None:
    world = make_world()
    world.daemon()
    api, body = Api(world), {"name": "rt-1"}
    _, _, first = api("POST", "/v1/sandboxes", body, idempotency_key="k1")
    world.netmgrd.kill()
    world.netmgrd.start()
    assert api("POST", "/v1/sandboxes", body, idempotency_key="k1")[2] == first
    assert api("POST", "/v1/sandboxes", {"name": "rt-2"}, idempotency_key="k1")[0] == 409


def test_a_runtime_collects_its_own_and_no_others(api: Api) -> None:
    for number, runtime in (("1", "mine"), ("2", "mine"), ("3", "other")):
        labels = {"runtime": runtime, "container": f"C/{number}"}
        api("POST", "/v1/sandboxes", {"name": f"rt-{number}", "labels": labels})
    body = {"keep": ["C/2"], "by": "container", "labels": {"runtime": "mine"}}
    assert api("POST", "/v1/sandboxes/gc", body)[2] == {"removed": ["rt-1"]}
    assert [api("GET", f"/v1/sandboxes/rt-{n}")[0] for n in (1, 2, 3)] == [404, 200, 200]


def test_what_is_put_into_a_container_makes_it_find_names_and_trust(world: World, api: Api) -> None:
    """A container's first process waits in its own namespaces; the answer's mounts and variables
    are all that it gets."""
    powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    waiting = subprocess.Popen(
        world.host.command("unshare", "--net", "--mount", *powerless, "sleep", "60"),
        env=clean_environment(),
    )
    try:
        _await_own_namespace(world, waiting.pid)
        body = {"name": "rt-1", "attach": {"pid": waiting.pid}, "trust_stores": ["java"]}
        status, _, box = api("POST", "/v1/sandboxes", body)
        assert status == 201, box
        enter = ["nsenter", "--target", str(waiting.pid), "--net", "--mount"]
        for mount in box["mounts"]:
            if not mount["optional"] or os.path.exists(mount["target"]):
                words = ["mount", "--bind", mount["source"], os.path.realpath(mount["target"])]
                subprocess.run([*enter, *words], check=True)
        for program in (
            ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "https://inference.local/"],
            ["env", "-u", "SSL_CERT_FILE", "wget", "-S", "-O-", "https://inference.local/"],
        ):
            done = subprocess.run(
                [*enter, *program], env=clean_environment(**box["env"]),
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            assert "403" in done.stdout + done.stderr, (program, done.stdout, done.stderr)
        assert api("GET", "/v1/sandboxes/rt-1/check")[2]["ok"]
    finally:
        waiting.kill()
        waiting.wait()


def _await_own_namespace(world: World, pid: int) -> None:
    host = world.host.run("readlink", "/proc/self/ns/net").stdout.strip()
    for _ in range(500):
        if os.readlink(f"/proc/{pid}/ns/net") != host and _runs_sleep(pid):
            return
        subprocess.run(["sleep", "0.01"], check=True)
    raise AssertionError("the process did not come into a namespace of its own")


def _runs_sleep(pid: int) -> bool:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip() == "sleep"


READS = [
    "/v1/version", "/v1/status", "/v1/hub", "/v1/sandboxes", "/v1/sandboxes/{name}",
    "/v1/sandboxes/{name}/check", "/v1/sandboxes/{name}/policy",
    "/v1/sandboxes/{name}/policy/history", "/v1/sandboxes/{name}/policy/proposals",
    "/v1/providers", "/v1/provider-types", "/v1/vault", "/v1/inference", "/v1/inference/limits",
    "/v1/inference/usage",
]  # fmt: skip


def test_answers_are_as_the_served_document_says(api: Api) -> None:
    made = api("POST", "/v1/sandboxes", {"name": "rt-1", "allow": ["api.test"]})
    _, _, document = api("GET", "/v1/openapi.json")
    change = {"text": "version: 1\nnetwork_policies: {}\n", "source": "x.yaml"}
    asked = {"sandbox": "rt-1", "target": "https://api.test/"}
    answers = [("post", "/v1/sandboxes", made)]
    answers += [("get", path, api("GET", path.format(name="rt-1"))) for path in READS]
    answers += [
        ("put", "/v1/sandboxes/{name}/policy", api("PUT", "/v1/sandboxes/rt-1/policy", change)),
        ("post", "/v1/explain", api("POST", "/v1/explain", asked)),
        ("post", "/v1/sandboxes/gc", api("POST", "/v1/sandboxes/gc", {"keep": [], "by": "none"})),
        ("get", "/v1/sandboxes/{name}", api("GET", "/v1/sandboxes/nobody")),
        ("post", "/v1/sandboxes", api("POST", "/v1/sandboxes", {"nam": "x"})),
        ("delete", "/v1/sandboxes/{name}", api("DELETE", "/v1/sandboxes/rt-1")),
    ]
    for method, path, (status, _, answer) in answers:
        told = document["paths"][path][method]["responses"][str(status)]
        if "$ref" in told:
            told = document["components"]["responses"][told["$ref"].rpartition("/")[2]]
        schema = told["content"]["application/json"]["schema"]
        whole = {**schema, "components": document["components"]}
        Draft202012Validator(whole).validate(answer)


def test_a_sandbox_does_not_reach_the_api(world: World, api: Api) -> None:
    _, _, box = api("POST", "/v1/sandboxes", {"name": "rt-1"})
    inside = Namespace(box["netns"].rpartition("/")[2])
    socket_path = str(world.netmgrd.socket)
    done = inside.run("curl", "-sS", "--unix-socket", socket_path, "http://netmgr/v1/sandboxes")
    assert json.loads(done.stdout)["error"]["code"] == "refused"
