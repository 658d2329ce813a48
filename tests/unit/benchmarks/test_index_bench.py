"""The bench of the index runs at a small size, and a few kills lose nothing."""

import json

import cv2
import pytest
from tests.unit.guardrails.memorization.test_copies import drawing

from clearmark.benchmarks import index
from clearmark.benchmarks._index_kills import kill_writers


def test_twelve_kills_lose_nothing(tmp_path):
    report = kill_writers(tmp_path, 12)
    assert report.ok, report
    assert report.acknowledged > 0
    assert sum(report.during.values()) == 12


def test_bench_at_a_small_size(capsys):
    assert index.main(["--items", "3000", "--hashes", "70000", "--queries", "8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["recall_at_1_cosine_0.75"] == 1.0
    assert report["hashes_found"] == 1.0
    assert report["hot_bytes"] == 96.0


def test_a_whole_check_is_measured_among_the_key_points_of_all_items(tmp_path, capsys):
    for folder, seeds in (("own", range(9)), ("others", range(20, 23))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            cv2.imwrite(str(tmp_path / folder / f"{seed}.png"), drawing(seed))
    words = ["--items", "2000", "--queries", "3", "--parts", "search", "--pictures", str(tmp_path / "own")]
    assert index.main([*words, "--strangers", str(tmp_path / "others"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["copies_found_first"] == 1.0
    assert report["posting_bytes"] == pytest.approx(18 * 128, rel=0.01)
    assert {"check_ms", "check_nothing_near_ms", "build_per_second"} <= set(report["bars"])
    assert min(report["key_points_ms"], report["check_no_copy_ms"]) > 0
