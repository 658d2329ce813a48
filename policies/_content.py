"""Everything that counts in a decision, resolved: the part of a policy that its digest is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clearmark.core import Stage
from clearmark.policies.marking import Marking
from clearmark.policies.messages import ReasonText
from clearmark.policies.rules import Override, Rule, Threshold, reason_dict

__all__ = ["FORMAT", "Content"]

FORMAT = "clearmark/policy/v1"
"""What the key `schema` says."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Content:
    """What a policy decides by, and what it asks of marking and records.

    `overrides` are the loosenings against what the policy extends, each with its reason and who approved it;
    `extends` are the names and digests of what it extends.
    """

    covered: frozenset[Stage]
    thresholds: Mapping[Stage, Mapping[str, Threshold]]
    requires: Mapping[Stage, tuple[str, ...]]
    rules: tuple[Rule, ...]
    reasons: Mapping[str, ReasonText]
    marking: Marking
    on_error: str
    regenerate_attempts: int
    retention: Mapping[str, str]
    effective: str = ""
    overrides: tuple[Override, ...] = ()
    extends: tuple[tuple[str, str], ...] = ()

    def form(self, name: str, version: str) -> dict[str, Any]:
        """Return the canonical form under a name and version. Scores are in micro-units."""
        out: dict[str, Any] = {
            "schema": FORMAT,
            "name": name,
            "version": version,
            "covers": [stage.value for stage in Stage if stage in self.covered],
            "requires": {stage.value: list(self.requires[stage]) for stage in Stage},
            "on_error": self.on_error,
            "thresholds": {
                stage.value: {category: item.to_dict() for category, item in self.thresholds[stage].items()}
                for stage in Stage
            },
            "rules": [rule.to_dict() for rule in self.rules],
            "reasons": {category: reason_dict(reason) for category, reason in self.reasons.items()},
            "marking": self.marking.to_dict(),
            "regenerate": {"attempts": self.regenerate_attempts},
            "retention": dict(self.retention),
        }
        if self.effective:
            out["effective"] = self.effective
        if self.overrides:
            out["overrides"] = [item.to_dict() for item in self.overrides]
        if self.extends:
            out["extends"] = [{"policy": policy, "digest": digest} for policy, digest in self.extends]
        return out
