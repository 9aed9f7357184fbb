"""Owns: every bound of the middleware contract, with its reason.

The numbers are those of the system that the contract is modelled on, so that a middleware written
for it meets no smaller ones here. Knows nothing of how they are enforced.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

MAX_STAGES: Final = 10  # of one policy: each may take its whole deadline, one after the other
MAX_PATTERNS: Final = 32  # hosts of one selector, each list
MAX_CONFIG: Final = 64 * KIB  # of one stage, as JSON: it travels with each request
MAX_PAYLOAD: Final = 4 * MIB  # of a body: it is held until the last stage has answered
MAX_TARGET: Final = 32 * KIB
MAX_CONTEXT: Final = 4 * KIB  # sandbox, tenant, labels: all that says who asks
MAX_HEADERS: Final = 128
MAX_HEADER_BYTES: Final = 64 * KIB
MAX_MUTATIONS: Final = 64
MAX_FINDINGS: Final = 32  # kinds, each with its count: not one for each match
MAX_FINDING: Final = 4 * KIB
MAX_METADATA: Final = 64
MAX_METADATA_BYTES: Final = 32 * KIB

# Of one proxy worker: each holds a body of MAX_PAYLOAD at most, so 384 MiB in the worst case.
ACTIVE: Final = 32  # chains under way
WAITING: Final = 64  # behind them; beyond it 503 before the body is read
# Of one sandbox: some room is left for the others, who would otherwise be turned away by it.
MOST_OF_ONE: Final = (ACTIVE + WAITING) * 3 // 4
# WebSocket connections of one sandbox in one proxy worker whose messages middlewares look at: each
# may hold a message while its chain is asked.
SESSIONS: Final = 32

STAGE_S: Final = 0.5  # a stage's deadline where the operator sets none
STAGE_SPAN_S: Final = (0.01, 30.0)
CHAIN_S: Final = 30.0  # of all stages together
PREFLIGHT_S: Final = 1.0  # of a chain that looks at a WebSocket's handshake: a client waits for it
