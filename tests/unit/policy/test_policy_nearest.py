"""The nearest host: found among many, at a cost that does not follow the policy's size."""

import pytest

from netmgr.policy.nearest import MAX_KNOWN, Nearest


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [
        ("api.entropics.com", "api.anthropic.com"),
        ("packages.exmaple.com", "packages.example.com"),
        ("index.exampel.org", "index.example.org"),
        ("github.co", "github.com"),
        ("zzz", None),
        ("", None),
    ],
)
def test_typos(asked: str, nearest: str | None) -> None:
    known = [
        "api.anthropic.com",
        "github.com",
        "index.example.org",
        "packages.example.com",
        "a.test",
    ]
    assert Nearest(known).find(asked) == nearest


def test_it_is_found_among_many() -> None:
    many = [f"host-{number}.region-{number % 7}.example.test" for number in range(900)]
    assert Nearest([*many, "api.anthropic.com"]).find("api.entropics.com") == "api.anthropic.com"


def test_only_so_many_are_considered() -> None:
    many = [f"h{number}.test" for number in range(MAX_KNOWN)]
    assert Nearest([*many, "unique-name.example"]).find("unique-nam.example") is None


def test_no_hosts_no_answer() -> None:
    assert Nearest([]).find("a.test") is None
