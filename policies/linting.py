"""Checking policy files before anybody depends on them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

from clearmark.core.errors import PolicyError
from clearmark.policies._nodes import Node, read_nodes
from clearmark.policies._resolve import resolve
from clearmark.policies._sources import read_policy_text
from clearmark.policies.boundaries import idle_rules
from clearmark.policies.diagnostics import Diagnostic, InvalidPolicy
from clearmark.policies.policy import Policy
from clearmark.policies.testing import run_tests

__all__ = ["lint"]


def lint(paths: Sequence[str | Path], *, today: dt.date | None = None) -> list[Diagnostic]:
    """Return everything that is wrong with the files (or profiles), all at once, in order.

    Errors are what keeps a file from loading, and in-file tests that fail. Warnings are opt-outs, rules whose
    shadow or off time is over on `today`, rules that change nothing, and files without tests.
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
            policy = Policy.parse(text.text, text.source, folder=text.folder)
            out.extend(_second_look(policy, text.text, day))
    return out


def _second_look(policy: Policy, text: str, day: str) -> list[Diagnostic]:
    out = []
    root, _ = read_nodes(text, policy.source)
    places = {(key, name): node for key, field in _NAMED for name, node in _names(root, key, field)}

    def note(path: str, message: str, *, at: tuple[str, str] = ("", ""), severity: str = "warning") -> None:
        node = places.get(at)
        line, col = (node.line, node.col) if node else (0, 0)
        out.append(Diagnostic(policy.source, line, col, path, message, severity))

    for name in policy.unsafe:
        note(name, "opts out of a protection")
    for rule in policy.rules:
        if rule.mode != "enforce" and rule.mode_on(day) == "enforce":
            message = f"{rule.mode} ended on {rule.expires}: the rule is enforced"
            note(f"rules.{rule.id}.expires", message, at=("rules", rule.id))
    for name in idle_rules(policy):
        if ("rules", name) in places:  # an inherited rule may well have become superfluous
            message = "no input was found for which this rule changes the verdict"
            note(f"rules.{name}", message, at=("rules", name))
    if not policy.tests:
        note("tests", "no tests: nobody would notice a change of mind")
    for result in run_tests(policy):
        if not result.passed:
            note(f"tests.{result.name}", result.message, at=("tests", result.name), severity="error")
    return out


_NAMED = (("rules", "id"), ("tests", "name"))


def _names(root: Node | None, key: str, field: str) -> Iterator[tuple[str, Node]]:
    """Yield the name of every item of a list, with the node of that name."""
    pairs = root.value if root is not None and root.kind == "map" else ()
    rows = next((value for name, value in pairs if name.value == key), None)
    for row in rows.value if rows is not None and rows.kind == "list" else ():
        for name, value in row.value if row.kind == "map" else ():
            if name.value == field:
                yield str(value.value), value
