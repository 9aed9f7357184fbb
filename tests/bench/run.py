"""Every benchmark, one after the other, as one Markdown report on standard output: `make bench`.

    sudo .venv/bin/python tests/bench/run.py [--quick] [NAME ...]

NAME chooses some: `tls` for bench_tls.py. Fails only where a benchmark cannot run, never on a time.
"""

import argparse
import ast
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
DEADLINE_S: Final = 1800.0  # of one benchmark; the longest takes about five minutes
# Benchmarks that are not made quick by `--quick` itself.
QUICK: Final = {
    "identity": ["--rounds", "50"],
    "dns": ["--seconds", "1", "--rounds", "1"],
    "cni": ["--rounds", "5"],
    "oci": ["--samples", "3"],
    "sandboxes": ["--others", "100", "--samples", "20"],
}


def title(path: Path) -> str:
    """What a benchmark says of itself: the first line of its docstring."""
    text = ast.get_docstring(ast.parse(path.read_text())) or path.stem
    return text.splitlines()[0]


def machine() -> str:
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "CPU")
    load = os.getloadavg()[0]
    return (
        f"{len(os.sched_getaffinity(0))} x {model}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {load:.1f} at the beginning. "
        "Times differ from machine to machine; the ratios are what to compare."
    )


def as_markdown(output: str) -> str:
    """Tables stay as they are; other output is set as it came."""
    text = output.strip()
    return text if text.startswith("|") else f"```\n{text}\n```"


def run(path: Path, words: list[str]) -> bool:
    """One benchmark and its part of the report: whether it ran."""
    print(f"\n## {path.stem.removeprefix('bench_')}\n\n{title(path)}\n", flush=True)
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(path), *words],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"did not end within {DEADLINE_S:g} s", flush=True)
        return False
    if done.stdout.strip():
        print(as_markdown(done.stdout))
    if done.returncode != 0:
        print(f"\ndid not run (status {done.returncode}):\n\n```\n{done.stderr.strip()}\n```")
    print(f"\n({time.monotonic() - began:.0f} s)", flush=True)
    return done.returncode == 0


def main() -> int:
    """Print the report."""
    found = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(found)}")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.names) - set(found)):
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(found)}")
    if os.geteuid() != 0:
        print("benchmarks make network namespaces: run them as root", file=sys.stderr)
        return 1
    print(f"# Benchmarks\n\n{machine()}", flush=True)
    good = True
    for name in asked.names or found:
        words = QUICK.get(name, ["--quick"]) if asked.quick else []
        good = run(found[name], words) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
