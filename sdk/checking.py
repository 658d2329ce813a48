"""Measure and decide: guards, then policy. Used before and after generation, and on its own by `check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clearmark.core import Action, Asset, Guard, Observation, Request, Stage, Subject, Task, Verdict
from clearmark.sdk.results import Check

if TYPE_CHECKING:
    from pathlib import Path

    from clearmark.policies import Inputs, Policy

__all__ = ["GUARD_TIMEOUT_S", "Checker", "Decision"]

GUARD_TIMEOUT_S = 30.0
"""How long one run of guards may take before what it has not measured counts as failed, in seconds."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One subject, what was seen of it, all that the policy looked at, and what it decided."""

    subject: Subject
    observation: Observation
    inputs: Inputs
    verdict: Verdict

    def to_check(self) -> Check:
        """Return what a caller gets to see."""
        return Check(
            verdict=self.verdict,
            scores=self.observation.scores,
            findings=self.observation.findings,
            failures=self.observation.failures,
        )


@dataclass(frozen=True, kw_only=True)
class Checker:
    """Guards and the policy that judges by them."""

    policy: Policy
    guards: tuple[Guard, ...]
    timeout_s: float = GUARD_TIMEOUT_S

    @classmethod
    def from_policy(
        cls,
        policy: str | Policy = "default",
        *,
        guards: Sequence[Guard] | None = None,
        home: Path | None = None,
        training_index: Path | None = None,
        guidance: Path | Sequence[Path] | None = None,
    ) -> Checker:
        """Load a policy file or shipped profile, with the default guards unless others are given.

        With the state folder `home`, the default guards know the enrolled people and known pictures there,
        and prompts are compared with the concepts of its `concepts.yaml`, where there is one.
        With `training_index`, pictures are also compared with what the model was trained on; with `guidance`
        (the calibrations of `clearmark memorization calibrate`) what the sampler showed is judged as well.
        """
        from clearmark.guardrails import default_guards
        from clearmark.policies import Policy

        loaded = policy if isinstance(policy, Policy) else Policy.load(policy)
        if guards is None:
            guards = default_guards(home)
            if home is not None and (home / "concepts.yaml").exists():
                from clearmark.guardrails.adapters import ConceptGuard

                guards = (*guards, ConceptGuard(home / "concepts.yaml"))
            if training_index is not None:
                from clearmark.guardrails.memorization import MemorizationGuard

                guards = (*guards, MemorizationGuard(training_index))
            if guidance:
                from clearmark.guardrails.memorization.generation import GuidanceGuard

                guards = (*guards, GuidanceGuard(guidance))
        return cls(policy=loaded, guards=tuple(guards))

    def observe(self, subjects: Sequence[Subject]) -> list[Observation]:
        """Run the guards of each subject's stage; faults and timeouts come back as failures."""
        from clearmark.guardrails import run_guards

        return run_guards(self.guards, subjects, timeout_s=self.timeout_s) if subjects else []

    def judge(self, subjects: Sequence[Subject], observations: Sequence[Observation]) -> list[Decision]:
        """Put what was observed before the policy."""
        from clearmark.policies import Inputs

        decisions = []
        for subject, observation in zip(subjects, observations, strict=True):
            inputs = Inputs.of(subject.stage, subject.request, observation)
            decisions.append(
                Decision(
                    subject=subject,
                    observation=observation,
                    inputs=inputs,
                    verdict=self.policy.decide(inputs),
                )
            )
        return decisions

    def decide(self, subjects: Sequence[Subject]) -> list[Decision]:
        """Observe and judge."""
        return self.judge(subjects, self.observe(subjects))

    def remember(self, decisions: Sequence[Decision]) -> None:
        """Tell guards that know a person's requests what was refused at the prompt, and what was not.

        A block for want of a measurement says nothing about the prompt.
        """
        from clearmark.guardrails.sessions import SessionGuard

        for guard in self.guards:
            if isinstance(guard, SessionGuard):
                for decision in decisions:
                    if decision.subject.stage is Stage.PROMPT and not decision.observation.failures:
                        refused = decision.verdict.action is Action.BLOCK
                        guard.remember(decision.subject.request, refused=refused)

    def check_requests(self, requests: Sequence[Request]) -> list[Check]:
        """Check the prompts of `requests`, as `prompt` stage subjects."""
        subjects = [Subject(stage=Stage.PROMPT, request=request) for request in requests]
        return [decision.to_check() for decision in self.decide(subjects)]

    def check_images(self, assets: Sequence[Asset], *, stage: Stage = Stage.OUTPUT) -> list[Check]:
        """Check pictures as if a generator had made them from an empty prompt."""
        subjects = [
            Subject(stage=stage, request=Request("", task=Task.TEXT_TO_IMAGE), asset=asset)
            for asset in assets
        ]
        return [decision.to_check() for decision in self.decide(subjects)]
