"""Holding the policy of a running service, and changing it without a gap.

A new file takes over at once and as a whole, or not at all: one that is faulty, or whose own tests fail,
leaves the old policy in force and is reported. Deciders take `holder.current` once per request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.core.errors import PolicyError, UsageError
from clearmark.policies._sources import locate
from clearmark.policies._strictness import loosenings
from clearmark.policies.diagnostics import InvalidPolicy
from clearmark.policies.policy import Policy
from clearmark.policies.testing import run_tests

__all__ = ["PolicyHolder", "Reload"]

_REMEMBERED = 10


@dataclass(frozen=True, kw_only=True)
class Reload:
    """What came of a reload: the policy in force now, the one before, and why a file was refused.

    `loosened` names every item by which more is let through than before.
    """

    outcome: str
    current: Policy
    previous: Policy
    faults: tuple[str, ...] = ()
    loosened: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the event that records this: `policy.OUTCOME`."""
        return f"policy.{self.outcome}"

    def to_body(self) -> dict[str, Any]:
        """Return the body of that event."""
        return {
            "outcome": self.outcome,
            "policy": self.current.ref.to_dict(),
            "previous": self.previous.ref.to_dict(),
            "faults": list(self.faults),
            "loosened": list(self.loosened),
            "unsafe": list(self.current.unsafe),
            "overrides": [item.to_dict() for item in self.current.overrides],
        }


class PolicyHolder:
    """The policy in force, from a profile or file. Safe to use from many threads.

    Raises:
        PolicyError: when the first load fails; there is nothing to fall back on then.
    """

    def __init__(
        self, name_or_path: str | Path, *, on_reload: Callable[[Reload], None] | None = None
    ) -> None:
        self._origin = name_or_path
        self._on_reload = on_reload
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self._past: list[Policy] = []
        self._current = _tested(Policy.load(name_or_path))

    def on_reload(self, tell: Callable[[Reload], None]) -> None:
        """Call `tell` with every reload from now on, before it takes effect; what it raises prevents it."""
        self._on_reload = tell

    @property
    def current(self) -> Policy:
        """The policy in force. One reference: reading it needs no lock and never sees half a change."""
        return self._current

    def refresh(self) -> Reload | None:
        """Reload if the file has changed since it was last looked at; None if it has not."""
        with self._lock:
            if self._stamp() == self._seen:
                return None
        return self.reload()

    def reload(self) -> Reload:
        """Load the file again. Outcome `loaded`, `unchanged`, or `rejected` with the old policy in force."""
        with self._lock:
            self._seen = self._stamp()
            try:
                new = _tested(Policy.load(self._origin))
            except InvalidPolicy as exc:
                return self._tell("rejected", self._current, tuple(f.render() for f in exc.diagnostics_list))
            except PolicyError as exc:
                return self._tell("rejected", self._current, (exc.message,))
            if new == self._current:
                return self._tell("unchanged", self._current)
            self._past = [*self._past, self._current][-_REMEMBERED:]
            return self._tell("loaded", new)

    def rollback(self) -> Reload:
        """Put the policy before this one in force again, until the file changes. Outcome `rolled-back`.

        Raises:
            UsageError: when there was none before.
        """
        with self._lock:
            if not self._past:
                raise UsageError(
                    "there is no earlier policy", hint="only what this process held is remembered"
                )
            return self._tell("rolled-back", self._past.pop())

    def _tell(self, outcome: str, new: Policy, faults: tuple[str, ...] = ()) -> Reload:
        report = Reload(
            outcome=outcome,
            current=new,
            previous=self._current,
            faults=faults[:100],
            loosened=tuple(item.path for item in loosenings(self._current, new)),
        )
        # on record first: a policy that nobody could put on record does not take over
        if self._on_reload is not None:
            self._on_reload(report)
        self._current = new
        return report

    def _stamp(self) -> tuple[int, int, int]:
        path, _ = locate(self._origin)
        try:
            found = path.stat()
        except (OSError, ValueError):
            return (0, 0, 0)
        return (found.st_mtime_ns, found.st_size, found.st_ino)


def _tested(policy: Policy) -> Policy:
    failed = [f"test {item.name!r}: {item.message}" for item in run_tests(policy) if not item.passed]
    if failed:
        raise PolicyError(f"{policy.source}: {'; '.join(failed)}", hint="mend the policy or its tests")
    return policy
