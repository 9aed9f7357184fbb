"""Owns: the fixtures that several files of this layer share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from netns.hub_stage import HubStage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[HubStage]:
    """A real hub without workers, gone with the test."""
    made = HubStage(tmp_path / "netns", f"t{os.getpid()}x")
    yield made
    made.close()
