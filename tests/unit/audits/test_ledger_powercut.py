"""The power fails or the disk breaks at any moment: what was acknowledged is there and sound.

The recording stands in `clearmark.benchmarks._chaos_disk`; `make chaos` cuts by the thousand.
CLEARMARK_POWERCUT_ROUNDS sets the number of cuts here; needs a C compiler.
"""

import os
import random
import shutil
import sys

import pytest

from clearmark.benchmarks._chaos_disk import Disk, faults, library, power_cuts, recorded
from clearmark.benchmarks._chaos_zygote import zygote

ROUNDS = int(os.environ.get("CLEARMARK_POWERCUT_ROUNDS", "25"))

if (shutil.which("cc") or shutil.which("gcc")) is None or not sys.platform.startswith("linux"):
    pytest.skip("needs a C compiler on Linux", allow_module_level=True)

BAD = ("lost", "doubled", "gaps", "tampered", "unopened")


def quiet(_):
    pass


def test_the_recording_is_complete(tmp_path):
    with zygote(tmp_path, {"LD_PRELOAD": str(library(tmp_path))}) as (process, signer):
        recording = recorded(process, tmp_path / "run")
    disk = Disk(random.Random(1))
    for operation in recording.operations:
        disk.apply(operation)
    assert sum(what == "S" for what, *_ in recording.operations) > 10
    assert len(disk.account.acknowledged) == len(disk.account.tried) == 3 * sum(1 + n % 4 for n in range(25))
    # What was recorded makes the very files that the process left.
    for name, raw in disk.in_the_end().items():
        if not name.endswith("-shm"):
            assert raw == (recording.home / name).read_bytes(), name
    assert not any(disk.account.check(recording.home / "ledger.db", signer).values())


def test_power_cuts():
    done = power_cuts(ROUNDS, seed=29, moved=quiet)
    assert done["acknowledged_at_stake"] > ROUNDS
    assert not any(done[name] for name in BAD), done


def test_the_cuts_are_real():
    """With SQLite's weaker setting, which many use for logs, acknowledged events are lost and it shows."""
    done = power_cuts(20, seed=31, moved=quiet, weak=True)
    assert any(done[name] for name in BAD)


def test_a_disk_that_fails_is_an_error_before_acknowledgement():
    done = faults(10, seed=5, moved=quiet)
    assert done["injected"] >= 4
    assert done["refused"] >= 3
    assert not any(done[name] for name in (*BAD, "silent")), done
