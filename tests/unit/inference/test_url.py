"""The target at the provider: the table of the reference, and no way out of the base path."""

import pytest

from netmgr.inference.base_url import parse_base_url
from netmgr_proxy.inference.url import OutsideBase, join


@pytest.mark.parametrize(
    ("base", "path", "target"),
    [
        ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions", "/v1/chat/completions"),
        ("", "/v1/messages", "/v1/messages"),
        ("/v1/openai", "/v1/chat/completions", "/v1/openai/chat/completions"),
        ("/openai/v1", "/v1/models", "/openai/v1/models"),
        ("/api/v1/openai", "/v1/chat/completions", "/api/v1/openai/v1/chat/completions"),
        ("/v1", "/v1/models/a/b", "/v1/models/a/b"),
        ("/v4", "/v1/chat/completions", "/v4/chat/completions"),
        ("/api/paas/v4", "/v1/chat/completions", "/api/paas/v4/chat/completions"),
        ("/v1beta/openai", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        ("/vendor", "/v1/models", "/vendor/v1/models"),
        ("/v1x", "/v1/models", "/v1x/v1/models"),
        ("", "/v1", "/v1"),
        ("/v1", "/v1", "/v1"),
    ],
)
def test_join(base: str, path: str, target: str) -> None:
    assert join(parse_base_url(f"https://h.example{base}", "base"), path) == target


def test_the_query_goes_along_behind_the_base_s_own() -> None:
    base = parse_base_url("https://h.example/v1?api-version=2", "base", query_allowed=True)
    assert join(base, "/v1/messages", "beta=true") == "/v1/messages?api-version=2&beta=true"
    plain = parse_base_url("https://h.example/v1", "base")
    assert join(plain, "/v1/messages", "beta=true") == "/v1/messages?beta=true"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/models/../../files", ""),
        ("/v1/models/%2e%2E/x", ""),
        ("/v1/models/.%2e/x", ""),
        ("/v1/./x", ""),
        ("/v1//x", ""),
        ("v1/x", ""),
        ("/v1/a\\b", ""),
        ("/v1/a?b", ""),
        ("/v1/a#b", ""),
        ("/v1/a\r\nx", ""),
        ("/v1/a", "b c"),
        ("/v1/a", "b#c"),
    ],
)
def test_what_is_not_canonical_never_leaves(path: str, query: str) -> None:
    with pytest.raises(OutsideBase):
        join(parse_base_url("https://h.example/v1", "base"), path, query)
