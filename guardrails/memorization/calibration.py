"""One probability from three kinds of evidence, and the threshold that a false-positive rate asks for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import UsageError

if TYPE_CHECKING:
    from clearmark.guardrails.memorization._layout import Agreement
    from clearmark.guardrails.memorization.geometry import Region

__all__ = ["EVIDENCE", "Calibration", "calibrate", "interval", "needed", "probability", "signals", "trusted"]

EVIDENCE = (
    "hash",
    "cosine",
    "detail",
    "colour",
    "inliers",
    "of_query",
    "of_item",
    "agreement",
    "correlation",
    "both",
    "plain",
    "votes",
    "layout",
    "band",
    "dense",
    "soft",
)
"""The coordinates that the logistic model weighs, in its order; each grows with likeness."""

_OF_LAYOUT = frozenset(EVIDENCE) - {"cosine", "detail", "colour", "plain"}
_DISTANCE = 96.0
_DETAILED = 40


def signals(
    *,
    distance: float,
    cosine: float,
    votes: float,
    points: int,
    colour: float,
    region: Region | None,
    agreement: Agreement | None = None,
) -> tuple[float, ...]:
    """Return the evidence in the order of `EVIDENCE`, each in [0, 1] or close to it.

    `distance` is of PDQ in bits, `votes` of shared key points, `points` the number of key points in the
    poorer picture, `colour` the difference of the small pictures in [0, 1], `region` what geometry found,
    `agreement` that of the two layouts.
    Where there is little detail, equal hashes mean little and the colours have to agree: a striped flag is
    not a copy of every other one.
    """
    near, like = max(0.0, 1.0 - distance / _DISTANCE), max(0.0, cosine)
    detail = min(1.0, points / _DETAILED)
    same = max(0.0, 1.0 - 4.0 * colour)
    out = (near * detail, like, detail, same)
    both, plain = near * like, (1.0 - detail) * max(near, like) * same
    shared = math.log1p(max(0.0, votes)) / 4.0
    dense = (0.0, 0.0)
    if agreement is not None:
        dense = agreement.share * agreement.weight, agreement.likeness * agreement.weight
    # Pages of text agree in layout, but not in hash.
    soft = dense[0] * min(1.0, 4.0 * near)
    if region is None:
        return (*out, 0.0, 0.0, 0.0, 0.0, 0.0, both, plain, shared, *dense, 0.0, soft)
    return (
        *out,
        math.log1p(max(0, region.inliers - 3)) / 4.0,
        region.of_query,
        region.of_item,
        region.agreement,
        max(0.0, region.correlation),
        both,
        plain,
        shared,
        *dense,
        region.dense,
        soft,
    )


def trusted(evidence: Sequence[float]) -> tuple[float, ...]:
    """Return the evidence with that of hash and geometry worth less where plain pictures differ in colour.

    The few faint key points of a flag agree with those of every flag of that layout, as its hash does.
    """
    at = dict(zip(EVIDENCE, evidence, strict=True))
    plain = 1.0 - at["detail"] ** 3
    worth = 1.0 - plain * (1.0 - at["colour"] ** 2)
    return tuple(value * worth if name in _OF_LAYOUT else value for name, value in at.items())


def probability(evidence: Sequence[float]) -> float:
    """Return the probability that a picture with this evidence is a copy, by a logistic model.

    The weights were fitted on 835 copies and 1,196 negatives (`fit weights`; docs/memorization.md): take the
    threshold of `calibrate` for decisions.
    """
    bias, weights = _model()
    z = bias + sum(w * x for w, x in zip(weights, trusted(evidence), strict=True))
    return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, z))))


@lru_cache(maxsize=1)
def _model() -> tuple[float, tuple[float, ...]]:
    document = json.loads((files("clearmark.guardrails") / "memorization" / "weights.json").read_bytes())
    return float(document["bias"]), tuple(float(document["weights"].get(name, 0.0)) for name in EVIDENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A threshold and what is known of it: alarms among the negatives and the 95% interval of that rate.

    `supported` says whether the negatives are enough to claim the target: the upper end is not above it.
    `needed` is how many negatives without any alarm the claim takes.
    """

    threshold: float
    target: float
    negatives: int
    alarms: int
    low: float
    high: float
    needed: int

    @property
    def supported(self) -> bool:
        """Whether the claim "at most `target`" holds with 95% confidence."""
        return self.high <= self.target

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which the index stores."""
        return {
            "threshold": self.threshold,
            "target_fpr": self.target,
            "negatives": self.negatives,
            "alarms": self.alarms,
            "fpr_interval_95": [self.low, self.high],
            "negatives_needed": self.needed,
            "supported": self.supported,
        }


def calibrate(scores: Sequence[float], *, target: float) -> Calibration:
    """Choose the lowest threshold at which at most `target` of the negatives' `scores` alarm.

    Raises:
        UsageError: no scores, or a target outside (0, 0.5).
    """
    if not 0.0 < target < 0.5 or not scores:
        raise UsageError("calibrating needs negatives, and a false-positive rate between 0 and 0.5")
    ordered = sorted(scores, reverse=True)
    allowed = int(target * len(ordered))
    # Just above the first score that must not alarm, and never where nothing was measured: below 0.5.
    threshold = min(1 - 1e-6, max(0.5, ordered[allowed] + 1e-6 if allowed < len(ordered) else 0.5))
    alarms = sum(score >= threshold for score in ordered)
    low, high = interval(alarms, len(ordered))
    return Calibration(
        threshold=round(threshold, 7),
        target=target,
        negatives=len(ordered),
        alarms=alarms,
        low=low,
        high=high,
        needed=needed(target),
    )


def interval(hits: int, number: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson (1934): one-sided from above where there was no hit."""
    from scipy.stats import beta

    if number <= 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    if hits == 0:
        return 0.0, float(1 - (1 - level) ** (1 / number))
    low = float(beta.ppf(tail, hits, number - hits + 1))
    high = 1.0 if hits == number else float(beta.ppf(1 - tail, hits + 1, number - hits))
    return low, high


def needed(target: float, *, level: float = 0.95) -> int:
    """Return how many negatives, none of them alarming, the claim "at most `target`" takes."""
    return math.ceil(math.log(1 - level) / math.log1p(-target))


def fitted(bias: float, weights: Mapping[str, float]) -> bytes:
    """Return the file `weights.json` of a fitted model."""
    return (json.dumps({"bias": bias, "weights": dict(weights)}, indent=2) + "\n").encode()
