"""The noun `Policy`: a policy file, checked, compiled and ready to decide."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clearmark.core import Guard, PolicyRef, Stage, Verdict, digest
from clearmark.core.errors import PolicyError
from clearmark.policies import _build, _engine
from clearmark.policies._conditions import compile_condition
from clearmark.policies._nodes import MAX_BYTES, Node, read_nodes
from clearmark.policies._shapes import Faults
from clearmark.policies.diagnostics import Diagnostic, InvalidPolicy, did_you_mean
from clearmark.policies.inputs import Inputs
from clearmark.policies.marking import Marking
from clearmark.policies.messages import ReasonText
from clearmark.policies.rules import Rule, Threshold, reason_dict
from clearmark.policies.schema import FORMAT, POLICY

__all__ = ["Policy", "check_text", "profiles", "read_policy_text"]

_PROFILE = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_HERE = Path(__file__).parent


@dataclass(frozen=True, eq=False, kw_only=True)
class Policy:
    """A policy, ready to decide. Immutable and safe to share between threads.

    Two policies are equal where their digests are. `unsafe` names everything that the policy opts out of;
    whoever loads a policy puts that on record.

    >>> Policy.load("default").ref.name
    'default'
    """

    ref: PolicyRef
    source: str
    thresholds: Mapping[Stage, Mapping[str, Threshold]]
    requires: Mapping[Stage, tuple[str, ...]]
    rules: tuple[Rule, ...]
    reasons: Mapping[str, ReasonText]
    marking: Marking
    retention: Mapping[str, str]
    on_error: str = "block"
    regenerate_attempts: int = 0
    description: str = ""
    owner: str = ""
    effective: str = ""
    unsafe: tuple[str, ...] = ()
    tests: tuple[Mapping[str, Any], ...] = ()
    _plan: _engine.Plan = field(repr=False)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Policy:
        """Load a shipped profile by its name, or a policy file.

        Raises:
            PolicyError: when it is not there or cannot be read; as `InvalidPolicy` with every fault in it.
        """
        text, source = read_policy_text(name_or_path)
        return cls.parse(text, source)

    @classmethod
    def parse(cls, text: str, source: str = "<policy>") -> Policy:
        """Read a policy from text; `source` is the file name in messages.

        Raises:
            InvalidPolicy: with every fault in it.
        """
        values, faults = check_text(text, source)
        if values is None or any(fault.severity == "error" for fault in faults):
            raise InvalidPolicy(source, [fault for fault in faults if fault.severity == "error"])
        return cls._of(values, source)

    @classmethod
    def _of(cls, values: Mapping[str, Any], source: str) -> Policy:
        rules = _build.build_rules(values)
        parts: dict[str, Any] = {
            "thresholds": _build.build_thresholds(values),
            "requires": _build.build_requires(values),
            "rules": rules,
            "reasons": _build.build_reasons(values),
            "marking": _build.build_marking(values),
            "on_error": values.get("on_error", "block"),
            "regenerate_attempts": values.get("regenerate", {}).get("attempts", 0),
            "retention": MappingProxyType({**_build.RETENTION, **values.get("retention", {})}),
            "effective": values.get("effective", ""),
        }
        covered = {Stage(stage) for stage in values.get("thresholds", {})} | {rule.stage for rule in rules}
        form = _canonical(values["name"], values["version"], covered, **parts)
        ref = PolicyRef(name=values["name"], version=values["version"], digest=digest(form))
        plan = _engine.Plan(
            ref=ref,
            covered=frozenset(covered),
            thresholds=parts["thresholds"],
            requires=parts["requires"],
            reasons=parts["reasons"],
            on_error=parts["on_error"],
            rules=tuple((rule, compile_condition(rule.when)) for rule in rules),
        )
        return cls(
            ref=ref,
            source=source,
            description=values.get("description", ""),
            owner=values.get("owner", ""),
            unsafe=_build.unsafe_keys(values),
            tests=tuple(MappingProxyType(test) for test in values.get("tests", ())),
            _plan=plan,
            **parts,
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
        return _engine.decide(self._plan, inputs)

    def threshold(self, stage: Stage | str, category: str) -> float | None:
        """Return the score from which on `category` has consequences at `stage`; None where it has none."""
        found = self.thresholds[Stage(stage)].get(category)
        return None if found is None else found.lowest / 1_000_000

    def covers(self, stage: Stage | str) -> bool:
        """Whether the policy says anything about `stage`; where it does not, everything is blocked."""
        return Stage(stage) in self._plan.covered

    def unmeasured(self, guards: Sequence[Guard]) -> tuple[tuple[Stage, str], ...]:
        """Return the stages and categories that the policy requires and none of `guards` measures.

        At such a stage the policy blocks everything; better to hear of it at the start.
        """
        measured = {
            (stage, category) for guard in guards for stage in guard.stages for category in guard.categories
        }
        return tuple(
            (stage, category)
            for stage in Stage
            if stage in self._plan.covered
            for category in self.requires[stage]
            if (stage, category) not in measured
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved policy: everything that counts in a decision, defaults written out.

        Scores are in micro-units, so that it can stand in an event; `ref.digest` is over this form.
        """
        return _canonical(
            self.ref.name,
            self.ref.version,
            self._plan.covered,
            thresholds=self.thresholds,
            requires=self.requires,
            rules=self.rules,
            reasons=self.reasons,
            marking=self.marking,
            on_error=self.on_error,
            regenerate_attempts=self.regenerate_attempts,
            retention=self.retention,
            effective=self.effective,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and other.ref.digest == self.ref.digest

    def __hash__(self) -> int:
        return hash(self.ref.digest)


def _canonical(
    name: str,
    version: str,
    covered: frozenset[Stage] | set[Stage],
    *,
    thresholds: Mapping[Stage, Mapping[str, Threshold]],
    requires: Mapping[Stage, tuple[str, ...]],
    rules: Sequence[Rule],
    reasons: Mapping[str, ReasonText],
    marking: Marking,
    on_error: str,
    regenerate_attempts: int,
    retention: Mapping[str, str],
    effective: str,
) -> dict[str, Any]:
    out: dict[str, Any] = {
        "schema": FORMAT,
        "name": name,
        "version": version,
        "covers": [stage.value for stage in Stage if stage in covered],
        "requires": {stage.value: list(requires[stage]) for stage in Stage},
        "on_error": on_error,
        "thresholds": {
            stage.value: {category: item.to_dict() for category, item in thresholds[stage].items()}
            for stage in Stage
        },
        "rules": [rule.to_dict() for rule in rules],
        "reasons": {category: reason_dict(reason) for category, reason in reasons.items()},
        "marking": marking.to_dict(),
        "regenerate": {"attempts": regenerate_attempts},
        "retention": dict(retention),
    }
    if effective:
        out["effective"] = effective
    return out


def profiles() -> tuple[str, ...]:
    """Return the names of the shipped profiles."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.yaml")))


def read_policy_text(name_or_path: str | Path) -> tuple[str, str]:
    """Return the text of a profile or file, and the name it goes by in messages.

    Raises:
        PolicyError: when it is not there, is no regular file, is too long or is not UTF-8.
    """
    named = isinstance(name_or_path, str) and _PROFILE.match(name_or_path) is not None
    path = _HERE / f"{name_or_path}.yaml" if named else Path(name_or_path)
    source = str(name_or_path)
    try:
        with _open_regular(path) as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        if named:
            near = did_you_mean(source, profiles())
            raise PolicyError(
                f"there is no profile {source}{near}",
                hint=f"one of {', '.join(profiles())}, or the path of a policy file",
            ) from exc
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise PolicyError(
            f"policy {source} cannot be read: {why}", hint="check the path and its rights"
        ) from exc
    source = f"{source}.yaml" if named else source
    if len(data) > MAX_BYTES:
        raise InvalidPolicy(source, [Diagnostic(source, 0, 0, "", f"longer than {MAX_BYTES:,} bytes")])
    try:
        return data.decode(), source
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        col = exc.start - data.rfind(b"\n", 0, exc.start)
        raise InvalidPolicy(source, [Diagnostic(source, line, col, "", "not UTF-8 text")]) from exc


def _open_regular(path: Path) -> Any:
    # without O_NONBLOCK, opening a FIFO would wait for ever
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError("not a regular file")
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def check_text(text: str, source: str) -> tuple[dict[str, Any] | None, list[Diagnostic]]:
    """Return the values of a policy file (None where it has no root map) and everything wrong with it."""
    root: Node | None
    root, found = read_nodes(text, source)
    faults = Faults(source)
    faults.found.extend(found)
    values = POLICY.check(root, "", faults) if root is not None else None
    return values, sorted(set(faults.found))
