"""Run many guards over many subjects: in time, and without one fault taking the rest along."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from clearmark.core import Failure, Finding, Guard, Observation, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails._media import shared_pixels

__all__ = ["run_guards"]


def run_guards(
    guards: Sequence[Guard], subjects: Sequence[Subject], *, timeout_s: float = 30.0
) -> list[Observation]:
    """Measure every subject with every guard of its stage; one observation per subject, in order.

    Guards run side by side, each in a thread. Whatever goes wrong in one (an answer that breaks its contract
    and running longer than `timeout_s` included) becomes a `Failure` of the subjects concerned and is never
    raised. A guard that fails on a batch is asked again for each subject: one bad picture costs only itself.
    """
    deadline = time.monotonic() + timeout_s
    runs = [_Run(guard, subjects) for guard in guards]
    with shared_pixels():
        for run in runs:
            run.start(deadline)
        for run in runs:
            run.wait(deadline)
    out: list[Observation] = []
    for index in range(len(subjects)):
        findings: list[Finding] = []
        failures: list[Failure] = []
        for run in runs:
            if index in run.places:
                result = run.result(index)
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    findings.extend(result)
        out.append(Observation(findings=tuple(findings), failures=tuple(failures)))
    return out


class _Run:
    """One guard at work on the subjects of its stages."""

    def __init__(self, guard: Guard, subjects: Sequence[Subject]) -> None:
        self._guard = guard
        self._name, self._version, self._categories = _identity(guard)
        self._subjects = subjects
        try:
            stages = frozenset(guard.stages)
        except Exception:  # noqa: BLE001  a guard that cannot name its stages fails at every one
            stages = frozenset(subject.stage for subject in subjects)
        self.places = [i for i, subject in enumerate(subjects) if subject.stage in stages]
        self._results: dict[int, list[Finding] | Failure] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self, deadline: float) -> None:
        if self.places:
            # A daemon: a guard that hangs must not keep the process from ending.
            self._thread = threading.Thread(
                target=self._work, args=(deadline,), name=f"guard-{self._name}", daemon=True
            )
            self._thread.start()

    def wait(self, deadline: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def result(self, index: int) -> list[Finding] | Failure:
        with self._lock:
            if index in self._results:
                return self._results[index]
        return self._failure("Timeout", "no answer in time")

    def _work(self, deadline: float) -> None:
        answer = self._ask(self.places)
        if isinstance(answer, Failure) and len(self.places) > 1:
            for index in self.places:
                if time.monotonic() > deadline:
                    return
                self._keep([index], self._ask([index]))
        else:
            self._keep(self.places, answer)

    def _keep(self, places: Sequence[int], answer: list[list[Finding]] | Failure) -> None:
        with self._lock:
            for number, index in enumerate(places):
                self._results[index] = answer if isinstance(answer, Failure) else answer[number]

    def _ask(self, places: Sequence[int]) -> list[list[Finding]] | Failure:
        try:
            answer = self._guard.check([self._subjects[index] for index in places])
            return self._checked(answer, len(places))
        except Error as exc:
            return self._failure(type(exc).__name__, exc.diagnostics())
        except Exception as exc:  # noqa: BLE001  a plug-in may raise anything; its text may hold user data
            return self._failure(type(exc).__name__, "the guard raised an error that is not one of ours")

    def _checked(self, answer: object, count: int) -> list[list[Finding]]:
        """Hold the answer against the contract: a fault in it must not read as "nothing found"."""
        if not isinstance(answer, list | tuple) or len(answer) != count:
            raise GuardUnavailable(f"{self._name}: answered for another number of subjects than {count}")
        out: list[list[Finding]] = []
        for findings in answer:
            if not isinstance(findings, list | tuple) or not all(isinstance(f, Finding) for f in findings):
                raise GuardUnavailable(f"{self._name}: answered with something other than findings")
            missing = set(self._categories) - {finding.category for finding in findings}
            if missing:
                raise GuardUnavailable(f"{self._name}: no finding for {', '.join(sorted(missing))}")
            out.append(list(findings))
        return out

    def _failure(self, error: str, message: str) -> Failure:
        return Failure(
            guard=self._name,
            guard_version=self._version,
            categories=self._categories,
            error=error,
            message=message,
        )


def _identity(guard: Guard) -> tuple[str, str, tuple[str, ...]]:
    """Return name, version and categories; a guard that cannot say them fails later, under its class name."""
    try:
        return str(guard.name), str(guard.version), tuple(guard.categories)
    except Exception:  # noqa: BLE001
        return type(guard).__name__, "", ()
