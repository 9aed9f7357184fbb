"""Owns: stages as they are configured, and what their answers come to, one after the other.

The first no, and the first failure of a stage that is required, end the chain. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from netmgr.middleware.contract import Finding, HeaderChange, StageResult, Status


@dataclass(frozen=True, slots=True)
class Stage:
    """One configured middleware.

    Attributes:
        key: in the policy's `network_middlewares`.
        name: for people; the key where the document gives none.
        middleware: `netmgr/secrets`.
        order: the chain's; no two stages of a policy have the same.
        required: its failure is a no (`on_error: fail_closed`).
        config: JSON values, checked by whoever knows the middleware.
    """

    key: str
    name: str
    middleware: str
    order: int = 0
    required: bool = True
    config: dict[str, Any] = field(default_factory=dict, hash=False)

    def failed(self, trouble: str, status: Status = Status.FAILED) -> StageResult:
        """The result of a stage that gave none."""
        return self.settle(StageResult(self.key, self.middleware, status, trouble=trouble))

    def settle(self, result: StageResult) -> StageResult:
        """A result as it counts: what is not required does not fail."""
        return result.bypassed() if result.failed and not self.required else result

    def skipped(self) -> StageResult:
        """The result of a stage that nobody asked."""
        return StageResult(self.key, self.middleware, Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a whole chain came to.

    Attributes:
        results: of every stage, in their order; b'' stands for a body that one made.
        body: the one that replaces the request's; None: it is as it was.
    """

    results: tuple[StageResult, ...] = ()
    body: bytes | None = None

    @property
    def denied_by(self) -> StageResult | None:
        """The stage that said no."""
        return next((result for result in self.results if result.denies), None)

    @property
    def failed_at(self) -> StageResult | None:
        """The required stage that did not look."""
        return next((result for result in self.results if result.failed), None)

    @property
    def ended(self) -> bool:
        """Whether no further stage is asked."""
        return any(result.denies or result.failed for result in self.results)

    @property
    def headers(self) -> tuple[HeaderChange, ...]:
        """Every change of header fields, in order."""
        return tuple(change for result in self.results for change in result.headers)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What all stages found."""
        return tuple(finding for result in self.results for finding in result.findings)

    def then(self, result: StageResult) -> "Outcome":
        """With one more stage's result. Only the last body is kept; of the others is left that
        there was one."""
        body = self.body if result.body is None else result.body
        left = result if not result.body else replace(result, body=b"")
        return Outcome((*self.results, left), body)

    def to_record(self) -> list[dict[str, Any]]:
        """As a decision record tells it."""
        return [result.to_record() for result in self.results]


NOTHING_ASKED = Outcome()


def all_failed(stages: Sequence[Stage], trouble: str, status: Status = Status.FAILED) -> Outcome:
    """The outcome where nobody could be asked."""
    outcome = NOTHING_ASKED
    for stage in stages:
        outcome = outcome.then(stage.skipped() if outcome.ended else stage.failed(trouble, status))
    return outcome
