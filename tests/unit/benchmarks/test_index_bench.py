"""The bench of the index runs at a small size, and a few kills lose nothing."""

import json

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
