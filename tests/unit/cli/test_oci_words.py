"""What is asked for a container: the operator's words and the container's annotations."""

import pytest

from netmgr_cli.shim.oci.words import Refused, Words, take_words, wish_of


def test_our_words_are_taken_out_wherever_they_stand() -> None:
    words, rest = take_words(
        ["--netmgr-policy=a", "--root", "/r", "--netmgr-label=k=v=w", "create", "--netmgr-policy=b"]
    )
    assert rest == ["--root", "/r", "create"]
    assert (words.policy, words.labels) == ("b", {"k": "v=w"})  # the last one counts
    again, _ = take_words(words.as_arguments())
    assert again.as_arguments() == words.as_arguments()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("--netmgr-policy", "KEY=VALUE"),
        ("--netmgr-policy=", "KEY=VALUE"),
        ("--netmgr-label=k", "label=KEY=VALUE"),
        ("--netmgr-polcy=a", "policy"),
    ],
)
def test_a_word_that_cannot_be_meant_says_what_can(word: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        take_words([word])


def test_annotations_of_both_forms_are_read() -> None:
    wish = wish_of(
        Words(),
        {
            "io.netmgr.policy": "agent",
            "netmgr.policy": "agent",
            "netmgr.tenant": "research",
            "netmgr.labels": "a=1, b=2",
            "netmgr.labels.c.d": "3",
            "org.other": "x",
        },
    )
    assert (wish.policy, wish.tenant) == ("agent", "research")
    assert wish.labels == {"a": "1", "b": "2", "c.d": "3"}


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ({"netmgr.polcy": "a"}, "there are policy, tenant, labels"),
        ({"netmgr.policy": "a", "io.netmgr.policy": "b"}, "both asked for"),
        ({"netmgr.policy": "/etc/shadow"}, "without a path"),
        ({"netmgr.policy": ".."}, "without a path"),
        ({"netmgr.labels": "a"}, "KEY=VALUE"),
        ({"netmgr.labels.container": "x"}, "netmgr's own"),
        ({"netmgr.labels": "bundle=x"}, "netmgr's own"),
        ({f"netmgr.labels.{n}": "x" for n in range(61)}, "60 at most"),
    ],
)
def test_an_annotation_that_cannot_be_meant_is_refused(
    annotations: dict[str, str], told: str
) -> None:
    with pytest.raises(Refused, match=told):
        wish_of(Words(), annotations)


def test_the_operators_word_binds() -> None:
    words, _ = take_words(["--netmgr-policy=/etc/p.yaml", "--netmgr-label=team=a"])
    assert wish_of(words, None).policy == "/etc/p.yaml"
    assert wish_of(words, {"netmgr.labels.team": "a"}).labels == {"team": "a"}
    for annotations in ({"netmgr.policy": "other"}, {"netmgr.labels.team": "b"}):
        with pytest.raises(Refused, match="bound"):
            wish_of(words, annotations)
