"""The noun `Policy`: a policy file, checked, compiled and ready to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clearmark.core import Guard, PolicyRef, Stage, Verdict
from clearmark.policies._build import build_content, unsafe_keys
from clearmark.policies._content import Content
from clearmark.policies._engine import Plan, decide, make_plan
from clearmark.policies._resolve import digest_of, resolve
from clearmark.policies._sources import profiles, read_policy_text
from clearmark.policies.diagnostics import InvalidPolicy
from clearmark.policies.inputs import Inputs

__all__ = ["Policy"]

_CONTENT_FIELDS = tuple(item.name for item in fields(Content))


@dataclass(frozen=True, eq=False, kw_only=True)
class Policy(Content):
    """A policy, ready to decide. Immutable and safe to share between threads.

    Two policies are equal where their digests are. `unsafe` names everything that the policy opts out of;
    whoever loads a policy puts that on record.

    >>> Policy.load("default").ref.name
    'default'
    """

    ref: PolicyRef
    source: str
    description: str = ""
    owner: str = ""
    unsafe: tuple[str, ...] = ()
    tests: tuple[Mapping[str, Any], ...] = ()
    _plan: Plan = field(repr=False)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Policy:
        """Load a shipped profile by its name, or a policy file.

        Raises:
            PolicyError: when it is not there or cannot be read; as `InvalidPolicy` with every fault in it.
        """
        text = read_policy_text(name_or_path)
        return cls.parse(text.text, text.source, folder=text.folder)

    @classmethod
    def parse(cls, text: str, source: str = "<policy>", *, folder: Path | None = None) -> Policy:
        """Read a policy from text; `source` is the file name in messages.

        `folder` is where relative paths in `extends` start from; without it only profiles can be extended.

        Raises:
            InvalidPolicy: with every fault in it.
        """
        values, faults = resolve(text, source, folder)
        errors = [fault for fault in faults if fault.severity == "error"]
        if values is None or errors:
            raise InvalidPolicy(source, errors)
        content = build_content(values)
        name, version = values["name"], values["version"]
        ref = PolicyRef(name=name, version=version, digest=digest_of(values, content))
        return cls(
            **{name: getattr(content, name) for name in _CONTENT_FIELDS},
            ref=ref,
            source=source,
            description=values.get("description", ""),
            owner=values.get("owner", ""),
            unsafe=unsafe_keys(values),
            tests=tuple(MappingProxyType(test) for test in values.get("tests", ())),
            _plan=make_plan(ref, content),
        )

    @staticmethod
    def profiles() -> tuple[str, ...]:
        """Return the names of the shipped profiles."""
        return profiles()

    def decide(self, inputs: Inputs) -> Verdict:
        """Decide. Pure and deterministic: no clock, no randomness, no state, and it never raises.

        The strongest action of everything that holds wins. The trace holds, in this order: a stage that the
        policy does not cover, guards that failed, required scores that are missing, thresholds, rules.
        """
        return decide(self._plan, inputs)

    def threshold(self, stage: Stage | str, category: str) -> float | None:
        """Return the score from which on `category` has consequences at `stage`; None where it has none."""
        found = self.thresholds[Stage(stage)].get(category)
        return None if found is None else found.lowest / 1_000_000

    def covers(self, stage: Stage | str) -> bool:
        """Whether the policy says anything about `stage`; where it does not, everything is blocked."""
        return Stage(stage) in self.covered

    def unmeasured(self, guards: Sequence[Guard]) -> tuple[tuple[Stage, str], ...]:
        """Return the stages and categories that the policy requires and none of `guards` measures.

        At such a stage the policy blocks everything; better to hear of it at the start.
        """
        measured = {(stage, item) for guard in guards for stage in guard.stages for item in guard.categories}
        return tuple(
            (stage, category)
            for stage in Stage
            if stage in self.covered
            for category in self.requires[stage]
            if (stage, category) not in measured
        )

    def without(self, rule_id: str) -> Policy:
        """Return the policy without one of its rules, to see what the rule is for; for comparison only."""
        rules = tuple(rule for rule in self.rules if rule.id != rule_id)
        less = replace(self, rules=rules, tests=())
        return replace(less, _plan=make_plan(self.ref, less))

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved policy: everything that counts in a decision, defaults written out.

        Scores are in micro-units, so that it can stand in an event; `ref.digest` is over this form.
        """
        return self.form(self.ref.name, self.ref.version)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and other.ref.digest == self.ref.digest

    def __hash__(self) -> int:
        return hash(self.ref.digest)
