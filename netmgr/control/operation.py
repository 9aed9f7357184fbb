"""Owns: what the OpenAPI document says of one operation. A value and nothing else."""

from dataclasses import dataclass, field
from typing import Any, Final

NOT_FOUND: Final = (404,)
CHANGE: Final = (404, 409)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Attributes:
        name: the operationId.
        answer: shape of a good answer; None: an object that the text describes.
        sent: an example of the request's body.
        got: an example of the answer.
        errors: statuses beside 403, 422, 500 and 503, which every operation may have.
    """

    name: str
    summary: str
    answer: type | None = None
    sent: Any = None
    got: Any = field(default_factory=dict)
    errors: tuple[int, ...] = ()
