"""The rule set as a value: what must never change unseen, and how differences are told."""

from dataclasses import replace
from pathlib import Path

import pytest

from netmgr.kernel.ruleset import Chain, Extension, Rule, RuleSet, differences, rule_set
from netmgr.kernel.sets import SetNames
from netmgr.model import InstanceName

INSTANCE = InstanceName("netmgr")
RULES = rule_set(INSTANCE, 8443)


def test_the_whole_text() -> None:
    """Set T of the design. Whoever changes this changes the fence."""
    assert RULES.text() == (Path(__file__).parent / "ruleset.txt").read_text()


def test_no_tracking_no_nat_no_link_names() -> None:
    text = RULES.text()
    for word in ("conntrack", "RELATED", "ESTABLISHED", "ctstate", "DNAT", "REDIRECT", "nm+"):
        assert word not in text
    interfaces = {w for line in RULES.lines() for w in line.split() if w.startswith("nm")}
    assert all(word.startswith("netmgr-") for word in interfaces)


def test_two_instances_share_nothing_but_shape() -> None:
    other = rule_set(InstanceName("other"), 8443)
    assert other.text().replace("other-", "netmgr-") == RULES.text()


def test_set_names_fit_the_longest_instance() -> None:
    names = SetNames.of(InstanceName("a" * 16))
    assert max(len(getattr(names, each)) for each in names.__slots__) <= 31  # IPSET_MAXNAMELEN - 1


def changed(chain: Chain) -> RuleSet:
    tables = {name: dict(chains) for name, chains in RULES.ipv4.items()}
    tables["filter"]["INPUT"] = chain
    return RuleSet(tables, RULES.ipv6)


INPUT = RULES.ipv4["filter"]["INPUT"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (INPUT, ()),
        (
            replace(INPUT, policy="ACCEPT"),
            ("iptables filter INPUT: policy is ACCEPT instead of DROP",),
        ),
        (
            replace(INPUT, rules=INPUT.rules[1:]),
            ("iptables filter INPUT: rule 1 is missing: -i lo -j ACCEPT",),
        ),
        (
            replace(INPUT, rules=(*INPUT.rules, Rule(Extension("ACCEPT")))),
            ("iptables filter INPUT: rule 10 is not ours: -j ACCEPT",),
        ),
    ],
)
def test_differences_in_words(found: Chain, words: tuple[str, ...]) -> None:
    assert differences(RULES, changed(found)) == words


def test_a_foreign_table_and_a_missing_chain_are_told() -> None:
    found = RuleSet({"nat": {"OUTPUT": Chain("ACCEPT", (Rule(Extension("DNAT")),))}}, {})
    words = differences(RuleSet({"raw": {"PREROUTING": Chain("DROP")}}, {}), found)
    assert words == (
        "iptables raw PREROUTING: the chain is missing",
        "iptables nat OUTPUT: rule 1 is not ours: -j DNAT",
    )


def test_negation_is_written_as_iptables_does() -> None:
    rule = Rule(
        Extension("ACCEPT"),
        (Extension("set", (("match-set", "!x src"),)),),
        in_interface="!lo",
    )
    assert rule.text() == "! -i lo -m set ! --match-set x src -j ACCEPT"
