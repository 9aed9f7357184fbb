"""Paths in a container's root: links lead within it, whatever they say."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr_cli.shim.oci.rootfs import Rootfs


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("of the host")
    return tmp_path


@pytest.fixture
def root(outside: Path) -> Iterator[tuple[Path, Rootfs]]:
    place = outside / "rootfs"
    (place / "etc/ssl").mkdir(parents=True)
    (place / "etc/ssl/cert.pem").write_text("inside")
    made = Rootfs(str(place))
    yield place, made
    made.close()


def test_links_are_followed_as_the_container_will(root: tuple[Path, Rootfs]) -> None:
    place, rootfs = root
    (place / "a").symlink_to("/etc/ssl")
    (place / "b").symlink_to("a/../ssl/./cert.pem")
    assert rootfs.find("/b") == "/etc/ssl/cert.pem"
    assert rootfs.read("/a/cert.pem", 100) == b"inside"
    assert rootfs.find("/") == "/"
    assert rootfs.find("/absent/x") is None
    assert rootfs.find("/etc/ssl/cert.pem/x") is None


@pytest.mark.parametrize(
    "target", ["../secret", "../../../../secret", "{outside}/secret", "/secret"]
)
def test_no_link_leads_out(root: tuple[Path, Rootfs], outside: Path, target: str) -> None:
    place, rootfs = root
    (place / "way").symlink_to(target.format(outside=outside))
    assert rootfs.read("/way", 100) is None
    assert rootfs.read("/../secret", 100) is None


def test_a_loop_and_odd_files_are_nothing(root: tuple[Path, Rootfs]) -> None:
    place, rootfs = root
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "pipe")
    assert rootfs.find("/loop") is None
    assert rootfs.read("/pipe", 100) is None  # and nobody waits for a writer
    assert rootfs.read("/etc", 100) is None
    assert rootfs.read("/etc/ssl/cert.pem", 3) is None


def test_a_place_is_made_where_there_is_none(root: tuple[Path, Rootfs], outside: Path) -> None:
    place, rootfs = root
    os.close(rootfs.place("/run/netmgr/x/ca.pem"))
    assert (place / "run/netmgr/x/ca.pem").read_bytes() == b""
    os.close(rootfs.place("/etc/ssl/cert.pem"))
    assert (place / "etc/ssl/cert.pem").read_text() == "inside"
    (place / "out").symlink_to("../secret")
    with pytest.raises(OSError, match="leads nowhere"):
        rootfs.place("/out")
    assert not (outside / "made").exists()


WORDS = st.sampled_from(["..", ".", "", "etc", "a", "b", "x"])


@given(
    links=st.lists(st.tuples(st.sampled_from("ab"), st.lists(WORDS, max_size=5), st.booleans())),
    path=st.lists(WORDS, max_size=6),
)
def test_whatever_is_linked_what_is_found_is_inside(
    tmp_path_factory: pytest.TempPathFactory,
    links: list[tuple[str, list[str], bool]],
    path: list[str],
) -> None:
    place = tmp_path_factory.mktemp("root")
    (place / "etc").mkdir()
    for name, words, absolute in links:
        if not (place / name).is_symlink():
            (place / name).symlink_to(("/" if absolute else "") + "/".join(words) or ".")
    rootfs = Rootfs(str(place))
    try:
        found = rootfs.find("/".join(path))
    finally:
        rootfs.close()
    if found is not None:
        real = (place / found.lstrip("/")).resolve()
        assert real.is_relative_to(place)
        assert ".." not in found.split("/")
