"""How large a file and a function may be. The lists of exceptions only ever get shorter."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("netmgr", "dns", "proxy", "cli", "packaging")
MAX_FILE = 400  # lines
MAX_FUNCTION = 60  # lines, first to last, docstring included

# path -> why it may be larger. An entry that is no longer needed fails the test.
LARGE_FILES: dict[str, str] = {}
LARGE_FUNCTIONS: dict[str, str] = {}


def sources() -> Iterator[tuple[str, str]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield str(path.relative_to(ROOT)), path.read_text()


def functions(path: str, text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_are_short() -> None:
    large = {path: text.count("\n") for path, text in sources() if text.count("\n") > MAX_FILE}
    assert large.keys() == LARGE_FILES.keys(), large


def test_functions_are_short() -> None:
    large = {
        name: size
        for path, text in sources()
        for name, size in functions(path, text)
        if size > MAX_FUNCTION
    }
    assert large.keys() == LARGE_FUNCTIONS.keys(), large


def test_every_file_opens_with_its_law() -> None:
    lawless = [
        path
        for path, text in sources()
        if text.strip() and not (ast.get_docstring(ast.parse(text)) or "").strip()
    ]
    assert lawless == []


def test_no_file_is_named_for_what_it_is_not() -> None:
    banned = {"utils", "util", "helpers", "common", "misc", "manager"}
    assert [path for path, _ in sources() if Path(path).stem in banned] == []
