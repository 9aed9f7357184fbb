"""A key that a provider repeats: struck out however it is cut, and nothing else is touched."""

from hypothesis import given
from hypothesis import strategies as st

from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.secret import Secret
from netmgr_proxy.inference.echo import EchoGuard, spellings

KEY = 'sk-"aab/aab/aabc\\aab'
ROUTE = resolve_route(Provider("p", "openai", {"OPENAI_API_KEY": Secret(KEY)}), "m", route_id="r")
KEYS = spellings(ROUTE)


def passed(pieces: list[bytes], keys: tuple[bytes, ...] = KEYS, *, error: bool = False) -> bytes:
    guard = EchoGuard(keys, error=error)
    return b"".join([*(guard.feed(piece) for piece in pieces), guard.rest()])


def test_every_spelling_is_struck_out_in_its_length() -> None:
    assert set(KEYS) == {
        KEY.encode(),
        b'sk-\\"aab/aab/aabc\\\\aab',
        b'sk-\\"aab\\/aab\\/aabc\\\\aab',
    }
    for key in KEYS:
        out = passed([b"<" + key + b"><" + key + b">"])
        assert (len(out), key in out) == (2 * len(key) + 4, False)
        assert out.startswith(b"<[redacted]**")


@given(st.data())
def test_however_it_is_cut(data: st.DataObject) -> None:
    parts = data.draw(
        st.lists(st.sampled_from([*KEYS, KEY[:7].encode(), b"s", b"sk-", b"aab", b'"', b"\n"]))
    )
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    out = passed(pieces)
    assert len(out) == len(whole)
    assert not any(key in out for key in KEYS)
    ends = len(whole) - len(KEYS[0])  # behind it the end may be half a key, which goes too
    assert all(new == old or new in b"[redacted]*" for new, old in zip(out, whole, strict=True))
    one = passed(pieces, KEYS[-1:])
    expected = whole.replace(KEYS[-1], b"[redacted]".ljust(len(KEYS[-1]), b"*"))
    assert one[: max(ends, 0)] == expected[: max(ends, 0)]


@given(st.binary(), st.binary(min_size=1).filter(lambda end: end[-1:] not in KEY.encode()))
def test_what_has_no_key_passes_at_once(start: bytes, end: bytes) -> None:
    guard = EchoGuard((b"x" * 30 + KEY.encode(),), error=False)
    if end[-1:] != b"x":
        assert guard.feed(start + end) == start + end


def test_a_short_key_is_struck_out_of_errors_only() -> None:
    keys = (b"lm-studio",)
    assert passed([b"I am lm-studio"], keys) == b"I am lm-studio"
    assert passed([b"bad key lm-st", b"udio!"], keys, error=True) == b"bad key *********!"


def test_a_key_that_breaks_off_is_struck_out_and_a_chance_beginning_is_not() -> None:
    assert passed([b"ends in sk"]) == b"ends in sk"
    assert passed([b"key " + KEY.encode()[:-1]]) == b"key [redacted]" + b"*" * (len(KEY) - 11)


def test_what_is_no_key_of_the_provider_s_is_not_looked_for() -> None:
    plain = resolve_route(Provider("p", "ollama", {}, {}), "m", route_id="r")
    assert spellings(plain) == ()
    assert EchoGuard((), error=True).feed(b"anything") == b"anything"
