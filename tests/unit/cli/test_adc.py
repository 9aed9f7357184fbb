"""Google's application default credentials: where they are looked for, and what each renews by."""

import json
from pathlib import Path
from typing import Any

import pytest

from netmgr.errors import BadInput
from netmgr_cli import adc

KEY = "GOOGLE_VERTEX_AI_TOKEN"
USER = {
    "type": "authorized_user",
    "client_id": "id.apps.googleusercontent.com",
    "client_secret": "cs-1",
    "refresh_token": "rt-1",
    "quota_project_id": "p",
}
ACCOUNT = {"type": "service_account", "client_email": "a@p.test", "private_key": "PEM"}


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("variable", ["GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG", "HOME"])
def test_a_login_is_found_where_gcloud_keeps_it(tmp_path: Path, variable: str) -> None:
    name = "application_default_credentials.json"
    where = {
        "GOOGLE_APPLICATION_CREDENTIALS": (tmp_path / "any.json", tmp_path / "any.json"),
        "CLOUDSDK_CONFIG": (tmp_path / name, tmp_path),
        "HOME": (tmp_path / ".config" / "gcloud" / name, tmp_path),
    }
    path, value = where[variable]
    put(path, USER)
    assert adc.find_renewal(KEY, {"HOME": "/nonexistent", variable: str(value)}) == {
        "key": KEY,
        "strategy": "oauth2-refresh-token",
        "material": {
            "token_url": "https://oauth2.googleapis.com/token",
            "client_id": "id.apps.googleusercontent.com",
        },
        "secrets": {"client_secret": "cs-1", "refresh_token": "rt-1"},
    }


def test_what_is_named_outright_counts_before_the_rest(tmp_path: Path) -> None:
    home = put(tmp_path / ".config/gcloud/application_default_credentials.json", USER)
    account = put(tmp_path / "sa.json", ACCOUNT)
    environ = {"HOME": str(tmp_path), "GOOGLE_APPLICATION_CREDENTIALS": str(account)}
    found = adc.find_renewal(KEY, environ)
    assert found is not None
    assert found["strategy"] == "google-service-account-jwt"
    assert json.loads(found["secrets"]["key_file"]) == ACCOUNT
    assert found["material"] == {}
    account.unlink()
    with pytest.raises(BadInput, match=r"sa\.json: no such file"):
        adc.find_renewal(KEY, environ)
    home.unlink()
    assert adc.find_renewal(KEY, {"HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "the JSON that gcloud writes"),
        ("[" * 50_000, "the JSON that gcloud writes"),
        ([], "the JSON that gcloud writes"),
        (" " * (adc.MAX_FILE + 1), "the JSON that gcloud writes"),
        ({"type": "external_account"}, "'external_account': expected authorized_user"),
        ({"type": ["x"]}, "expected authorized_user"),
        (USER | {"refresh_token": ""}, "refresh_token is missing: run gcloud auth"),
        (USER | {"client_secret": 5}, "client_secret is missing"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_quoted(
    tmp_path: Path, content: Any, told: str
) -> None:
    path = put(tmp_path / "adc.json", content)
    with pytest.raises(BadInput, match=told) as raised:
        adc.find_renewal(KEY, {"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
    assert str(path) in raised.value.message
    assert "rt-1" not in raised.value.message
