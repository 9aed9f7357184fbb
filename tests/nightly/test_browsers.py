"""Chromium and Firefox, headless: what docs/trust.md says of browsers is what they do."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.blocks import Block, blocks
from runtimes.leftovers import assert_nothing_is_left
from runtimes.machine import Machine
from runtimes.podman import IMAGE, Podman
from runtimes.site import RUNTIME, Site, volumes
from world import World
from world.internet import Site as Server
from world.web import fixed

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/trust.md"
PAGE_S = 100.0  # a browser's start on two busy cores takes ten
INSPECTED = """\
version: 1
network_policies:
  page:
    endpoints: [{host: page.example.com, port: 443, protocol: rest, access: full}]
    binaries: [{path: "/**"}]
"""
CHROMIUM = "/usr/bin/chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage"
ETC = ("--volume=/etc/fonts:/etc/fonts:ro", "--volume=/etc/chromium.d:/etc/chromium.d:ro")
DUMP = f"{CHROMIUM} --dump-dom https://page.example.com/{{page}}"
MODELS = f"{CHROMIUM} --dump-dom https://inference.local/v1/models"
FIREFOX = (
    "MOZ_DISABLE_CONTENT_SANDBOX=1 /usr/bin/firefox-esr --headless --no-remote --profile ~/profile"
)
SHOOT = f"{FIREFOX} --screenshot ~/shot.png https://page.example.com/{{page}}"


def recipes() -> list[Block]:
    """What docs/trust.md has a container do before a browser starts, in order."""
    text = DOCUMENT.read_text()
    section = text.partition("## Browsers\n")[2].partition("\n## ")[0]
    return [block for block in blocks(section) if block.kind == "sh"]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    if missing := [name for name in ("chromium", "firefox-esr") if not shutil.which(name)]:
        pytest.skip(f"{', '.join(missing)} not installed: packaging/setup.sh nightly")
    with World() as world:
        world.daemon(trust_stores=["nss"])
        with Machine(world) as made:
            yield made


@pytest.fixture(scope="module")
def page(machine: Machine) -> Server:
    """A page that netmgr looks into."""
    html = fixed(b"<html><body>a page from outside</body></html>", content_type="text/html")
    return machine.world.internet.https("page.example.com", html)


@pytest.fixture(scope="module")
def podman(machine: Machine) -> Iterator[Podman]:
    Site(machine)
    machine.write("etc/netmgr/policies/agent.yaml", INSPECTED)
    made = Podman(machine)
    yield made
    made.remove_all()
    assert_nothing_is_left(machine)


def surf(podman: Podman, script: str) -> str:
    """What a shell in a container of root's says that has the host's programs."""
    ours = ("--runtime", RUNTIME, "run", "--rm", "--network", "none", "--env", "HOME=/root")
    words = (*ours, "--annotation", "netmgr.policy=agent", *volumes(), *ETC, IMAGE)
    done = podman.machine.run("podman", *words, "sh", "-c", script, timeout=PAGE_S)
    return done.stdout + done.stderr


def served(page: Server) -> set[str]:
    """The paths that arrived; forgotten then."""
    found = {request.target for request in page.requests}
    page.forget()
    return found


def test_chromium_does_not_trust_by_itself(podman: Podman, page: Server) -> None:
    assert "ERR_CERT_AUTHORITY_INVALID" in surf(podman, DUMP.format(page="alone"))
    assert "/alone" not in served(page)


def test_a_database_that_cannot_be_written_is_none_to_chromium(
    podman: Podman, page: Server
) -> None:
    link = 'mkdir -p ~/.pki && ln -s "${NODE_EXTRA_CA_CERTS%/*}/nssdb" ~/.pki/nssdb'
    said = surf(podman, f"{link}; {DUMP.format(page='linked')}")
    assert "ERR_CERT_AUTHORITY_INVALID" in said
    assert "/linked" not in served(page)


@pytest.mark.parametrize("number", [0, 1], ids=["policy", "database"])
def test_chromium_trusts_as_documented(podman: Podman, page: Server, number: int) -> None:
    said = surf(podman, f"set -e; {recipes()[number].text}{DUMP.format(page=number)}\n{MODELS}")
    assert "a page from outside" in said
    assert '"object":"list"' in said.replace(" ", "")
    assert f"/{number}" in served(page)


@pytest.mark.parametrize("number", [2, 3], ids=["policy", "profile"])
def test_firefox_trusts_as_documented(podman: Podman, page: Server, number: int) -> None:
    steps = f"set -e; mkdir -p ~/profile; {recipes()[number].text}{SHOOT.format(page=number)}"
    said = surf(podman, f"{steps}\nls -s ~/shot.png")
    assert f"/{number}" in served(page), said


def test_chromium_in_a_command_of_ours_has_the_users_database(
    machine: Machine, podman: Podman, page: Server
) -> None:
    home = "/var/lib/surfer"
    with (machine.own / "etc/passwd").open("a") as passwd:
        passwd.write(f"surfer:x:1998:1998::{home}:/bin/sh\n")
    machine.must("sh", "-c", f"mkdir -p {home}/.pki/nssdb && chown -R 1998:1998 {home}")
    machine.must(
        "netmgr", "sandbox", "create", "surf", "--policy", "/etc/netmgr/policies/agent.yaml"
    )
    words = ("netmgr", "sandbox", "exec", "--user", "surfer", "surf", "--", "sh", "-c")
    said = machine.must(*words, DUMP.format(page="own"), timeout=PAGE_S)
    assert "a page from outside" in said
    assert "/own" in served(page)
    doctor = machine.run(
        "netmgr", "trust", "doctor", "surf", "--user", "surfer", "-o", "json", timeout=PAGE_S
    )
    assert doctor.stdout, doctor.stderr
    found = {item["name"]: item["verdict"] for item in json.loads(doctor.stdout)["programs"]}
    assert found["nss"] == "trusts"
    machine.must("netmgr", "sandbox", "delete", "surf")
