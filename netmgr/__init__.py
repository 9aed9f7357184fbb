"""netmgr: one door for every sandbox. The ground floor: values, decisions, kernel, store."""

from typing import Final

__version__: Final = "0.1.0"
