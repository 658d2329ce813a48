"""Two models on one question: the worse of their scores counts, and a person looks where they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from clearmark.core import Finding, Guard, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError

__all__ = ["VoteGuard"]


class VoteGuard:
    """Scores what two guards both measure, and says in the fact `guards_disagree` whether they are at odds.

    They are where one reaches its threshold and the other stays below half of its own. If one of them is
    unavailable, so is the vote: a policy that asks for two opinions must not be given one.
    """

    version = "1"

    def __init__(self, first: Guard, second: Guard) -> None:
        """Ask `first` and `second`.

        Raises:
            UsageError: when they share no category or no stage.
        """
        self._pair = (first, second)
        self.name = f"vote-{first.name}-{second.name}"
        self.stages: frozenset[Stage] = first.stages & second.stages
        self.categories: tuple[str, ...] = tuple(one for one in first.categories if one in second.categories)
        if not self.categories or not self.stages:
            raise UsageError(
                f"{first.name} and {second.name} do not measure the same", hint="give two of one category"
            )

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each shared category and subject, with the model of the worse score.

        Raises:
            GuardUnavailable: when one of the two is, or leaves out a category.
        """
        first, second = (guard.check(batch) for guard in self._pair)
        return [self._vote(one, other) for one, other in zip(first, second, strict=True)]

    def _vote(self, one: Sequence[Finding], other: Sequence[Finding]) -> list[Finding]:
        out: list[Finding] = []
        odds = False
        for category in self.categories:
            votes = [max(_of(found, category, self.name), key=lambda f: f.score) for found in (one, other)]
            shares = sorted(vote.score / (vote.threshold or 0.5) for vote in votes)
            odds = odds or (shares[1] >= 1 and shares[0] < 0.5)
            worse = max(votes, key=lambda vote: vote.score / (vote.threshold or 0.5))
            out.append(
                replace(worse, guard=self.name, guard_version=self.version, facts=MappingProxyType({}))
            )
        out[0] = replace(out[0], facts=MappingProxyType({"guards_disagree": odds}))
        return out


def _of(found: Sequence[Finding], category: str, name: str) -> list[Finding]:
    own = [finding for finding in found if finding.category == category]
    if not own:
        raise GuardUnavailable(f"{name}: no finding for {category}")
    return own
