"""Hundreds of faulty policy files are put in force while requests run: none takes over, nothing breaks."""

import threading
from collections import Counter

from clearmark.benchmarks._policy_slips import TEXT, slipped
from clearmark.sdk import Studio

FILES = 300


def test_bad_policy_files_under_a_running_studio(apple, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(TEXT, encoding="utf-8")
    crashed: list[BaseException] = []
    results = Counter()
    outcomes = Counter()
    stop = threading.Event()
    with Studio.from_policy(str(path), home=tmp_path / "home", backend=f"file:{apple}") as studio:
        first = studio.policy

        def request(number):
            try:
                while not stop.is_set():
                    results[studio.generate("a red apple", actor=f"user-{number}").verdict.word] += 1
            except BaseException as exc:  # noqa: BLE001  whatever it is, it is the finding
                crashed.append(exc)

        threads = [threading.Thread(target=request, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        texts = ["", "schema: [", "\0", *(slipped(seed)[1][0] for seed in range(FILES - 3))]
        for text in texts:
            path.write_text(text, encoding="utf-8")
            outcomes[studio.reload_policy().outcome] += 1
            assert studio.policy is first
        path.unlink()
        outcomes[studio.reload_policy().outcome] += 1
        stop.set()
        for thread in threads:
            thread.join()
        assert crashed == []
        assert results.total() >= 2
        assert outcomes == {"rejected": FILES + 1}

        rejected = list(studio.ledger.events(kind="policy.rejected"))
        assert len(rejected) == FILES + 1
        assert all(event.body["faults"] for event in rejected)
        decided = list(studio.ledger.events(kind="output.decided"))
        assert {event.body["policy"]["digest"] for event in decided} == {first.ref.digest}

        path.write_text(TEXT.replace("hate: 0.4", "hate: 0.3"), encoding="utf-8")
        assert studio.reload_policy().outcome == "loaded"
        assert studio.policy is not first
        assert studio.generate("a red apple").receipt.verify(studio.ledger.verifier_key)
        assert studio.ledger.verify().ok
