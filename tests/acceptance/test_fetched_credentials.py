"""Providers whose credential is fetched: one command creates them, against a scripted token server.

What the token server and the provider were sent is read off their wires.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from acceptance.stage import POLICIES
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from world import Sandbox, World
from world.internet import Model

pytestmark = pytest.mark.root

SERVICE_KEY = rsa.generate_private_key(65537, 2048)
PEM = SERVICE_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
VERTEX = "us-central1-aiplatform.googleapis.com"
CHAT = ("https://inference.local/v1/chat/completions", '{"model":"m","messages":[]}')
TOKEN = {"access_token": "ya29.fetched-token", "token_type": "Bearer", "expires_in": 3600}
STS = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>ASIAFETCHED</AccessKeyId><SecretAccessKey>fetched/secret</SecretAccessKey>
<SessionToken>fetched-session</SessionToken><Expiration>2096-10-02T07:06:40Z</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""


@pytest.fixture(scope="module")
def servers(world: World) -> dict[str, Model]:
    """Token servers and providers, by host."""
    names = ("oauth2.googleapis.com", "id.fetched.test", VERTEX, BEDROCK, "llm.fetched.test")
    return {name: world.internet.model(name) for name in names}


@pytest.fixture
def internet(servers: dict[str, Model]) -> dict[str, Model]:
    """The same, with nothing seen yet."""
    for server in servers.values():
        server.forget()
    return servers


@pytest.fixture
def create(world: World) -> Iterator[Callable[..., Any]]:
    """`netmgr provider create --name fetched ...`; what came of it is taken away again."""

    def run(*words: str, **more: Any) -> Any:
        return world.netmgr("provider", "create", "--name", "fetched", *words, **more)

    yield run
    world.netmgr("provider", "delete", "fetched", "--force")


def tokens(server: Model, reply: dict[str, Any], path: str = "/token") -> None:
    server.script({"path": path, "reply": reply})


def form(server: Model) -> dict[str, str]:
    """What the one request to a token server said."""
    (request,) = server.requests
    assert request["method"] == "POST"
    return {name: values[0] for name, values in parse_qs(request["body"]).items()}


def fields(server: Model) -> dict[str, str]:
    """The header fields of the one request to a provider."""
    (request,) = server.requests
    return {name.lower(): value for name, value in request["headers"]}


def ask(world: World, box: Sandbox, model: str, url: str = CHAT[0], body: str = CHAT[1]) -> int:
    """Put the provider in force for one sandbox and ask it from inside; the status."""
    words = ["--provider", "fetched", "--model", model, "--sandbox", box.name, "--no-verify"]
    done = world.netmgr("inference", "set", *words)
    assert done.returncode == 0, done.stderr
    words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", url]
    done = box.run(*words, "-d", body, "-H", "content-type: application/json")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_gcloud_s_login_of_a_user(
    world: World,
    make_sandbox: Callable[..., Sandbox],
    internet: dict[str, Model],
    create: Callable[..., Any],
    tmp_path: Path,
) -> None:
    login = {"type": "authorized_user", "client_id": "me", "client_secret": "cs-login",
             "refresh_token": "rt-login"}  # fmt: skip
    (tmp_path / "application_default_credentials.json").write_text(json.dumps(login))
    tokens(internet["oauth2.googleapis.com"], {"json": TOKEN})
    words = ["--type", "google-vertex-ai", "--from-existing"]
    words += ["--config", "VERTEX_AI_PROJECT_ID=my-project-1"]
    done = create(*words, env={"CLOUDSDK_CONFIG": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert form(internet["oauth2.googleapis.com"]) == {
        "grant_type": "refresh_token",
        "refresh_token": "rt-login",
        "client_id": "me",
        "client_secret": "cs-login",
    }
    assert ask(world, make_sandbox(POLICIES["nothing"]), "gemini-2.5-pro") == 200
    assert fields(internet[VERTEX])["authorization"] == "Bearer ya29.fetched-token"
    shown = world.netmgr("provider", "refresh", "status", "fetched", "-o", "json").stdout
    (refresh,) = json.loads(shown)["refresh"]
    assert (refresh["key"], refresh["state"]) == ("GOOGLE_VERTEX_AI_TOKEN", "fresh")
    for secret in ("cs-login", "rt-login", "ya29"):
        assert secret not in done.stdout + done.stderr + shown


def test_a_key_file_of_a_service_account(
    world: World, internet: dict[str, Model], create: Callable[..., Any], tmp_path: Path
) -> None:
    account = {"type": "service_account", "client_email": "sa@p.test", "private_key_id": "k1",
               "private_key": PEM, "token_uri": "https://id.fetched.test/token"}  # fmt: skip
    path = tmp_path / "sa.json"
    path.write_text(json.dumps(account))
    tokens(internet["id.fetched.test"], {"json": TOKEN})
    words = ["--type", "google-vertex-ai", "--from-existing"]
    words += ["--config", "VERTEX_AI_PROJECT_ID=my-project-1"]
    done = create(*words, env={"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
    assert done.returncode == 0, done.stderr
    said = form(internet["id.fetched.test"])
    assert said["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    signed, _, signature = said["assertion"].rpartition(".")
    SERVICE_KEY.public_key().verify(
        unbase64(signature), signed.encode(), padding.PKCS1v15(), SHA256()
    )
    claims = json.loads(unbase64(signed.partition(".")[2]))
    assert (claims["iss"], claims["aud"]) == ("sa@p.test", "https://id.fetched.test/token")
    assert "PRIVATE" not in done.stdout + done.stderr


def test_a_role_of_aws(
    world: World,
    make_sandbox: Callable[..., Sandbox],
    internet: dict[str, Model],
    create: Callable[..., Any],
) -> None:
    tokens(internet["id.fetched.test"], {"text": STS, "headers": {"content-type": "text/xml"}}, "/")
    words = ["--type", "aws-bedrock", "--strategy", "aws-sts-assume-role"]
    words += ["--material", "role_arn=arn:aws:iam::123456789012:role/models"]
    words += ["--material", "endpoint=https://id.fetched.test/"]
    words += ["--secret-material-env", "access_key_id=AK", "--secret-material-env"]
    done = create(*words, "secret_access_key=SK", env={"AK": "AKIAOWN", "SK": "own/secret"})
    assert done.returncode == 0, done.stderr
    said = form(internet["id.fetched.test"])
    assert (said["Action"], said["RoleSessionName"]) == ("AssumeRole", "netmgr")
    assert "AKIAOWN/" in fields(internet["id.fetched.test"])["authorization"]
    url = "https://inference.local/model/m/converse"
    body = '{"messages":[{"role":"user","content":[{"text":"hi"}]}]}'
    ask(world, make_sandbox(POLICIES["nothing"]), "m", url, body)
    sent = fields(internet[BEDROCK])
    assert "Credential=ASIAFETCHED/" in sent["authorization"]
    assert sent["x-amz-security-token"] == "fetched-session"
    assert "own/secret" not in done.stdout + done.stderr


def test_a_client_s_credentials(
    world: World,
    make_sandbox: Callable[..., Sandbox],
    internet: dict[str, Model],
    create: Callable[..., Any],
) -> None:
    tokens(internet["id.fetched.test"], {"json": TOKEN})
    words = ["--type", "openai", "--config", "OPENAI_BASE_URL=https://llm.fetched.test/v1"]
    words += ["--strategy", "oauth2-client-credentials", "--material", "client_id=me"]
    words += ["--material", "token_url=https://id.fetched.test/token"]
    done = create(*words, "--secret-material-env", "client_secret=CS", env={"CS": "cs-own"})
    assert done.returncode == 0, done.stderr
    assert form(internet["id.fetched.test"])["client_secret"] == "cs-own"
    assert ask(world, make_sandbox(POLICIES["nothing"]), "m") == 200
    assert fields(internet["llm.fetched.test"])["authorization"] == "Bearer ya29.fetched-token"


def test_where_no_token_comes_there_is_no_provider(
    world: World, internet: dict[str, Model], create: Callable[..., Any]
) -> None:
    words = ["--type", "openai", "--strategy", "oauth2-client-credentials"]
    words += ["--material", "token_url=https://id.fetched.test/token", "--material", "client_id=me"]
    words += ["--secret-material-env", "client_secret=CS"]
    tokens(internet["id.fetched.test"], {"status": 401, "json": {"error": "invalid_client"}})
    done = create(*words, env={"CS": "cs-own"})
    assert (done.returncode, "gave no token: HTTP 401: invalid_client" in done.stderr) == (1, True)
    assert world.netmgr("provider", "get", "fetched").returncode == 3
    internet["id.fetched.test"].forget()
    done = create(*words, "--config", "NO_SUCH_KEY=x", env={"CS": "cs-own"})
    assert (done.returncode, "NO_SUCH_KEY" in done.stderr) == (2, True)
    done = create(*words, "--credential", "OPENAI_API_KEY=-", env={"CS": "cs-own"}, stdin="sk")
    assert (done.returncode, "is fetched, and so cannot be given" in done.stderr) == (2, True)
    done = create("--type", "openai", "--material", "client_id=me")
    assert (done.returncode, "material is for a strategy" in done.stderr) == (2, True)
    assert internet["id.fetched.test"].requests == [], "what cannot be meant asks nobody"


def unbase64(text: str) -> bytes:
    """RFC 7515 §2: base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
