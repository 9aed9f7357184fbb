"""Every example policy loads without a warning and does what its comments say."""

from pathlib import Path

import pytest

from netmgr.policy.explain import explain
from netmgr.policy.policy import Policy, parse_policy

EXAMPLES = Path(__file__).parents[3] / "examples" / "policies"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def load(name: str) -> Policy:
    return parse_policy((EXAMPLES / name).read_text(), name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_loads_without_warnings(path: Path) -> None:
    policy = load(path.name)
    assert policy.warnings == ()
    assert policy.entries
    assert parse_policy(policy.to_yaml(), "again") == policy


ALLOWED = [
    ("minimal.yaml", "GET", "https://example.com/"),
    ("claude-code.yaml", "POST", "https://api.anthropic.com/v1/messages"),
    ("claude-code.yaml", "GET", "https://packages.example.com/left-pad"),
    ("claude-code.yaml", "POST", "https://github.com/o/r/git-upload-pack"),
    ("github-read-only.yaml", "GET", "https://github.com/o/r/info/refs?service=git-upload-pack"),
    ("github-read-only.yaml", "POST", "https://github.com/o/r/git-upload-pack"),
    ("github-read-only.yaml", "HEAD", "https://api.github.com/repos/o/r"),
    ("github-read-only.yaml", "GET", "https://raw.githubusercontent.com/o/r/main/f"),
    ("pip.yaml", "GET", "https://index.example.com/simple/flask/"),
    ("pip.yaml", "GET", "https://files.example.com/packages/a/b/c.whl"),
    ("postgres.yaml", "GET", "db.example.com:5432"),
    ("postgres.yaml", "GET", "host.openshell.internal:5432"),
]
DENIED = [
    ("minimal.yaml", "GET", "http://example.com/"),
    ("minimal.yaml", "GET", "https://www.example.com/"),
    ("claude-code.yaml", "POST", "https://api.entropics.com/v1/messages"),
    ("claude-code.yaml", "PUT", "https://packages.example.com/left-pad"),
    ("claude-code.yaml", "POST", "https://github.com/o/r/git-receive-pack"),
    ("github-read-only.yaml", "POST", "https://github.com/o/r/git-receive-pack"),
    ("github-read-only.yaml", "GET", "https://github.com/o/r/git-receive-pack"),
    ("github-read-only.yaml", "POST", "https://api.github.com/repos/o/r/issues"),
    ("github-read-only.yaml", "GET", "https://githubusercontent.com/"),
    ("pip.yaml", "POST", "https://index.example.com/legacy/"),
    ("pip.yaml", "GET", "https://index.example.com/manage/"),
    ("postgres.yaml", "GET", "db.example.com:22"),
    ("postgres.yaml", "GET", "host.docker.internal:5432"),
]


@pytest.mark.parametrize(("name", "method", "target"), ALLOWED)
def test_what_an_example_allows(name: str, method: str, target: str) -> None:
    explanation = explain(load(name), target, method)
    assert explanation.decision.permits, explanation


@pytest.mark.parametrize(("name", "method", "target"), DENIED)
def test_what_an_example_denies(name: str, method: str, target: str) -> None:
    assert not explain(load(name), target, method).decision.permits
