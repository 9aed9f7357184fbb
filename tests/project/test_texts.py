"""The project's texts against its tree: paths exist, commands are real, words are fit to print."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from netmgr.middleware.catalogue import BUILT_IN
from netmgr_cli.main import cli

ROOT = Path(__file__).parents[2]
TEXTS = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "DECISIONS.md",
    "CHANGELOG.md",
    "tests/README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
COMMANDED = ["README.md", "CONTRIBUTING.md", *(name for name in TEXTS if name.startswith("docs/"))]
ROOMS = ["netmgr", "dns", "proxy", "cli", "tests", "tests/bench"]
ROOMS += [f"netmgr/{part}" for part in ("kernel", "policy", "inference", "store", "journal")]
ROOMS += [f"netmgr/{part}" for part in ("control", "dialer", "testing")]
TOP_FOLDERS = "netmgr|dns|proxy|cli|tests|docs|examples|packaging|vagrant|\\.ci"

# Files whose business is to let a credential out: into the vault, or onto the provider's wire.
# The list may only get shorter, or longer with a reason that a reviewer reads first.
REVEALERS = {
    "netmgr/secret.py": "defines it",
    "netmgr/keys/vault.py": "encrypts it",
    "netmgr/keys/authority.py": "loads a sandbox's CA key to sign with it",
    "netmgr/daemon/questions.py": "hands a leaf's key to the proxy worker that asked",
    "netmgr/inference/profiles.py": "judges a new credential's form",
    "netmgr/inference/refresh.py": "judges the material of a renewal, reads a key file",
    "netmgr/inference/refresh_requests.py": "writes it into the request to a token server",
    "netmgr/keys/assertion.py": "loads a service account's key to sign with it",
    "netmgr/daemon/svid.py": "judges the host's own SPIFFE token",
    "netmgr/inference/route.py": "puts it into the proxy workers' copy of a route",
    "netmgr/daemon/provider_desk.py": "tells an empty value from none",
    "proxy/netmgr_proxy/inference/headers.py": "writes the provider's authentication header",
    "proxy/netmgr_proxy/inference/echo.py": "looks for it in what the provider answers",
    "netmgr/keys/client_pair.py": "asks OpenSSL whether a client's key fits its certificate",
    "proxy/netmgr_proxy/routes.py": "gives signer, TLS context and proxy of a route their keys",
    "proxy/netmgr_proxy/inference/probe.py": "blots it out of a provider's error text",
}

# Machine paths, unfinished work, and hosts of package registries (installers are preconfigured by
# whoever runs them). Spelt so that this file does not contain what it forbids.
FORBIDDEN = [
    r"/w[o]rk/",
    r"\bTO[D]O\b",
    r"\bFIX[M]E\b",
    r"\bX[X]X\b",
    r"NotImpl[e]mentedError",
]
REGISTRIES = [r"pyp[i]\.org", r"pythonh[o]sted", r"debi[a]n\.org", r"registry\.npm[j]s"]


def tracked() -> list[Path]:
    """Every file of the repository: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:  # an exported tree has no .git
        folders = (ROOT / part for part in TOP_FOLDERS.replace("\\", "").split("|"))
        return [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


@pytest.mark.parametrize("name", TEXTS)
def test_every_path_that_a_text_names_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    named = set(re.findall(rf"(?<![\w/.-])((?:{TOP_FOLDERS})/[\w./*-]+)", text))
    missing = [p for p in sorted(named - BUILT_IN.keys()) if not list(ROOT.glob(p.rstrip("./")))]
    links = set(re.findall(r"\]\((?!http|#)([^)#]+)", text))
    missing += [p for p in sorted(links) if not ((ROOT / name).parent / p).exists()]
    assert missing == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_heading_that_a_link_names_exists(name: str) -> None:
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", (ROOT / name).read_text()):
        target = (ROOT / name).parent / path if path else ROOT / name
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_door_plate_that_names_real_files(room: str) -> None:
    text = (ROOT / room / "README.md").read_text()
    named = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|yaml))`", text))
    files = [f"/{path.relative_to(ROOT)}" for path in tracked()]
    assert [n for n in sorted(named) if not any(f.endswith(f"/{n}") for f in files)] == []


def test_no_forbidden_word() -> None:
    words = "|".join([*FORBIDDEN, *REGISTRIES])
    found = []
    for path, text in texts():
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(words, line):
                found.append(f"{name}:{number}: {line.strip()[:80]}")
    assert found == []


def test_secrets_are_revealed_in_listed_files_only() -> None:
    revealing = {
        str(path.relative_to(ROOT))
        for path, text in texts()
        if path.suffix == ".py" and "tests" not in path.relative_to(ROOT).parts
        if re.search(r"\breveal\(", text)
    }
    assert revealing == set(REVEALERS)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = [re.split(r"[<>=~\[ ;]", entry)[0] for entry in wanted]
    reasons = (ROOT / "DECISIONS.md").read_text()
    assert [name for name in names if f"**{name}**" not in reasons] == []


def test_text_files_end_with_one_newline_and_no_trailing_space() -> None:
    bad = [
        str(path.relative_to(ROOT))
        for path, text in texts()
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".sh", ".service"}
        if text and (not text.endswith("\n") or re.search(r"[ \t]+$", text, re.MULTILINE))
    ]
    assert bad == []


# -- commands ------------------------------------------------------------------------------


def commands_in(text: str) -> Iterator[list[str]]:
    """The `netmgr ...` lines of the fenced blocks of a text, and what stands between backticks."""
    for block in re.findall(r"^```(?:sh|console|bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.strip().removeprefix("$ ").removeprefix("sudo ").split()
            if words[:1] == ["netmgr"]:
                yield words[1:]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`(?:sudo )?netmgr ([^`]+)`", prose):
        if not span.startswith("COMMAND"):  # where it stands for any
            yield span.split()


def resolve(words: list[str]) -> str | None:
    """What is wrong with a command line: an unknown verb or option. None where nothing is."""
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group):
        while rest and rest[0].startswith("-"):
            rest = rest[1:] if "=" in rest[0] or rest[0] == "--help" else rest[2:]
        if not rest:
            return None
        context = click.Context(command)
        found = command.get_command(context, rest[0])
        if found is None:
            return f"no such command: {rest[0]}"
        command, rest = found, rest[1:]
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    own = rest[: rest.index("--")] if "--" in rest else rest
    unknown = [w for w in own if w.startswith("-") and w.partition("=")[0] not in known | {"-"}]
    return f"no such option: {unknown}" if unknown else None


@pytest.mark.parametrize("name", COMMANDED)
def test_command_lines_of_texts_are_real(name: str) -> None:
    lines = list(commands_in((ROOT / name).read_text()))
    assert [f"{' '.join(w)}: {p}" for w in lines if (p := resolve(w))] == []


@pytest.mark.parametrize("name", COMMANDED)
def test_make_verbs_of_texts_are_real(name: str) -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = re.findall(r"^```.*?^```|`[^`\n]+`", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
    named = set(
        re.findall(r"^(?:sudo )?make ([a-z][a-z-]*)", "\n".join(code).replace("`", ""), re.M)
    )
    assert named - verbs == set()


def test_scripts_can_be_started() -> None:
    scripts = [ROOT / ".ci/run", *(ROOT / "packaging").glob("*.sh")]
    assert [str(s) for s in scripts if not s.stat().st_mode & 0o100] == []
