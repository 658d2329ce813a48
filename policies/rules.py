"""The nouns of a loaded policy: thresholds, rules, and what a policy may never give up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clearmark.core import Action, Stage
from clearmark.policies.messages import ReasonText

__all__ = [
    "MINORS",
    "MINORS_CEILING",
    "ON_ERROR",
    "STAGE_ACTIONS",
    "Override",
    "Rule",
    "Threshold",
    "error_action",
    "threshold_id",
]

MINORS = "sexual/minors"
"""The category that no policy can loosen."""

MINORS_CEILING = 500_000
"""The score, in micro-units, from which on every policy blocks `sexual/minors` at every stage, whatever its
file says; every policy also needs that score at the prompt stage. Scores are calibrated probabilities: from
0.5 on it is more likely than not."""

STAGE_ACTIONS: Mapping[Stage, tuple[Action, ...]] = {
    Stage.PROMPT: (Action.REVIEW, Action.BLOCK),
    Stage.INPUT_MEDIA: (Action.REVIEW, Action.BLOCK),
    Stage.OUTPUT: (Action.LABEL, Action.BLUR, Action.REGENERATE, Action.REVIEW, Action.BLOCK),
}
"""What a rule can ask for at each stage: there is nothing to label, blur or make again before the output."""

ON_ERROR: Mapping[str, str] = {
    "block": "nothing is released",
    "review": "nothing is released until a person has looked",
    "unsafe_allow": "the check is skipped: fails open",
}
"""What a fault may mean."""


def error_action(word: str) -> Action:
    """Return the action of an `on_error` word."""
    return Action.ALLOW if word == "unsafe_allow" else Action.parse(word)


def threshold_id(category: str, stage: Stage) -> str:
    """Return the rule id of a threshold, such as `threshold/sexual@prompt`."""
    return f"threshold/{category}@{stage.value}"


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """From which score on a category leads to which action. `bands` run from the strongest action down.

    Scores are in micro-units. A band holds where the score is at or above it; the strongest that holds wins.
    """

    category: str
    stage: Stage
    bands: tuple[tuple[Action, int], ...]

    @property
    def id(self) -> str:
        """`threshold/CATEGORY@STAGE`."""
        return threshold_id(self.category, self.stage)

    @property
    def lowest(self) -> int:
        """The score from which on anything happens."""
        return min(score for _, score in self.bands)

    def action(self, score: int) -> Action:
        """Return what `score` leads to; ALLOW below every band."""
        for action, floor in self.bands:
            if score >= floor:
                return action
        return Action.ALLOW

    def to_dict(self) -> dict[str, int]:
        """Return action word to score in micro-units."""
        return {action.word: score for action, score in self.bands}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: where its condition `when` holds at `stage`, it asks for `action`.

    `mode` counts until `expires` (a day, UTC, `YYYY-MM-DD`): from that day on a rule in shadow or switched
    off is enforced, so that nothing stays off because it was forgotten.
    """

    id: str
    stage: Stage
    when: str
    action: Action
    category: str = ""
    mode: str = "enforce"
    expires: str = ""
    on_error: str = "block"
    reason: ReasonText = field(default_factory=ReasonText)

    def mode_on(self, day: str) -> str:
        """Return the mode that counts on `day`."""
        return "enforce" if self.expires and day >= self.expires else self.mode

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as it stands in policy files."""
        out: dict[str, Any] = {
            "id": self.id,
            "stage": self.stage.value,
            "when": self.when,
            "action": self.action.word,
            "mode": self.mode,
            "on_error": self.on_error,
        }
        if self.category:
            out["category"] = self.category
        if self.expires:
            out["expires"] = self.expires
        out |= reason_dict(self.reason)
        return out


@dataclass(frozen=True, kw_only=True)
class Override:
    """A loosening that somebody answers for: which item (`path`), why, and who approved it."""

    path: str
    reason: str
    approved_by: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form, as it stands in policy files."""
        return {"path": self.path, "reason": self.reason, "approved_by": self.approved_by}


def reason_dict(reason: ReasonText) -> dict[str, Any]:
    """Return `reason` and `legal` as they stand in policy files, without what is empty."""
    words = {"code": reason.code, "public": reason.public, "dsa": reason.dsa}
    words = {name: text for name, text in words.items() if text}
    out: dict[str, Any] = {"reason": words} if words else {}
    if reason.legal:
        out["legal"] = list(reason.legal)
    return out
