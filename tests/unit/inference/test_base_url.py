"""Base URLs: where a key may be sent, told from the text alone."""

import pytest

from netmgr.errors import BadInput
from netmgr.inference.base_url import parse_base_url


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://API.OpenAI.com", "https://api.openai.com"),
        ("https://h.example:443/v1", "https://h.example/v1"),
        ("https://h.example:8443/openai/v1", "https://h.example:8443/openai/v1"),
        ("https://8.8.8.8/v1", "https://8.8.8.8/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[::ffff:127.0.0.1]:8000", "http://127.0.0.1:8000"),
        ("http://host.openshell.internal:1234/v1", "http://host.openshell.internal:1234/v1"),
        ("http://192.168.1.5/v1", "http://192.168.1.5/v1"),
        ("http://[fd12::1]/v1", "http://[fd12::1]/v1"),
    ],
)
def test_accepted_in_one_spelling(text: str, canonical: str) -> None:
    url = parse_base_url(text, "here")
    assert str(url) == canonical
    assert parse_base_url(str(url), "here") == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a URL"),
        ("api.openai.com/v1", "no usable scheme"),
        ("ftp://h/", "no usable scheme"),
        ("mock://x", "test mode"),
        ("http://api.openai.com/v1", "in the clear"),
        ("http://8.8.8.8/", "in the clear"),
        ("http://100.64.0.1/", "in the clear"),
        ("https://169.254.169.254/", "link-local"),
        ("http://169.254.169.254/latest", "link-local"),
        ("https://[::ffff:169.254.169.254]/", "link-local"),
        ("https://[fe80::1]/", "link-local"),
        ("https://[64:ff9b::a9fe:a9fe]/", "hides an IPv4 address"),
        ("https://[2002:a9fe:a9fe::1]/", "hides an IPv4 address"),
        ("https://100.100.100.200/", "metadata"),
        ("https://metadata.google.internal/", "metadata"),
        ("https://0.0.0.0/", "no address of a host"),
        ("https://[::]/", "no address of a host"),
        ("https://224.0.0.1/", "no address of a host"),
        ("https://255.255.255.255/", "no address of a host"),
        ("https://2852039166/", "plainly written"),
        ("https://0xa9fea9fe/", "plainly written"),
        ("https://127.1/", "plainly written"),
        ("https://0177.0.0.1/", "plainly written"),
        ("https://inference.local/v1", "call itself"),
        ("https://h.example/#f", "fragment"),
        ("https://h.example/v1?api-version=1", "query"),
        ("https://h.example/v1?", "query"),
        ("https://h.example:0/", "port"),
        ("https://h.example:/", "port"),
        ("https://h.example:70000/", "port"),
        ("https://h.example/a/../b", "plain segments"),
        ("https://h.example/a//b", "plain segments"),
        ("https://h.example/%2e%2e", "plain segments"),
        ("https://h.example/a b", "blank"),
        ("https://h.example\\@evil.example/", "backslash"),
        ("https://h.exämple/", "non-ASCII"),
        ("https://a..b/", "no valid label"),
        ("https://[fe80::1%25eth0]/", "zone"),
        ("https:///v1", "expected 1 to 253"),
        ("https://[::1/", "no URL"),
    ],
)
def test_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_base_url(text, "config key X")
    assert caught.value.message.startswith("config key X: ")
    assert words in caught.value.message


def test_a_password_in_the_url_is_never_repeated() -> None:
    with pytest.raises(BadInput) as caught:
        parse_base_url("https://user:hunter2@h.example/", "here")
    assert "hunter2" not in caught.value.message
    assert caught.value.__cause__ is None


def test_a_query_where_the_type_keeps_one() -> None:
    url = parse_base_url("https://h.example/v1?api-version=1", "here", query_allowed=True)
    assert url.query == "api-version=1"
    assert str(url) == "https://h.example/v1?api-version=1"
