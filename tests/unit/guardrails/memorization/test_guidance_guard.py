"""The guard that reads the trace of guidance: calibrated by model, and silent about what is not measured."""

import PIL.Image
import pytest
from tests.contract.guard_contract import GuardContract

from clearmark.core import Asset, Origin, Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.core.pixels import encode_png
from clearmark.guardrails.memorization.generation import (
    TRACE,
    GuidanceCalibration,
    GuidanceGuard,
    magnitude,
    read_calibrations,
    write_calibration,
)

MODEL = "sha256:" + "a" * 64
PNG = encode_png(PIL.Image.new("RGB", (8, 8), "red"))
CLEAN = GuidanceCalibration(tuple(n / 1000 for n in range(200)), target=0.01)


def subject(local=None, model=MODEL):
    parameters = {} if local is None else {TRACE: {"times": [999.0], "whole": local, "local": local}}
    origin = Origin(generator="reference", model_digest=model, parameters=parameters)
    asset = Asset(data=PNG, media_type="image/png", width=1, height=1, origin=origin)
    return Subject(stage=Stage.OUTPUT, request=Request("x"), asset=asset)


class TestGuidanceGuard(GuardContract):
    @pytest.fixture
    def guard(self):
        return GuidanceGuard({MODEL: CLEAN})

    @pytest.fixture
    def subjects(self):
        return [subject([0.05]), subject([0.9]), subject()]


def test_only_what_no_clean_prompt_reaches_is_memorized():
    guard = GuidanceGuard({MODEL: CLEAN})
    (low,), (high,), (none,), (other,) = guard.check(
        [subject([0.1, 0.12]), subject([0.9, 0.7]), subject(), subject([0.9], model="sha256:" + "b" * 64)]
    )
    assert low.facts["guidance_memorized"] is False
    assert 0.3 < low.score < 0.7
    assert high.facts["guidance_memorized"] is True
    assert high.score >= high.threshold == 0.99
    assert (none.facts["guidance_traced"], none.score) == (False, 0.0)
    assert (other.facts["guidance_calibrated"], other.facts["guidance_memorized"]) == (False, False)


def test_too_few_clean_prompts_decide_nothing():
    few = GuidanceCalibration((0.1, 0.2, 0.3), target=0.01)
    assert not few.supported
    ((found,),) = GuidanceGuard({MODEL: few}).check([subject([99.0])])
    assert (found.score, found.facts["guidance_calibrated"]) == (0.0, False)


@pytest.mark.parametrize("trace", [{}, {"local": []}, {"local": "no"}, {"local": [None]}, 3])
def test_a_broken_trace_is_no_measurement(trace):
    with pytest.raises(GuardUnavailable):
        magnitude(trace)


def test_calibrations_come_back(tmp_path):
    path = tmp_path / "guidance.json"
    write_calibration(path, MODEL, CLEAN)
    write_calibration(path, "sha256:" + "c" * 64, GuidanceCalibration((1.0,), target=0.5))
    assert read_calibrations(path)[MODEL] == CLEAN
    assert len(read_calibrations(path)) == 2
    path.write_text('{"schema_version": 1, "models": {"x": {"clean": [3, 1], "target": 0.1}}}')
    with pytest.raises(UsageError):
        read_calibrations(path)
    with pytest.raises(GuardUnavailable):
        GuidanceGuard(path).check([subject([0.1])])
