"""Fitting all guards again: every step is a module that takes what it is given."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from clearmark.guardrails._shipping import ship
from clearmark.guardrails.fit_all import STEPS, main


def _given(folder: Path) -> list[str]:
    return [
        part for name in sorted({n for s in STEPS for n in s.needs}) for part in (f"--{name}", str(folder))
    ]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_step_knows_its_options(step: object, tmp_path: Path) -> None:
    assert step in STEPS
    one = STEPS[STEPS.index(step)]  # type: ignore[arg-type]
    done = subprocess.run(
        [*one.command(dict.fromkeys(one.needs, tmp_path)), "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(f"--{name}" in done.stdout for name in one.needs)
    assert not one.job or one.job in done.stdout


def test_what_is_missing_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "logos", "--icons", str(tmp_path / "none")]) == 2
    told = capsys.readouterr().err
    assert "--photos is missing" in told
    assert "there is no" in told


def test_a_dry_run_names_every_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", *_given(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(STEPS)


def test_weights_that_were_fitted_anew_are_those_on_record(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    catalogue = tmp_path / "models" / "catalogue.json"
    models = [
        {"id": "one", "files": [{"path": "old", "sha256": "0", "size": 0}]},
        {"id": "other", "files": []},
    ]
    catalogue.write_text(json.dumps({"models": models}))
    digest = ship("one", "models/weights/one.npz", b"weights", root=tmp_path)
    one, other = json.loads(catalogue.read_text())["models"]
    assert (tmp_path / "models" / "weights" / "one.npz").read_bytes() == b"weights"
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert one["files"] == [{"path": "models/weights/one.npz", "sha256": digest, "size": 7}]
    assert other["files"] == []
    with pytest.raises(LookupError, match="third"):
        ship("third", "models/weights/third.npz", b"weights", root=tmp_path)
    assert not (tmp_path / "models" / "weights" / "third.npz").exists()
