"""The guard `memorization`: is what came out of the generator a copy of what went into it?"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from clearmark.core import Evidence, Finding, Match, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable

if TYPE_CHECKING:
    from clearmark.guardrails.memorization.checker import Check, CopyChecker
    from clearmark.guardrails.memorization.descriptor import Descriptor

__all__ = ["MemorizationGuard"]


class MemorizationGuard:
    """Scores `memorization` against the index at `index` (a place that `open_index` takes).

    The evidence of a finding is the item and the region.

    The index is opened at the first check, and one that is missing, damaged or of another descriptor is
    `GuardUnavailable`: the policy's `on_error` decides, by default to block.
    """

    name = "memorization"
    version = "2"
    stages = frozenset({Stage.OUTPUT})
    categories: tuple[str, ...] = ("memorization",)

    def __init__(self, index: str | Path, *, descriptor: Descriptor | None = None) -> None:
        self._place = index
        self._descriptor = descriptor
        self._checker: CopyChecker | None = None
        self._lock = threading.Lock()

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one `memorization` finding per picture.

        Raises:
            GuardUnavailable: no index, no weights, or a picture that cannot be read.
        """
        if not batch:
            return []
        out = []
        try:
            checker = self._open()
            for subject in batch:
                if subject.asset is None:
                    raise GuardUnavailable("memorization: no picture to look at")
                began = time.perf_counter()
                found = checker.check(subject.asset.data)
                out.append(
                    [self._finding(found, checker.descriptor.ref, (time.perf_counter() - began) * 1000)]
                )
        except GuardUnavailable:
            raise
        except Error as exc:
            raise GuardUnavailable(f"memorization: {exc.message}", hint=exc.hint) from exc
        except Exception as exc:  # cv2, Pillow and SQLite raise their own types
            raise GuardUnavailable(f"memorization: {type(exc).__name__} while checking a picture") from exc
        return out

    def _finding(self, found: Check, model: str, ms: float) -> Finding:
        best = found.matches[0] if found.matches else None
        facts: dict[str, bool | int | float | str] = {"memorized": found.memorized}
        evidence, message = Evidence(), ""
        if best is not None and found.memorized:
            region = best.region
            evidence = Evidence(
                match=Match(best.item.key, kind=best.kind, distance=round(best.distance, 4)),
                box=region.box if region is not None and region.box.width else None,
            )
            facts |= {"memorization_kind": best.kind}
            if region is not None:
                facts |= {
                    "memorization_inliers": region.inliers,
                    "memorization_share": round(region.of_query, 4),
                }
            message = f"{best.kind} of an item of the training data"
        return Finding(
            category="memorization",
            score=min(1.0, max(0.0, found.score)),
            guard=self.name,
            guard_version=self.version,
            model=model,
            threshold=found.threshold,
            message=message,
            evidence=evidence,
            facts=MappingProxyType(facts),
            ms=ms,
        )

    def _open(self) -> CopyChecker:
        from clearmark.guardrails.memorization.checker import CopyChecker
        from clearmark.guardrails.memorization.engine import open_index

        with self._lock:
            if self._checker is None:
                self._checker = CopyChecker(open_index(self._place), descriptor=self._descriptor)
            return self._checker
