"""A run of guards: in order, in time, and no fault passes for "nothing found"."""

import threading

import pytest

from clearmark.core import Finding, Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.guardrails import default_guards, get_guard, guard_names, run_guards

PROMPT = Subject(stage=Stage.PROMPT, request=Request("a red apple"))


class Stub:
    """A guard whose answers a test decides."""

    version = "1"
    stages = frozenset({Stage.PROMPT})
    categories = ("violence",)

    def __init__(self, answer, name="stub"):
        self.name = name
        self._answer = answer

    def finding(self, score=0.5, category="violence"):
        return Finding(category=category, score=score, guard=self.name, guard_version="1")

    def check(self, batch):
        return self._answer(self, batch)


def raises(error):
    def answer(guard, batch):
        raise error

    return answer


def test_one_observation_per_subject_in_order():
    prompts = [Subject(stage=Stage.PROMPT, request=Request("x" * n)) for n in (1, 2, 3)]
    guard = Stub(lambda g, batch: [[g.finding(len(s.request.prompt) / 10)] for s in batch])
    assert [o.scores["violence"] for o in run_guards([guard], prompts)] == [0.1, 0.2, 0.3]


def test_a_guard_sees_only_its_stages():
    output = Subject(stage=Stage.OUTPUT, request=Request("x"))
    guard = Stub(lambda g, batch: [[g.finding()] for _ in batch])
    first, second = run_guards([guard], [output, PROMPT])
    assert (len(first.findings), len(first.failures)) == (0, 0)
    assert len(second.findings) == 1


def test_nothing_to_do():
    assert run_guards([], [PROMPT])[0].findings == ()
    assert run_guards(default_guards(), []) == []


@pytest.mark.parametrize(
    "answer",
    [
        raises(GuardUnavailable("no weights", hint="install them")),
        raises(RuntimeError("a red apple leaked")),
        raises(MemoryError()),
        lambda g, batch: None,
        lambda g, batch: [],
        lambda g, batch: [None for _ in batch],
        lambda g, batch: [["a finding"] for _ in batch],
        lambda g, batch: [[] for _ in batch],
        lambda g, batch: [[g.finding(category="hate")] for _ in batch],
        lambda g, batch: [[g.finding()] for _ in batch] * 2,
    ],
)
def test_every_fault_is_a_failure(answer):
    (observation,) = run_guards([Stub(answer)], [PROMPT])
    assert observation.findings == ()
    (failure,) = observation.failures
    assert failure.guard == "stub"
    assert failure.categories == ("violence",)
    assert "apple" not in failure.message


def test_one_bad_subject_costs_only_itself():
    def answer(guard, batch):
        if any("bad" in subject.request.prompt for subject in batch):
            raise GuardUnavailable("cannot read it")
        return [[guard.finding()] for _ in batch]

    subjects = [Subject(stage=Stage.PROMPT, request=Request(text)) for text in ("good", "bad", "fine")]
    good, bad, fine = run_guards([Stub(answer)], subjects)
    assert not good.failures
    assert not fine.failures
    assert bad.failures


def test_a_guard_that_hangs_is_a_failure():
    release = threading.Event()

    def answer(guard, batch):
        release.wait(20)
        return [[guard.finding()] for _ in batch]

    quick = Stub(lambda g, batch: [[g.finding()] for _ in batch], name="quick")
    try:
        (observation,) = run_guards([Stub(answer), quick], [PROMPT], timeout_s=0.5)
    finally:
        release.set()
    assert [failure.error for failure in observation.failures] == ["Timeout"]
    assert [finding.guard for finding in observation.findings] == ["quick"]


def test_a_guard_that_cannot_even_name_itself():
    class Broken:
        @property
        def name(self):
            raise ValueError

    (observation,) = run_guards([Broken()], [PROMPT])
    assert len(observation.failures) == 1


def test_guards_by_name():
    assert get_guard("prompt").name == "prompt"
    assert {"prompt", "nudity"} <= set(guard_names())
    with pytest.raises(UsageError):
        get_guard("no-such-guard")


class Point:
    """Stands for an installed package's entry point."""

    def __init__(self, name, make):
        self.name = name
        self._make = make

    def load(self):
        return self._make


def announce(monkeypatch, *points):
    monkeypatch.setattr("clearmark.guardrails._registry.entry_points", lambda group: list(points))


def test_guards_of_other_packages(monkeypatch):
    announce(monkeypatch, Point("extra", lambda: Stub(lambda g, b: [], name="extra")))
    assert get_guard("extra").name == "extra"
    assert "extra" in guard_names()
    assert "extra" not in {guard.name for guard in default_guards()}


def test_plug_ins_that_fail(monkeypatch):
    announce(monkeypatch, Point("twice", Stub), Point("twice", Stub))
    with pytest.raises(UsageError):
        get_guard("twice")
    announce(monkeypatch, Point("broken", lambda: 1 / 0))
    with pytest.raises(GuardUnavailable):
        get_guard("broken")
    announce(monkeypatch, Point("other", lambda: Stub(lambda g, b: [], name="another")))
    with pytest.raises(GuardUnavailable):
        get_guard("other")
    announce(monkeypatch, Point("none", object))
    with pytest.raises(GuardUnavailable):
        get_guard("none")
