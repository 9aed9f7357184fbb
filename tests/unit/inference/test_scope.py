"""Which of several routes holds in a sandbox."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr.inference.scope import Scope, narrowest_first, parse_scope

words = st.text("abcxyz09", min_size=1, max_size=6)


def test_a_sandboxes_own_route_comes_first_then_labels_by_name_then_the_default() -> None:
    keys = narrowest_first("box", {"team": "ml", "env": "ci"})
    assert keys == ("box", "env=ci", "team=ml", None)


@given(words, st.dictionaries(words, words, max_size=5))
def test_the_order_depends_on_nothing_but_the_labels(name: str, labels: dict[str, str]) -> None:
    backwards = dict(reversed(labels.items()))
    assert narrowest_first(name, labels) == narrowest_first(name, backwards)


@pytest.mark.parametrize("label", ["team", "=ml", "", "a\nb=c", "k=" + "v" * 600])
def test_what_is_no_label(label: str) -> None:
    with pytest.raises(BadInput, match="KEY=VALUE"):
        parse_scope(None, label)


def test_a_route_is_not_for_a_sandbox_and_a_label() -> None:
    with pytest.raises(BadInput, match="not for both"):
        parse_scope("box", "team=ml")


def test_scopes_by_name() -> None:
    assert parse_scope(None, None) == Scope()
    assert (Scope().key, Scope("a").key, Scope(label="k=v").key) == (None, "a", "k=v")
    assert str(Scope(label="k=v")) == "sandboxes with the label k=v"
