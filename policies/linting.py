"""Checking policy files before anybody depends on them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from clearmark.core.errors import PolicyError
from clearmark.policies._resolve import resolve
from clearmark.policies._sources import read_policy_text
from clearmark.policies.diagnostics import Diagnostic, InvalidPolicy
from clearmark.policies.policy import Policy
from clearmark.policies.testing import run_tests

__all__ = ["lint"]


def lint(paths: Sequence[str | Path], *, today: dt.date | None = None) -> list[Diagnostic]:
    """Return everything that is wrong with the files (or profiles), all at once, in order.

    Errors are what keeps a file from loading, and in-file tests that fail. Warnings are opt-outs, rules whose
    shadow or off time is over on `today`, and files without tests.
    """
    day = (today or dt.datetime.now(dt.UTC).date()).isoformat()
    out: list[Diagnostic] = []
    for path in paths:
        try:
            text = read_policy_text(path)
        except InvalidPolicy as exc:
            out.extend(exc.diagnostics_list)
            continue
        except PolicyError as exc:
            out.append(Diagnostic(str(path), 0, 0, "", exc.message))
            continue
        _, found = resolve(text.text, text.source, text.folder)
        out.extend(found)
        if all(fault.severity != "error" for fault in found):
            out.extend(_second_look(Policy.parse(text.text, text.source, folder=text.folder), day))
    return out


def _second_look(policy: Policy, day: str) -> list[Diagnostic]:
    out = []

    def note(path: str, message: str, severity: str = "warning") -> None:
        out.append(Diagnostic(policy.source, 0, 0, path, message, severity))

    for name in policy.unsafe:
        note(name, "opts out of a protection")
    for rule in policy.rules:
        if rule.mode != "enforce" and rule.mode_on(day) == "enforce":
            note(f"rules.{rule.id}.expires", f"{rule.mode} ended on {rule.expires}: the rule is enforced")
    if not policy.tests:
        note("tests", "no tests: nobody would notice a change of mind")
    for result in run_tests(policy):
        if not result.passed:
            note(f"tests.{result.name}", result.message, "error")
    return out
