from __future__ import annotations

import json

from clearmark.benchmarks import overhead

from .conftest import apple


def test_every_stage_is_measured_against_the_bare_generator(tmp_path, capsys) -> None:
    apple().save(tmp_path / "apple.png")
    assert overhead.main(["--json", "--backend", f"file:{tmp_path / 'apple.png'}"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["stages_ms"]) == set(overhead.STAGES)
    assert all(report["stages_ms"][stage] > 0 for stage in overhead.STAGES)
    assert set(report["mark_layers_ms"]) >= {"label", "metadata", "watermark", "manifest"}
    assert report["added_to_bare"] == report["added_ms"] / report["bare_generation_ms"]
