"""The one way through, for a batch of requests: guards, policy, generator, guards, policy, marking.

Three rules hold on every path: a step is on record before the next begins, nothing leaves that lacks a mark
that the policy asks for, and a request that fails ends with `result.failed` where the ledger still takes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from clearmark.core import Action, Asset, Event, Finding, Mark, Reason, Request, Stage, Subject, Task, uuid7
from clearmark.core.errors import Error, GenerationFailed, MarkingFailed
from clearmark.sdk import records
from clearmark.sdk.obligations import blurred
from clearmark.sdk.results import Released, Result, Withheld
from clearmark.sdk.reviewing import Withholding
from clearmark.sdk.stamping import Stamp

if TYPE_CHECKING:
    from clearmark.audits import Ledger, Recorded
    from clearmark.generation import Generator
    from clearmark.sdk.checking import Checker, Decision
    from clearmark.sdk.reviewing import Holding
    from clearmark.sdk.stamping import Stamper

__all__ = ["Run"]

_PROCESS = uuid7()
_COUNTER = itertools.count(1)


@dataclass
class _Picture:
    """One picture on its way: replaced by its next attempt while the policy says `regenerate`."""

    index: int
    attempt: int
    asset: Asset
    decision: Decision | None = None
    mark_id: str = ""
    in_noise: str = ""
    """The mark id that the initial noise was drawn for, where it was."""
    event: Recorded | None = None
    marked: Asset | None = None
    mark: Mark | None = None
    review: str = ""

    @property
    def action(self) -> Action:
        assert self.decision is not None
        return self.decision.verdict.action


@dataclass
class _Case:
    """One request on its way."""

    request: Request
    gates: list[Decision] = field(default_factory=list)
    gate_event: str = ""
    reviews: list[str] = field(default_factory=list)
    pictures: list[_Picture] = field(default_factory=list)
    closed: bool = False

    @property
    def admitted(self) -> bool:
        return all(gate.verdict.releases for gate in self.gates)

    @property
    def gate_action(self) -> Action:
        return max((gate.verdict.action for gate in self.gates), default=Action.ALLOW)


class Run:
    """One batch on its way through the rooms. Used once."""

    def __init__(
        self,
        requests: Sequence[Request],
        *,
        checker: Checker,
        generator: Generator,
        stamper: Stamper,
        ledger: Ledger,
        holding: Holding | None = None,
        approved: frozenset[str] = frozenset(),
    ) -> None:
        self._cases = [
            _Case(request if request.seed is not None else replace(request, seed=secrets.randbits(32)))
            for request in requests
        ]
        self._checker = checker
        self._generator = generator
        self._stamper = stamper
        self._ledger = ledger
        self._holding = holding
        self._approved = approved
        self._ms: dict[str, float] = {}

    def go(self) -> list[Result]:
        """Walk the batch to its end.

        Raises:
            LedgerUnavailable: an event could not be made durable, so nothing was let out.
            GenerationFailed, BackendUnavailable, MarkingFailed: as their names say; on record where possible.
        """
        started = time.perf_counter()
        try:
            self._receive()
            self._gate(Stage.PROMPT)
            self._gate(Stage.INPUT_MEDIA)
            self._make()
            self._stamp()
            self._hold()
            closing = self._close()
        except BaseException as error:
            self._record_failure(error)
            raise
        with self._timed("ledger"):
            results = [self._result(case, event) for case, event in zip(self._cases, closing, strict=True)]
        self._ms["total"] = (time.perf_counter() - started) * 1000
        return [replace(result, timings_ms=dict(self._ms)) for result in results]

    def _receive(self) -> None:
        self._append(
            [
                records.request_received(case.request, process=_PROCESS, counter=next(_COUNTER))
                for case in self._cases
            ]
        )

    def _gate(self, stage: Stage) -> None:
        cases = [
            case
            for case in self._cases
            if case.admitted and (stage is Stage.PROMPT or case.request.init_image is not None)
        ]
        subjects = [
            Subject(
                stage=stage,
                request=case.request,
                asset=case.request.init_image if stage is Stage.INPUT_MEDIA else None,
            )
            for case in cases
        ]
        decisions = self._decide(subjects, "prompt_guards" if stage is Stage.PROMPT else "input_guards")
        recorded = self._append([records.decided(decision, self._guards(stage)) for decision in decisions])
        self._checker.remember(decisions)
        for case, decision, event in zip(cases, decisions, recorded, strict=True):
            case.gate_event = event.event_id
            # People have approved this request; a policy that has come to block it since still does.
            if decision.verdict.action is Action.REVIEW and case.request.request_id in self._approved:
                continue
            case.gates.append(decision)

    def _make(self) -> None:
        open_ = [case for case in self._cases if case.admitted]
        made = self._generate([case.request for case in open_], attempt=0)
        for case, pictures in zip(open_, made, strict=True):
            case.pictures = [
                _Picture(index, 0, asset, in_noise=mark_id) for index, (asset, mark_id) in enumerate(pictures)
            ]
        self._judge([(case, picture) for case in open_ for picture in case.pictures])
        for attempt in range(1, self._checker.policy.regenerate_attempts + 1):
            again = [
                (case, picture)
                for case in open_
                for picture in case.pictures
                if picture.action is Action.REGENERATE
            ]
            if not again:
                break
            self._regenerate(again, attempt)

    def _regenerate(self, again: list[tuple[_Case, _Picture]], attempt: int) -> None:
        requests = [
            replace(
                case.request,
                n=1,
                seed=_next_seed(case.request.seed, picture.index, attempt),
                parameters={**case.request.parameters, **_mitigation(picture)},
            )
            for case, picture in again
        ]
        for (_, picture), (made,) in zip(again, self._generate(requests, attempt=attempt), strict=True):
            picture.asset, picture.in_noise = made
            picture.attempt, picture.decision = attempt, None
        self._judge(again)

    def _generate(self, requests: Sequence[Request], *, attempt: int) -> list[list[tuple[Asset, str]]]:
        """Return the pictures of each request, each with the mark id in its noise, empty where none is."""
        if not requests:
            return []
        with self._timed("generation"):
            try:
                made, mark_ids = self._made(requests)
            except Error:
                raise
            except Exception as exc:  # whatever a pipeline throws must not pass for a picture
                raise GenerationFailed(f"{self._generator.name}: {type(exc).__name__}") from exc
        if [len(assets) for assets in made] != [request.n for request in requests]:
            raise GenerationFailed(
                f"{self._generator.name} returned another number of pictures than was asked"
            )
        model = self._generator.model
        generator = {
            "name": self._generator.name,
            "model": model.id,
            "version": model.version,
            "digest": model.digest,
        }
        self._append(
            [
                records.generation_completed(request, assets, generator=generator, attempt=attempt)
                for request, assets in zip(requests, made, strict=True)
            ]
        )
        return [list(zip(assets, ids, strict=True)) for assets, ids in zip(made, mark_ids, strict=True)]

    def _made(self, requests: Sequence[Request]) -> tuple[list[list[Asset]], list[list[str]]]:
        generator, latent = self._generator, self._stamper.latent
        if latent is None or not getattr(generator, "takes_noise", False):
            return generator.generate(requests), [[""] * request.n for request in requests]
        starting: Any = generator
        latent.remember(starting)
        ids = [[self._stamper.new_mark_id() for _ in range(request.n)] for request in requests]
        made = starting.generate_from(requests, [[latent.noise(one) for one in row] for row in ids])
        # Other tasks start from a picture, and their noise from the library.
        plain = [request.task is Task.TEXT_TO_IMAGE for request in requests]
        return made, [row if yes else [""] * len(row) for row, yes in zip(ids, plain, strict=True)]

    def _judge(self, pictures: Sequence[tuple[_Case, _Picture]]) -> None:
        subjects = [
            Subject(stage=Stage.OUTPUT, request=case.request, asset=picture.asset)
            for case, picture in pictures
        ]
        decisions = self._decide(subjects, "output_guards")
        guards = self._guards(Stage.OUTPUT)
        events = []
        for (_, picture), decision in zip(pictures, decisions, strict=True):
            picture.decision = decision
            picture.mark_id = (
                (picture.in_noise or self._stamper.new_mark_id()) if decision.verdict.releases else ""
            )
            events.append(
                records.decided(
                    decision,
                    guards,
                    asset=picture.asset,
                    index=picture.index,
                    attempt=picture.attempt,
                    mark_id=picture.mark_id or None,
                )
            )
        for (_, picture), recorded in zip(pictures, self._append(events), strict=True):
            picture.event = recorded

    def _stamp(self) -> None:
        leaving = [
            (case, picture) for case in self._cases for picture in case.pictures if picture.action.releases
        ]
        if not leaving:
            return
        with self._timed("marking"):
            marked = self._stamper.stamp([self._stamp_of(case, picture) for case, picture in leaving])
        events = []
        for (case, picture), (asset, mark) in zip(leaving, marked, strict=True):
            if mark.id != picture.mark_id:
                raise MarkingFailed("a picture came back under another mark id", hint="please report this")
            picture.marked, picture.mark = asset, mark
            assert picture.event is not None
            events.append(
                records.mark_written(case.request, asset, mark, decision_event=picture.event.event_id)
            )
        self._append(events)

    def _stamp_of(self, case: _Case, picture: _Picture) -> Stamp:
        stamp = _stamp_of(case, picture)
        if not picture.in_noise or self._stamper.latent is None:
            return stamp
        generator: Any = self._generator
        return replace(stamp, latent=self._stamper.latent.read_back(generator, stamp.asset, picture.mark_id))

    def _hold(self) -> None:
        """Hand what the policy wants people to look at to the review queue, where there is one."""
        if self._holding is None:
            return
        waiting: list[tuple[_Case, _Picture | None, Withholding]] = []
        for case in self._cases:
            if case.gate_action is Action.REVIEW:
                held = Withholding(
                    request=case.request, decision=case.gates[-1], decision_event=case.gate_event
                )
                waiting.append((case, None, held))
            for picture in case.pictures:
                if picture.action is Action.REVIEW:
                    assert picture.decision is not None
                    assert picture.event is not None
                    held = Withholding(
                        request=case.request,
                        decision=picture.decision,
                        decision_event=picture.event.event_id,
                        asset=picture.asset,
                        index=picture.index,
                    )
                    waiting.append((case, picture, held))
        if not waiting:
            return
        with self._timed("review"):
            ids = self._holding([held for _, _, held in waiting])
        for (case, shown, _), review in zip(waiting, ids, strict=True):
            if review:
                case.reviews.append(review)
            if shown is not None:
                shown.review = review

    def _close(self) -> list[Recorded]:
        events = []
        for case in self._cases:
            released = [picture for picture in case.pictures if picture.marked is not None]
            events.append(
                records.result_closed(
                    case.request,
                    verdict=_verdict(case),
                    released=[picture.marked for picture in released if picture.marked is not None],
                    withheld=len(case.pictures) - len(released),
                    reasons=_reasons(case),
                )
            )
        recorded = self._append(events)
        for case in self._cases:
            case.closed = True
        return recorded

    def _result(self, case: _Case, closing: Recorded) -> Result:
        released = []
        withheld = []
        for picture in case.pictures:
            assert picture.decision is not None
            assert picture.event is not None
            findings = picture.decision.observation.findings
            if picture.marked is not None and picture.mark is not None:
                released.append(
                    Released(
                        asset=picture.marked,
                        verdict=picture.decision.verdict,
                        findings=findings,
                        mark=picture.mark,
                        receipt=self._ledger.receipt(picture.event.event_id),
                    )
                )
            else:
                withheld.append(
                    Withheld(
                        index=picture.index,
                        verdict=picture.decision.verdict,
                        findings=findings,
                        review=picture.review,
                    )
                )
        decisions = _decisions(case)
        return Result(
            request_id=case.request.request_id,
            verdict=_verdict(case),
            reasons=_reasons(case),
            findings=_findings(case),
            receipt=self._ledger.receipt(closing.event_id),
            assets=tuple(released),
            withheld=tuple(withheld),
            reviews=tuple(case.reviews),
            failures=tuple(failure for d in decisions for failure in d.observation.failures),
            blocked_by_failure=not released
            and any(d.observation.failures and not d.verdict.releases for d in decisions),
        )

    def _record_failure(self, error: BaseException) -> None:
        events = [records.result_failed(case.request, error) for case in self._cases if not case.closed]
        # The ledger itself may be what failed; the error that is already on its way says so.
        with contextlib.suppress(Error):
            self._ledger.append(events)

    def _decide(self, subjects: Sequence[Subject], stage: str) -> list[Decision]:
        with self._timed(stage):
            observations = self._checker.observe(subjects)
        with self._timed("policy"):
            return self._checker.judge(subjects, observations)

    def _guards(self, stage: Stage) -> list[dict[str, str]]:
        return [
            {"name": guard.name, "version": guard.version}
            for guard in self._checker.guards
            if stage in guard.stages
        ]

    def _append(self, events: Sequence[Event]) -> list[Recorded]:
        if not events:
            return []
        with self._timed("ledger"):
            return self._ledger.append(events)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._ms[stage] = self._ms.get(stage, 0.0) + (time.perf_counter() - started) * 1000


def _stamp_of(case: _Case, picture: _Picture) -> Stamp:
    assert picture.event is not None
    return Stamp(
        asset=blurred(picture.asset) if picture.action is Action.BLUR else picture.asset,
        mark_id=picture.mark_id,
        event=picture.event,
        request=case.request,
        action=max(picture.action, case.gate_action),
        source="created" if case.request.init_image is None else "altered",
    )


def _decisions(case: _Case) -> list[Decision]:
    return case.gates + [picture.decision for picture in case.pictures if picture.decision is not None]


def _telling(case: _Case) -> list[Decision]:
    # What is said to the user: about the pictures that left, or else about everything.
    left = [picture.decision for picture in case.pictures if picture.marked is not None]
    return case.gates + [decision for decision in left if decision is not None] if left else _decisions(case)


def _verdict(case: _Case) -> Action:
    return max((decision.verdict.action for decision in _telling(case)), default=Action.BLOCK)


def _reasons(case: _Case) -> tuple[Reason, ...]:
    seen = {reason: None for decision in _telling(case) for reason in decision.verdict.reasons}
    return tuple(seen)


def _findings(case: _Case) -> tuple[Finding, ...]:
    return tuple(finding for gate in case.gates for finding in gate.observation.findings)


def _mitigation(picture: _Picture) -> dict[str, float]:
    """Ask for words that pull no more than a clean prompt's, where the sampler showed a memorized one."""
    assert picture.decision is not None
    facts = picture.decision.observation.facts
    value, wanted = facts.get("guidance_magnitude"), facts.get("guidance_target")
    if not facts.get("guidance_memorized") or not isinstance(value, float) or not isinstance(wanted, float):
        return {}
    return {"soften": round(min(0.95, max(0.05, wanted / max(value, 1e-9))), 4)}


def _next_seed(seed: int | None, index: int, attempt: int) -> int:
    # Derived, so that the record of the first seed is enough to make the same attempt again.
    text = f"clearmark regenerate {seed} {index} {attempt}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
