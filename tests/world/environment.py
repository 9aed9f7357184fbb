"""Owns: which of the machine's environment variables a test's programs may see, and whether all
users may run the tests' interpreter.

A proxy or a certificate bundle of the machine, seen inside a world, would make a test pass or fail
for a reason that is not in the test.
"""

import os
import re
import stat
import sys
from pathlib import Path
from typing import Final

# Proxies, trust, pip and netmgr settings of the machine, in either case of letters.
_FOREIGN: Final = re.compile(
    r".*_PROXY|PIP_.*|.*CERT_(FILE|DIR)|.*_CA_(BUNDLE|CERTS|CAINFO)|.*CAINFO|.*_CA_CERTS_FILE"
    r"|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|DENO_CERT|.*ROOTS_FILE_PATH|NETMGR_.*"
    r"|PYTHONPATH|PYTHONHOME|.*_(TOKEN|API_KEY|SECRET)",
    re.IGNORECASE,
)

# Whether others than root can read the tests' interpreter and its packages: what runs them as an
# ordinary user cannot where the checkout is root's alone.
_PLACE: Final = Path(sys.prefix).resolve()
READABLE: Final = all(each.stat().st_mode & stat.S_IXOTH for each in (_PLACE, *_PLACE.parents))


def is_foreign(name: str) -> bool:
    """Whether a variable of this name must not reach a world."""
    return _FOREIGN.fullmatch(name) is not None


def clean_environment(**extra: str) -> dict[str, str]:
    """The machine's environment without what is foreign to a world, plus `extra`."""
    return {k: v for k, v in os.environ.items() if not is_foreign(k)} | extra


def clean_this_process() -> None:
    """Take foreign variables out of the test process itself (clients run in it, too)."""
    for name in [n for n in os.environ if is_foreign(n) and not n.startswith("NETMGR_TEST_")]:
        del os.environ[name]
