"""A thousand seeded slips of the pen in a policy file: each refused, at the line and column of the slip."""

from __future__ import annotations

import threading
from pathlib import Path

from clearmark.benchmarks._policy_slips import SLIPS, TEXT, slipped
from clearmark.core import Finding, Observation, Request
from clearmark.policies import Inputs, InvalidPolicy, Policy, PolicyHolder


def test_the_file_without_a_slip_is_sound() -> None:
    assert Policy.parse(TEXT).ref.name == "acme"


def test_a_thousand_slips_are_refused_where_they_are() -> None:
    missed: list[str] = []
    for seed in range(1000):
        name, (text, line, col) = slipped(seed)
        assert text != TEXT
        try:
            Policy.parse(text, "f")
        except InvalidPolicy as exc:
            if (line, col) in {(fault.line, fault.col) for fault in exc.diagnostics_list}:
                continue
            told = exc.diagnostics_list[0].render()
        else:
            told = "accepted"
        missed.append(f"{seed} {name} at {line}:{col}: {told}")
    assert len(missed) <= 10, missed


def test_a_running_decider_outlives_every_slip(tmp_path: Path) -> None:
    """Bad files come in while decisions are made: the old policy decides on, and each is reported."""
    path = tmp_path / "p.yaml"
    path.write_text(TEXT, encoding="utf-8")
    told: list[str] = []
    holder = PolicyHolder(path, on_reload=lambda report: told.append(report.outcome))
    first = holder.current
    finding = Finding(category="hate", score=0.9, guard="g", guard_version="1")
    inputs = Inputs.of("prompt", Request("x"), Observation(findings=(finding,)))
    stop, verdicts = threading.Event(), set()

    def decide() -> None:
        while not stop.is_set():
            verdicts.add(holder.current.decide(inputs).action.word)

    thread = threading.Thread(target=decide)
    thread.start()
    for seed in range(3 * len(SLIPS)):
        path.write_text(slipped(seed)[1][0], encoding="utf-8")
        holder.reload()
    stop.set()
    thread.join()
    assert told.count("rejected") >= len(told) - 1
    assert verdicts == {"block"}
    assert holder.current is first or told.count("loaded") == 1
