"""The guard that reads the trace of guidance: calibrated by model, and silent about what is not measured."""

import numpy as np
import PIL.Image
import pytest
from tests.contract.guard_contract import GuardContract

from clearmark.core import Asset, Origin, Request, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.core.pixels import encode_png
from clearmark.guardrails.memorization.generation import (
    DRIFT,
    TRACE,
    GuidanceCalibration,
    GuidanceGuard,
    drift_of,
    magnitude,
    read_calibrations,
    write_calibration,
)

MODEL = "sha256:" + "a" * 64
PNG = encode_png(PIL.Image.new("RGB", (8, 8), "red"))
CLEAN = GuidanceCalibration(tuple(n / 1000 for n in range(200)), target=0.01)


def subject(local=None, model=MODEL, drift=None):
    parameters = {} if local is None else {TRACE: {"times": [999.0], "whole": local, "local": local}}
    parameters |= {} if drift is None else {DRIFT: drift}
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


BOTH = GuidanceCalibration(CLEAN.clean, target=0.01, drift=tuple(0.2 + n / 1000 for n in range(200)))


def test_little_drift_is_memorized():
    guard = GuidanceGuard({MODEL: BOTH})
    (still,), (usual,), (alone,) = guard.check([
        subject([0.1], drift=0.01), subject([0.1], drift=0.3), subject(drift=0.01)
    ])  # fmt: skip
    assert still.facts["guidance_memorized"] is True
    assert still.score == pytest.approx(1 - 2 / 201)  # looked at twice
    assert usual.facts["guidance_memorized"] is False
    assert (alone.facts["guidance_traced"], alone.facts["guidance_memorized"]) == (False, True)
    assert alone.score == pytest.approx(1 - 1 / 201)


def test_clean_prompts_alarm_no_oftener_for_two_signs():
    """Magnitudes and drifts of prompts like the clean ones, each drawn apart: one in a hundred at most."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(40):
        clean, drift = (tuple(sorted(rng.normal(size=250).tolist())) for _ in range(2))
        known = GuidanceCalibration(clean, target=0.01, drift=drift)
        alarms += sum(known.weigh(*pair) <= 0.01 for pair in rng.normal(size=(250, 2)).tolist())
    assert alarms <= 0.01 * 40 * 250 + 3 * (0.01 * 40 * 250) ** 0.5


def test_too_few_for_two_signs_are_enough_for_drift():
    few = GuidanceCalibration(tuple(n / 99 for n in range(99)), 0.01, tuple(1 + n / 99 for n in range(99)))
    assert few.weigh(99.0, 1.5) > 0.4
    assert few.weigh(0.5, 0.1) == 0.01
    assert few.weigh(99.0, None) == 0.01
    assert few.weigh(None, None) is None


@pytest.mark.parametrize("drift", ["low", True, float("nan"), [0.1]])
def test_a_drift_that_is_no_figure_is_no_measurement(drift):
    with pytest.raises(GuardUnavailable):
        drift_of({DRIFT: drift})


def test_files_without_drift_are_read(tmp_path):
    path = tmp_path / "guidance.json"
    path.write_text('{"schema_version": 1, "models": {"x": {"clean": [1, 3], "target": 0.1}}}')
    assert read_calibrations(path)["x"] == GuidanceCalibration((1.0, 3.0), 0.1)
    write_calibration(path, MODEL, BOTH)
    assert read_calibrations(path)[MODEL] == BOTH
