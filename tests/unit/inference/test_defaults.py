"""Who answers where no route is set, and when a local stand-in takes over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.inference.base_url import parse_base_url
from netmgr.inference.defaults import (
    DOWN_AFTER,
    UP_AFTER,
    Candidate,
    Health,
    candidate,
    choose,
    judge_defaults,
)
from netmgr.inference.profiles import validate_provider

NIM = Candidate("nim", "big", False, 1.0)
LATER = Candidate("later", "other", False, 2.0)
LOCAL = Candidate("ollama", "small", True, 3.0)
candidates = st.lists(
    st.builds(Candidate, st.sampled_from("abcdef"), st.just("m"), st.booleans(), st.floats(0, 9)),
    unique_by=lambda each: each.provider,
)


def test_a_healthy_stand_in_then_the_oldest_default_then_nobody() -> None:
    assert choose([LATER, NIM, LOCAL], {"ollama"}) == LOCAL
    assert choose([LATER, NIM, LOCAL], set()) == NIM
    assert choose([LOCAL], set()) is None
    assert choose([], {"ollama"}) is None


@given(candidates, st.sets(st.sampled_from("abcdef")))
def test_nobody_is_chosen_that_was_not_created(found: list[Candidate], healthy: set[str]) -> None:
    chosen = choose(found, healthy)
    assert chosen is None or chosen in found
    assert chosen == choose(list(reversed(found)), healthy)
    if chosen is not None and chosen.standby:
        assert chosen.provider in healthy


@given(st.lists(st.booleans(), max_size=50))
def test_health_changes_only_after_looks_in_a_row(looks: list[bool]) -> None:
    health, row = Health(), 0
    for well in looks:
        before = health.healthy
        row = row + 1 if well != before else 0
        changed = health.note(well)
        assert changed == (row >= (DOWN_AFTER if before else UP_AFTER))
        assert health.healthy == (well if changed else before)
        row = 0 if changed else row
        assert 0 < health.wait_s < 10


def test_what_a_provider_says() -> None:
    assert candidate("p", {}, 1.0) is None
    assert candidate("p", {"DEFAULT_MODEL": "m"}, 1.0) == Candidate("p", "m", False, 1.0)
    both = {"DEFAULT_MODEL": "m", "STANDBY": "local"}
    assert candidate("p", both, 1.0) == Candidate("p", "m", True, 1.0)


@pytest.mark.parametrize(
    ("config", "url", "told"),
    [
        ({"STANDBY": "yes", "DEFAULT_MODEL": "m"}, "http://127.0.0.1/v1", "expected 'local'"),
        ({"STANDBY": "local"}, "http://127.0.0.1/v1", "DEFAULT_MODEL=NAME"),
        ({"STANDBY": "local", "DEFAULT_MODEL": "m"}, "https://api.openai.com/v1", "not local"),
        ({"STANDBY": "local", "DEFAULT_MODEL": "m"}, "https://8.8.8.8/v1", "not local"),
    ],
)
def test_what_cannot_be_meant(config: dict[str, str], url: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        judge_defaults(config, parse_base_url(url, "u"))


def test_a_provider_is_judged_by_it() -> None:
    local = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "STANDBY": "local", "DEFAULT_MODEL": "m"}
    validate_provider("openai", ["OPENAI_API_KEY"], local)
    with pytest.raises(BadInput, match="printable"):
        validate_provider("openai", ["OPENAI_API_KEY"], {"DEFAULT_MODEL": " "})
