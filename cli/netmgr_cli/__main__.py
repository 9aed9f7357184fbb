"""Owns: `python -m netmgr_cli`."""

import sys

from netmgr_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
