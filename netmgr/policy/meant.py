"""Owns: which endpoint of a document an operation of `policy update` means, and what is said where
that is none or several.

Works on documents (JSON values) and changes nothing. Knows nothing of batches.
"""

from collections.abc import Iterable
from typing import Any, Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.policy.match import BadPattern, PathGlob, parse_path_glob
from netmgr.policy.merge import paths_of, ports_of
from netmgr.policy.operations import AddCallRule, AddHttpRule, RemoveEndpoint
from netmgr.policy.programs import ANY_BINARY
from netmgr.policy.rules import entry_of

Doc = dict[str, Any]
Found = tuple[str, Doc]
"""An endpoint by its place (`web.endpoints[0]`)."""

_RULED: Final = ("rest", "websocket")  # whose rules have a form on the command line
# Those that look inside; in this order, as of one host and path there may be one of each.
_INSPECTED: Final = (("graphql", "json-rpc", "mcp"), ("websocket",))


class Entries:
    """The entries of a document under change, seen by who looks for something in them.

    Attributes:
        fresh: the endpoints that the batch itself has added or was told to add: a rule beside an
            addition is meant for it, whatever else covers the same requests.
    """

    def __init__(self, entries: dict[str, Doc]) -> None:
        self.entries = entries
        self.fresh: list[Doc] = []

    def find(self, host: str, port: int, key: str | None) -> list[Found]:
        """The endpoints of a host and port, of one entry or of all."""
        keys = self.entries if key is None else (self.existing(key),)
        return [
            (f"{name}.endpoints[{number}]", endpoint)
            for name in keys
            for number, endpoint in enumerate(self.entries[name]["endpoints"])
            if endpoint.get("host") == host and port in ports_of(endpoint)
        ]

    def existing(self, key: str) -> str:
        """The key of an entry.

        Raises:
            BadInput: there is no such entry.
        """
        if key not in self.entries:
            raise BadInput(f"no entry {key!r}{did_you_mean(key, self.entries)}")
        return key

    def unwanted(self, unwanted: RemoveEndpoint, key: str | None) -> list[Found]:
        """The endpoints that are to go: of a path where one is named, else of every path.

        Raises:
            BadInput: there is none.
        """
        found = self.find(unwanted.host, unwanted.port, key)
        if not found:
            raise self._not_found(unwanted.host, unwanted.port, key)
        if not unwanted.path:
            return found
        named = [(place, each) for place, each in found if each.get("path") == unwanted.path]
        if not named:
            raise BadInput(
                f"no endpoint {unwanted.host}:{unwanted.port} has the path {unwanted.path}"
                f"{did_you_mean(unwanted.path, _paths(found))}"
            )
        return named

    def ruled(self, wanted: AddHttpRule, key: str | None) -> Found:
        """The endpoint that a rule of method and path is for: the narrowest that covers it.

        Raises:
            BadInput: there is none, or they stand in several entries.
        """
        covering = self.find(wanted.host, wanted.port, key)
        if not covering:
            raise self._not_found(wanted.host, wanted.port, key)
        judging = self._own([(p, each) for p, each in covering if each.get("protocol") in _RULED])
        if not judging:
            raise BadInput(
                f"{covering[0][0]} does not look inside its connections: rules need "
                "'protocol: rest' or 'websocket'"
            )
        found = _narrowest(judging, wanted)
        _refuse_several(judging, wanted)
        return found[0]

    def inspected(self, wanted: AddCallRule, key: str | None) -> Found:
        """The endpoint for what is inside of requests; messages are meant where nothing else is.

        Raises:
            BadInput: there is none, or several.
        """
        covering = self.find(wanted.host, wanted.port, key)
        if not covering:
            raise self._not_found(wanted.host, wanted.port, key)
        if wanted.path:
            covering = [(p, each) for p, each in covering if each.get("path") == wanted.path]
        for protocols in _INSPECTED:
            judging = self._own([(p, e) for p, e in covering if e.get("protocol") in protocols])
            paths = _paths(judging)
            if len(paths) > 1:
                raise BadInput(
                    f"{wanted.host}:{wanted.port} has several paths ({', '.join(paths)}); say "
                    f"which, as {wanted.host}:{wanted.port}/path:OPERATION"
                )
            if judging:
                _refuse_several(judging, wanted)
                return judging[0]
        raise BadInput(
            f"no endpoint {wanted.host}:{wanted.port}{wanted.path} judges what is inside of "
            "requests: 'protocol: graphql', 'json-rpc' or 'mcp' does"
        )

    def listing(self, program: str, key: str | None) -> list[str]:
        """The entries that list a program.

        Raises:
            BadInput: there is none, or it could not be taken away.
        """
        keys = list(self.entries) if key is None else [self.existing(key)]
        listing = [name for name in keys if program in paths_of(self.entries[name])]
        open_to_all = any(ANY_BINARY in paths_of(self.entries[name]) for name in keys)
        if program == ANY_BINARY or (not listing and open_to_all):
            raise BadInput(
                f"{program} cannot be taken from an entry that every program may use "
                f"({ANY_BINARY}); write the programs that may use it into a file for `policy set`"
            )
        if not listing:
            known = {known for name in keys for known in paths_of(self.entries[name])}
            raise BadInput(f"no entry lists the program {program}{did_you_mean(program, known)}")
        return listing

    def _own(self, judging: list[Found]) -> list[Found]:
        fresh = [found for found in judging if any(found[1] is each for each in self.fresh)]
        return fresh or judging

    def _not_found(self, host: str, port: int, key: str | None) -> BadInput:
        known = [
            f"{endpoint.get('host', '')}:{number}"
            for entry in self.entries.values()
            for endpoint in entry["endpoints"]
            for number in ports_of(endpoint)
        ]
        where = f" in entry {key!r}" if key else ""
        asked = f"{host}:{port}"
        return BadInput(f"no endpoint {asked}{where}{did_you_mean(asked, known)}")


def _paths(found: Iterable[Found]) -> list[str]:
    return sorted({str(endpoint.get("path", "/**")) for _, endpoint in found})


def _refuse_several(judging: list[Found], wanted: AddHttpRule | AddCallRule) -> None:
    keys = sorted({entry_of(place) for place, _ in judging})
    if len(keys) > 1:
        raise BadInput(
            f"{wanted.host}:{wanted.port} stands in several entries ({', '.join(keys)}); "
            "say which with --rule-name"
        )


def _narrowest(judging: list[Found], wanted: AddHttpRule) -> list[Found]:
    """The endpoints whose `path` may cover the rule's, the narrowest first: it judges them."""
    rule_path = read_glob(wanted.path)
    paths = [read_glob(endpoint.get("path", "/**")) for _, endpoint in judging]
    order = sorted(range(len(judging)), key=lambda number: -paths[number].specificity)
    found = [judging[number] for number in order if paths[number].meets(rule_path)]
    if not found:
        raise BadInput(
            f"no endpoint for {wanted.host}:{wanted.port} has a 'path' that covers {wanted.path}; "
            f"{judging[0][0]} covers {paths[0].text}. Add one as --add-endpoint "
            f"{wanted.host}:{wanted.port}/path::rest beside the rule"
        )
    return found


def read_glob(text: str) -> PathGlob:
    """A pattern that somebody typed.

    Raises:
        BadInput: it is none.
    """
    try:
        return parse_path_glob(text)
    except BadPattern as error:
        raise BadInput(f"path {error}") from None
