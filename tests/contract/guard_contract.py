"""What every guard must keep: subclass `GuardContract`, give `guard`, and the tests come with it."""

from __future__ import annotations

import io
import math

import pytest

from clearmark.core import CATEGORIES, Asset, Finding, Guard, Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable

PROMPTS = (
    "a red apple on a table",
    "",
    " \t\n",
    "a (castle:1.3) at dusk, [oil:ink:0.5] <lora:paper:0.7> --no people --ar 16:9",
    "((((((((" * 200,
    "<lora:" * 400,
    "a " * 9000,
    "é̸̷" * 1000,
    "\u200b\u202e\ufeff\U000e0041" * 300,
    "\ud800 lone surrogate",
    "\x00\x01\x02",
    "猫が屋根の上で寝ている",
    "кот спит на крыше",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f👩‍👩‍👧",
    "%s %d {0} {{}} $(ls) ${HOME} `id`",
)


def picture(size: tuple[int, int] = (64, 48), mode: str = "RGB", colour: object = 128) -> Asset:
    """Return a small plain picture."""
    import PIL.Image

    out = io.BytesIO()
    PIL.Image.new(mode, size, colour if mode in {"L", "I;16"} else None).save(out, "PNG")
    return Asset(data=out.getvalue(), media_type="image/png", width=size[0], height=size[1])


class GuardContract:
    """The tests. `guard` must be a fixture; override `subjects` where a guard needs something special."""

    @pytest.fixture
    def guard(self) -> Guard:
        raise NotImplementedError

    @pytest.fixture
    def subjects(self, guard: Guard) -> list[Subject]:
        """Harmless and odd subjects of every stage of the guard."""
        out: list[Subject] = []
        if Stage.PROMPT in guard.stages:
            out += [
                Subject(stage=Stage.PROMPT, request=Request(prompt, negative_prompt=prompt[:50]))
                for prompt in PROMPTS
            ]
        for stage in sorted(guard.stages - {Stage.PROMPT}):
            kinds = [((64, 48), mode) for mode in ("RGB", "RGBA", "L", "P", "1", "I;16", "LA")]
            for size, mode in (*kinds, ((1, 1), "RGB"), ((3, 900), "RGBA")):
                out.append(Subject(stage=stage, request=Request("x"), asset=picture(size, mode)))
        return out

    def test_is_a_guard(self, guard: Guard) -> None:
        assert isinstance(guard, Guard)
        assert guard.name
        assert guard.name == guard.name.strip().lower()
        assert guard.version
        assert guard.stages
        assert all(isinstance(stage, Stage) for stage in guard.stages)

    def test_measures_known_categories(self, guard: Guard) -> None:
        assert guard.categories
        assert set(guard.categories) <= set(CATEGORIES)
        assert len(set(guard.categories)) == len(guard.categories)

    def test_an_empty_batch(self, guard: Guard) -> None:
        assert guard.check([]) == []

    def test_reports_every_category_of_every_subject(self, guard: Guard, subjects: list[Subject]) -> None:
        answers = guard.check(subjects)
        assert isinstance(answers, list)
        assert len(answers) == len(subjects)
        for findings in answers:
            assert isinstance(findings, list)
            assert all(isinstance(finding, Finding) for finding in findings)
            assert {finding.category for finding in findings} == set(guard.categories)

    def test_findings_name_the_guard_and_stay_in_bounds(self, guard: Guard, subjects: list[Subject]) -> None:
        for subject, findings in zip(subjects, guard.check(subjects), strict=True):
            for finding in findings:
                assert finding.guard == guard.name
                assert finding.guard_version == guard.version
                assert 0.0 <= finding.score <= 1.0
                assert finding.ms >= 0.0
                assert math.isfinite(finding.ms)
                assert not finding.model or "@sha256:" in finding.model
                assert finding.threshold is None or 0.0 < finding.threshold < 1.0
                span = finding.evidence.span
                if span is not None:
                    text = getattr(subject.request, span.field)
                    assert 0 <= span.start < span.end <= len(text)

    def test_order_is_that_of_the_batch(self, guard: Guard, subjects: list[Subject]) -> None:
        forward = [_scores(findings) for findings in guard.check(subjects)]
        backward = [_scores(findings) for findings in guard.check(subjects[::-1])]
        for one, other in zip(forward, backward[::-1], strict=True):
            assert one == pytest.approx(other, abs=1e-4)

    def test_a_batch_says_what_single_calls_say(self, guard: Guard, subjects: list[Subject]) -> None:
        some = subjects[:4]
        together = [_scores(findings) for findings in guard.check(some)]
        alone = [_scores(guard.check([subject])[0]) for subject in some]
        for one, other in zip(together, alone, strict=True):
            assert one == pytest.approx(other, abs=1e-4)

    def test_the_same_twice(self, guard: Guard, subjects: list[Subject]) -> None:
        first, second = (list(map(_scores, guard.check(subjects[:3]))) for _ in range(2))
        assert first == second

    def test_fails_only_as_unavailable(self, guard: Guard) -> None:
        broken = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 not a jpeg", b"RIFF0000WEBPnothing")
        for stage in guard.stages - {Stage.PROMPT}:
            for data in broken:
                asset = Asset(data=data, media_type="image/png")
                with pytest.raises(GuardUnavailable):
                    guard.check([Subject(stage=stage, request=Request("x"), asset=asset)])
            with pytest.raises(GuardUnavailable):
                guard.check([Subject(stage=stage, request=Request("x"))])


def _scores(findings: list[Finding]) -> dict[str, float]:
    out: dict[str, float] = {}
    for finding in findings:
        out[finding.category] = max(out.get(finding.category, 0.0), finding.score)
    return out
