"""The noun `Verdict`: what a policy decided, by which rules, and why, in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

__all__ = ["Action", "PolicyRef", "Reason", "RuleHit", "Verdict"]


class Action(IntEnum):
    """What a rule asks for, from the mildest to the strongest. The strongest of all rules wins."""

    ALLOW = 0
    LABEL = 1
    BLUR = 2
    REGENERATE = 3
    REVIEW = 4
    BLOCK = 5

    def __str__(self) -> str:
        # Printed by people who never see the order's numbers.
        return self.word

    @property
    def word(self) -> str:
        """The name in policy files and in JSON."""
        return self.name.lower()

    @classmethod
    def parse(cls, word: str) -> Action:
        """Return the action of a word; KeyError for another word."""
        return cls[word.upper()]

    @property
    def releases(self) -> bool:
        """Whether something leaves under this action: allow, label, blur."""
        return self < Action.REGENERATE


@dataclass(frozen=True, kw_only=True)
class PolicyRef:
    """Which policy decided: name, version, and `sha256:…` of its canonical resolved form."""

    name: str
    version: str
    digest: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"name": self.name, "version": self.version, "digest": self.digest}


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why, in words fit for a user. `code`, `dsa` and `legal` are for reports to a regulator."""

    rule: str
    category: str
    message: str
    code: str = ""
    dsa: str = ""
    legal: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without what is empty."""
        out: dict[str, Any] = {"rule": self.rule, "category": self.category, "message": self.message}
        if self.code:
            out["code"] = self.code
        if self.dsa:
            out["dsa"] = self.dsa
        if self.legal:
            out["legal"] = list(self.legal)
        return out


@dataclass(frozen=True, kw_only=True)
class RuleHit:
    """One rule's outcome, for the trace: whether its condition held, and what it asked for."""

    rule: str
    held: bool
    action: Action
    mode: str = "enforce"
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        out: dict[str, Any] = {
            "rule": self.rule,
            "held": self.held,
            "action": self.action.word,
            "mode": self.mode,
        }
        if self.error:
            out["error"] = self.error
        return out


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was decided at one stage. `trace` holds every rule that was evaluated, in file order."""

    action: Action
    policy: PolicyRef
    stage: str
    reasons: tuple[Reason, ...] = ()
    trace: tuple[RuleHit, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """Ids of the enforced rules that held."""
        return tuple(hit.rule for hit in self.trace if hit.held and hit.mode == "enforce")

    @property
    def releases(self) -> bool:
        """Whether something leaves under this verdict."""
        return self.action.releases

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "verdict": self.action.word,
            "stage": self.stage,
            "policy": self.policy.to_dict(),
            "reasons": [reason.to_dict() for reason in self.reasons],
            "trace": [hit.to_dict() for hit in self.trace],
        }
