"""Owns: how a chain is asked for and answered, between a proxy worker, the scan worker and an
operator's own program. Bodies between workers travel beside the message, in a file of their own;
to a program, in it. Pure.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from netmgr.errors import BadInput
from netmgr.middleware.bounds import MAX_PAYLOAD, MAX_STAGES
from netmgr.middleware.chain import NOTHING_ASKED, Outcome, Stage
from netmgr.middleware.contract import StageResult, Status, parse_result
from netmgr.middleware.request import StageRequest, parse_request

Doc = dict[str, Any]


def chain_doc(request: StageRequest, stages: Sequence[Stage]) -> Doc:
    """The question of a chain."""
    return {
        "request": request.to_doc(),
        "stages": [[s.key, s.name, s.middleware, s.order, s.required, s.config] for s in stages],
    }


def parse_chain(doc: Doc, body: bytes) -> tuple[StageRequest, list[Stage]]:
    """The question as the scan worker reads it.

    Raises:
        BadInput: no proxy worker asks so.
    """
    stages = doc.get("stages")
    if not isinstance(stages, list) or not 1 <= len(stages) <= MAX_STAGES:
        raise BadInput(f"stages: expected a list of 1 to {MAX_STAGES}")
    try:
        made = [
            Stage(str(key), str(name), str(middleware), int(order), bool(required), dict(config))
            for key, name, middleware, order, required, config in stages
        ]
        return parse_request(dict(doc["request"]), body), made
    except (KeyError, TypeError, ValueError) as fault:
        raise BadInput(f"no chain: {type(fault).__name__}") from None


def outcome_doc(outcome: Outcome) -> Doc:
    """The answer of a chain, without the body."""
    return {
        "results": [
            {
                "status": r.status.value,
                "trouble": r.trouble,
                "answer": r.to_doc(),
                "replaced": r.body is not None,
            }
            for r in outcome.results
        ]
    }


def parse_outcome(doc: Doc, stages: Sequence[Stage], body: bytes | None) -> Outcome:
    """The answer as a proxy worker reads it. The scan worker meets hostile bytes and may be
    hijacked: every part is checked as a stage's own answer is.

    Raises:
        BadInput: it has another shape, or another number of results than there are stages.
    """
    results = doc.get("results")
    if not isinstance(results, list) or len(results) != len(stages):
        raise BadInput("results: expected one for each stage")
    outcome = NOTHING_ASKED
    for stage, told in zip(stages, results, strict=True):
        if not isinstance(told, dict):
            raise BadInput("results: expected keys and values")
        if outcome.ended and told.get("status") != Status.SKIPPED:
            raise BadInput("results: a stage was asked after the chain had ended")
        outcome = outcome.then(_parse_told(stage, told))
    if (body is not None) is not (outcome.body is not None):
        raise BadInput("results: a body that no stage made, or none that one did")
    return Outcome(outcome.results, body)


def _parse_told(stage: Stage, told: Mapping[str, Any]) -> StageResult:
    status, trouble, answer = told.get("status"), told.get("trouble"), told.get("answer")
    if not isinstance(answer, dict) or not isinstance(trouble, str) or len(trouble) > 1024:
        raise BadInput("results: expected status, trouble and answer")
    if status != Status.OK:
        try:
            word = Status(str(status))
        except ValueError:
            raise BadInput("results: an unknown status") from None
        failed = StageResult(stage.key, stage.middleware, word, trouble=trouble)
        return stage.settle(failed)
    body = b"" if told.get("replaced") is True else None
    return parse_result(answer, stage.key, stage.middleware, body)


# -- an operator's own program ------------------------------------------------------------------


def question_line(number: int, stage: Stage, request: StageRequest) -> bytes:
    """One line of JSON for a program."""
    doc = {
        "id": number,
        "middleware": stage.middleware,
        "config": stage.config,
        "request": request.to_doc() | {"body": base64.b64encode(request.body).decode("ascii")},
    }
    return json.dumps(doc, separators=(",", ":")).encode("ascii") + b"\n"


def parse_line(line: bytes) -> tuple[int, Doc, bytes | None]:
    """A program's answer: which question, what it says, and the body that it gives back.

    Raises:
        BadInput: it is no answer.
    """
    try:
        doc = json.loads(line)
    except (ValueError, RecursionError):
        raise BadInput("a line that is no JSON") from None
    if not isinstance(doc, dict) or type(number := doc.pop("id", None)) is not int:
        raise BadInput("a line without the 'id' of a question")
    body = doc.pop("body", None)
    if body is None:
        return number, doc, None
    try:
        made = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise BadInput("body: expected base64") from None
    if len(made) > MAX_PAYLOAD:
        raise BadInput(f"body: larger than {MAX_PAYLOAD} bytes")
    return number, doc, made
