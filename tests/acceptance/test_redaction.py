"""No secret of the operator's is in anything that is printed, recorded, logged, kept or left lying.

One daemon of its own lives through all that touches secrets: keys given in each way, tokens fetched
and refused, calls answered and refused, keys changed at rest. Then everything is searched for each
of the values, as it is, in base64 and escaped for a URL.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from acceptance.inference.inside import memory
from acceptance.stage import POLICIES
from world import Sandbox, World

pytestmark = pytest.mark.root

OUTSIDE = "https://inference.local/v1/chat/completions"
BODY = '{"model":"m","messages":[]}'
SECRETS = {
    "key": "sk-operator/key+0001==",
    "key from a file": "sk-operator-file-0002",
    "key that was refused": "sk-operator bad 0003",
    "client's secret": "client-secret/4+4711==",
    "first token": "tok-first-0005",
    "second token": "tok-second-0006",
    "first refresh token": "rt-first-0007",
    "second refresh token": "rt-second-0008",
}
Said = dict[str, str]


@pytest.fixture(scope="module")
def life() -> Iterator[tuple[World, Sandbox, Said]]:
    """A world after all of that, a sandbox with a program in it, and what commands said."""
    with World() as world:
        world.daemon()
        said: Said = {}
        box = world.sandbox("box", POLICIES["nothing"])
        _live(world, box, said)
        yield world, box, said


def _live(world: World, box: Sandbox, said: Said) -> None:
    model = world.internet.model("api.hush.test")
    tokens = world.internet.model("id.hush.test")
    base = f"OPENAI_BASE_URL={model.base_url}"

    def netmgr(*words: str, stdin: str | None = None, env: dict[str, str] | None = None) -> None:
        done = world.netmgr(*words, stdin=stdin, env=env)
        said[f"{len(said)}: {' '.join(words)}"] = done.stdout + done.stderr

    create = ["provider", "create", "--type", "openai", "--config", base, "--credential"]
    netmgr(*create, "OPENAI_API_KEY=-", "--name", "p", stdin=SECRETS["key"])
    file = world.directory / "given"
    file.write_text(SECRETS["key from a file"] + "\n")
    netmgr(*create, f"OPENAI_API_KEY=@{file}", "--name", "q")
    file.unlink()
    netmgr(
        *create,
        "OPENAI_API_KEY",
        "--name",
        "r",
        env={"OPENAI_API_KEY": SECRETS["key that was refused"]},
    )
    # The provider repeats the key that it refuses, as some do.
    echo = {"error": {"message": f"Incorrect API key provided: {SECRETS['key']}"}}
    model.script({"times": 1, "reply": {"status": 401, "json": echo}})
    netmgr("inference", "set", "--provider", "p", "--model", "m")
    netmgr("inference", "set", "--provider", "p", "--model", "m")
    box.run("curl", "-sS", OUTSIDE, "-d", BODY)
    said_no = {"error": "invalid_grant", "error_description": SECRETS["first refresh token"]}
    granted: dict[str, Any] = {"access_token": SECRETS["first token"], "expires_in": 3600}
    granted["refresh_token"] = SECRETS["second refresh token"]
    renewed = {"access_token": SECRETS["second token"], "expires_in": 3600}
    tokens.script(
        {"times": 1, "reply": {"status": 400, "json": said_no}},
        {"times": 1, "reply": {"json": granted}},
        {"times": 1, "reply": {"json": renewed}},
        {"reply": {"status": 400, "json": {"error": SECRETS["client's secret"]}}},
    )
    configure = ["provider", "refresh", "configure", "p", "--strategy", "oauth2-refresh-token"]
    configure += ["--material", "token_url=https://id.hush.test/token", "--material", "client_id=c"]
    configure += ["--material", "refresh_token=-", "--secret-material-env", "client_secret=CS"]
    given = {"stdin": SECRETS["first refresh token"], "env": {"CS": SECRETS["client's secret"]}}
    netmgr(*configure, **given)  # type: ignore[arg-type]
    netmgr(*configure, **given)  # type: ignore[arg-type]
    netmgr("provider", "refresh", "rotate", "p")
    box.run("curl", "-sS", OUTSIDE, "-d", BODY)
    netmgr("provider", "refresh", "rotate", "p")
    netmgr("vault", "rotate")
    for words in (
        "provider list", "provider get p", "provider get p -o json", "provider get q -o yaml",
        "provider refresh status p", "inference get", "inference test", "status", "observe -o json",
    ):  # fmt: skip
        netmgr(*words.split())


def forms(secret: str) -> list[bytes]:
    """A value as it may stand somewhere."""
    plain = secret.encode()
    escaped = quote(secret, safe="").encode()
    return [plain, base64.b64encode(plain).rstrip(b"="), escaped, json.dumps(secret)[1:-1].encode()]


def found_in(data: bytes) -> list[str]:
    """The names of the secrets that are in it."""
    return [name for name, value in SECRETS.items() if any(f in data for f in forms(value))]


def test_the_life_was_lived(life: tuple[World, Sandbox, Said]) -> None:
    world, _, said = life
    told = "\n".join(said.values())
    assert "[key]" in told, "the provider's error was shown without the key"
    assert "gave no token: HTTP 400: invalid_grant: [secret]" in told
    assert "gave no token: HTTP 400: [secret]" in told
    _, shown = world.netmgrd.api("GET", "/v1/providers/p/refresh")
    assert shown["refresh"][0]["secrets"] == ["client_secret", "refresh_token"]
    assert shown["refresh"][0]["renewed"]


def test_no_command_and_no_answer_shows_one(life: tuple[World, Sandbox, Said]) -> None:
    world, _, said = life
    for words, text in said.items():
        assert not found_in(text.encode()), words
    paths = ["providers", "providers/p", "providers/p/refresh", "inference", "records", "status"]
    paths += ["hub", "sandboxes/box", "openapi.json", "vault"]
    for path in (*(f"/v1/{path}" for path in paths), "/metrics"):
        status, answer = world.netmgrd.api("GET", path)
        assert status == 200, path
        assert not found_in(json.dumps(answer).encode()), path


def test_no_file_and_no_log_has_one(life: tuple[World, Sandbox, Said]) -> None:
    world, _, _ = life
    daemon = world.netmgrd
    files = [daemon.log, daemon.config_file]
    for directory in (daemon.state_dir, daemon.run_dir):
        files += [path for path in directory.rglob("*") if path.is_file()]
    assert any(path.name == "state.db" for path in files)
    for path in files:
        assert not found_in(path.read_bytes()), path


def test_no_process_has_one_where_others_can_look(life: tuple[World, Sandbox, Said]) -> None:
    """Arguments and environment of every process of the machine that is netmgr's."""
    world, _, _ = life
    for process, kind in world.netmgrd.processes().items():
        for part in ("cmdline", "environ"):
            assert not found_in(Path(f"/proc/{process}/{part}").read_bytes()), (kind, part)


def test_no_memory_in_a_sandbox_has_one(life: tuple[World, Sandbox, Said]) -> None:
    """Of a program that talks to a model all the while, and of netmgr's own process beside it."""
    world, box, _ = life
    loop = f"while :; do curl -sSk {OUTSIDE} -d '{BODY}' -o /dev/null; sleep 0.2; done"
    program = box.start("sh", "-c", loop)
    try:
        for _ in range(3):
            for process in box.namespace.processes():
                try:
                    data = memory(process)
                    data += Path(f"/proc/{process}/environ").read_bytes()
                except (OSError, ValueError):
                    continue  # a curl that has just ended
                assert not found_in(data), process
        # The search finds what is there: the key in force is in the proxy workers' memory.
        proxies = [p for p, kind in world.netmgrd.processes().items() if kind == "proxy"]
        assert any("second token" in found_in(memory(process)) for process in proxies)
        for process, kind in world.netmgrd.processes().items():
            if kind in ("dns", "watch", "dialer", "rules"):
                assert not found_in(memory(process)), kind
    finally:
        program.kill()
        program.wait()
