"""From what the models and the term lists say to one margin per category, in log-odds above the threshold.

One logistic model tells whether a prompt asks for any harm, one per category tells which, fitted on harmful
prompts alone. A category's margin is the one for any harm, less `STEEPNESS` times what the category lacks:
so all categories alarm together on one budget of false alarms, where thresholds of their own would add theirs
up, and those alarm that the prompt is about. The likeliest category lacks nothing. For any harm no weight is
negative: one more term never lowers the highest margin. A strong term of a list alone puts its category on
the threshold, where a person looks; two of them, none part of the other, put it beyond the band, in the
categories where harmless prompts hardly ever hold two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ANY_FEATURES",
    "BAND",
    "CATEGORY_FEATURES",
    "ELSEWHERE",
    "FLOORS",
    "TERMS",
    "Logistic",
    "Stack",
    "combine",
]

BAND = 1.2
"""The review band, in log-odds above the threshold: what is beyond it stays within the budgets of the fit."""

PLAIN = BAND + 0.25
"""The least margin where two strong terms of a category are: surely beyond the band, also after rounding."""

STEEPNESS = 1.5
"""How much a category loses for each log-odd that it is less likely than even, given that there is harm."""

TERMS = ("strong", "medium", "weak", "more", "plain")
ELSEWHERE = ("strong_elsewhere", "medium_elsewhere")
ANY_FEATURES = ("words", "words_category", "sentences", "sentences_category", *TERMS)
"""What tells any harm: each model's head for it, the highest of its heads for a category, all terms."""

CATEGORY_FEATURES = ("words", "words_lead", "sentences", "sentences_lead", *TERMS, *ELSEWHERE)
"""What tells one category: its head of each model, by how much it leads the others, its terms, and theirs."""

_STRONG, _PLAIN = CATEGORY_FEATURES.index("strong"), CATEGORY_FEATURES.index("plain")

FLOORS = {"words": -2.0, "sentences": -3.0}
"""Log-odds below these count as these: harmless company is no reason to overlook a listed word."""


@dataclass(frozen=True)
class Logistic:
    """A linear model: bias, and a weight per feature."""

    bias: float
    weights: tuple[float, ...]

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log-odds: [rows, features] in, [rows] out."""
        import numpy as np

        return np.asarray(x @ np.array(self.weights) + self.bias)


@dataclass(frozen=True)
class Stack:
    """The fitted models. Each bias already holds its limit, so that a margin of 0 is where review begins.

    `plain` are the categories of which two strong terms are beyond the band.
    """

    any_harm: Logistic
    categories: Mapping[str, Logistic]
    plain: frozenset[str] = frozenset()

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Stack:
        """Read the JSON form."""
        own = {name: _read(row, CATEGORY_FEATURES) for name, row in document["categories"].items()}
        return cls(_read(document["any"], ANY_FEATURES), own, frozenset(document.get("plain", ())))

    def margins(
        self, any_harm: NDArray[np.float64], categories: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the margin of every category: features [rows, features] in, [rows] out."""
        import numpy as np

        own = np.stack([model(categories[name]) for name, model in self.categories.items()], axis=1)
        table = combine(self.any_harm(any_harm), own)
        for at, name in enumerate(self.categories):
            least = np.where(categories[name][:, _STRONG] > 0, 0.0, -np.inf)
            if name in self.plain:
                least = np.where(categories[name][:, _PLAIN] > 0, PLAIN, least)
            table[:, at] = np.maximum(table[:, at], least)
        return {name: table[:, at] for at, name in enumerate(self.categories)}


def combine(any_harm: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `any_harm` [rows] less what each category of `own` [rows, categories] lacks."""
    import numpy as np

    best = np.minimum(0.0, own.max(axis=1, keepdims=True))
    return np.asarray(any_harm[:, None] + STEEPNESS * np.minimum(0.0, own - best))


def _read(row: Mapping[str, Any], features: tuple[str, ...]) -> Logistic:
    return Logistic(float(row["bias"]), tuple(float(row["weights"].get(name, 0.0)) for name in features))
