"""A Studio that holds its pictures for people, for the tests of what becomes of them in a stored home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clearmark.core import Finding, Stage
from clearmark.sdk import Studio

POLICY = """
schema: clearmark/policy/v1
name: doubting
version: "1"
on_error: block
thresholds:
  prompt: {sexual/minors: 0.3}
  output: {violence: {review: 0.3}}
"""


class Doubt:
    """Sees violence everywhere, or nowhere: so that pictures are held for people, or let out."""

    name, version = "doubt", "1"
    stages, categories = frozenset({Stage.PROMPT, Stage.OUTPUT}), ("violence", "sexual/minors")

    def __init__(self, violence: float) -> None:
        self.scores = {"violence": violence, "sexual/minors": 0.0}

    def check(self, batch):
        made = [
            Finding(category=category, score=score, guard=self.name, guard_version="1")
            for category, score in self.scores.items()
        ]
        return [made for _ in batch]


@contextmanager
def doubting(folder, *, home, backend, violence: float = 0.6) -> Iterator[Studio]:
    """Open a Studio on `home` that holds what it makes; with `violence=0` it lets it out."""
    path = folder / "doubting.yaml"
    path.write_text(POLICY)
    with Studio.from_policy(str(path), home=home, backend=backend, guards=[Doubt(violence)]) as studio:
        yield studio
