"""What is asked for a container: the operator's words and the container's annotations."""

import pytest

from netmgr_cli.shim.oci.words import Refused, Words, take_words, wish_of

ANY = ("policy=*", "tenant=*", "label=*")


def letting(*choices: str) -> Words:
    words, _ = take_words([f"--netmgr-selectable={choice}" for choice in choices])
    return words


def test_our_words_are_taken_out_wherever_they_stand() -> None:
    line = "--netmgr-policy=a --root /r --netmgr-label=k=v=w create --netmgr-policy=b"
    offers = "--netmgr-selectable=policy=a --netmgr-selectable=policy=b"
    words, rest = take_words([*line.split(), *offers.split()])
    assert rest == ["--root", "/r", "create"]
    assert (words.policy, words.labels) == ("b", {"k": "v=w"})  # the last one counts
    assert words.selectable == {"policy": ["a", "b"]}  # these add up
    again, _ = take_words(words.as_arguments())
    assert again.as_arguments() == words.as_arguments()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("--netmgr-policy", "KEY=VALUE"),
        ("--netmgr-policy=", "KEY=VALUE"),
        ("--netmgr-label=k", "label=KEY=VALUE"),
        ("--netmgr-polcy=a", "policy"),
        ("--netmgr-selectable=policy", "selectable=KEY=VALUE"),
        ("--netmgr-selectable=policies=a", "policy, tenant, label"),
        ("--netmgr-selectable=policy=", "a value"),
    ],
)
def test_a_word_that_cannot_be_meant_says_what_can(word: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        take_words([word])


def test_annotations_of_both_forms_are_read() -> None:
    wish = wish_of(
        letting(*ANY),
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
        wish_of(letting(*ANY), annotations)


@pytest.mark.parametrize(
    ("annotations", "choice"),
    [
        ({"netmgr.policy": "build"}, "policy=build"),
        ({"io.netmgr.tenant": "b"}, "tenant=b"),
        ({"netmgr.labels.team": "b"}, "label=team"),
        ({"netmgr.labels": "team=b"}, "label=team"),
    ],
)
def test_an_annotation_chooses_what_is_selectable_and_nothing_else(
    annotations: dict[str, str], choice: str
) -> None:
    """An image brings annotations of its own (podman), so what nobody named is not to be had."""
    for words in (Words(), letting("policy=agent", "tenant=a", "label=other")):
        with pytest.raises(Refused, match=f"--selectable {choice}"):
            wish_of(words, annotations)
    chosen = wish_of(letting(choice), annotations)
    assert {chosen.policy, chosen.tenant, *chosen.labels.values()} & set(annotations.values()) or (
        chosen.labels == {"team": "b"}
    )


def test_the_default_may_be_named() -> None:
    assert wish_of(Words(), {"netmgr.policy": "default"}).policy == "default"


def test_what_the_operator_bound_is_not_selectable() -> None:
    words, _ = take_words(["--netmgr-policy=agent", "--netmgr-selectable=policy=*"])
    assert wish_of(words, {"netmgr.policy": "agent"}).policy == "agent"
    with pytest.raises(Refused, match="bound this runtime to 'agent'"):
        wish_of(words, {"netmgr.policy": "build"})


def test_the_operators_word_binds() -> None:
    words, _ = take_words(["--netmgr-policy=/etc/p.yaml", "--netmgr-label=team=a"])
    assert wish_of(words, None).policy == "/etc/p.yaml"
    assert wish_of(words, {"netmgr.labels.team": "a"}).labels == {"team": "a"}
    for annotations in ({"netmgr.policy": "other"}, {"netmgr.labels.team": "b"}):
        with pytest.raises(Refused, match="bound"):
            wish_of(words, annotations)
