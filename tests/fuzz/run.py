"""Owns: fuzzing by hand: `make fuzz ARGS="--target http_request --seconds 60"`.

With atheris (the extra `fuzz`) it is guided by coverage, without it blind. What breaks a property
is kept in .cache/fuzz/TARGET/; put it into tests/fuzz/corpus/TARGET/ together with the fix.
"""

import argparse
import importlib.util
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("", "dns", "proxy", "cli", "tests")]

from fuzz import catalogue  # noqa: E402
from fuzz.mutate import mutations  # noqa: E402

DEFAULT_SECONDS: Final = 60
INPUT_DEADLINE_S: Final = 10  # one input; instrumented code is ten times slower than plain
MEMORY_MB: Final = 1024  # of the whole process
_GUIDED: Final = ["netmgr", "netmgr_dns", "netmgr_proxy", "dnslib"]  # what is instrumented


def main() -> int:
    """Run what the command line asks for; 1 where a property broke."""
    arguments = _arguments()
    if arguments.guided:
        _guided(arguments.target[0], arguments.seconds)  # ends the process
    failed = []
    for name in arguments.target or catalogue.names():
        print(f"== {name}", flush=True)
        if not _run(name, arguments.seconds, arguments.seed):
            failed.append(name)
    print(f"broken: {', '.join(failed)}" if failed else "no property broke")
    return bool(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz netmgr's parsers.")
    parser.add_argument("--seconds", type=int, default=DEFAULT_SECONDS, help="for each target")
    parser.add_argument("--target", action="append", choices=catalogue.names())
    parser.add_argument("--seed", type=int, default=0, help="of the blind mutations")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name: str, seconds: int, seed: int) -> bool:
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (pip install '.[fuzz]'): blind mutations", flush=True)
        return _blind(name, seconds, seed)
    # A process each: libFuzzer never returns.
    command = [sys.executable, "-I", __file__, "--guided", "--target", name]
    return subprocess.run([*command, "--seconds", str(seconds)], check=False).returncode == 0


def _kept(name: str) -> Path:
    folder = ROOT / ".cache" / "fuzz" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _guided(name: str, seconds: int) -> None:
    import atheris  # an extra: only who fuzzes has it

    with atheris.instrument_imports(include=_GUIDED):
        target = catalogue.load(name)
    kept = _kept(name)
    new = kept / "new"  # what libFuzzer finds to be of interest, beside the seeds
    new.mkdir(exist_ok=True)
    for seed, data in target.seeds().items():
        if len(data) <= catalogue.MAX_INPUT:
            (new / seed).write_bytes(data)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={catalogue.MAX_INPUT}",
        f"-timeout={INPUT_DEADLINE_S}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={kept}/",
        "-print_final_stats=1",
    ]
    if target.words:
        words = kept / "words"
        words.write_text("".join(f'"{_escape(word)}"\n' for word in target.words))
        options.append(f"-dict={words}")
    atheris.Setup([sys.argv[0], *options, str(new)], target.fuzz)
    atheris.Fuzz()


def _escape(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _blind(name: str, seconds: int, seed: int) -> bool:
    target = catalogue.load(name)
    seeds = list(target.seeds().values())
    source = mutations(seeds, target.words, random.Random(seed))
    end = time.monotonic() + seconds
    runs = 0
    while time.monotonic() < end:
        data = seeds[runs] if runs < len(seeds) else next(source)
        runs += 1
        try:
            target.run(data)
        except Exception:
            traceback.print_exc()
            place = _kept(name) / f"broken-{seed}-{runs}"
            place.write_bytes(data)
            print(f"input {runs} broke the property; kept as {place.relative_to(ROOT)}")
            return False
    print(f"{runs} inputs")
    return True


if __name__ == "__main__":
    sys.exit(main())
