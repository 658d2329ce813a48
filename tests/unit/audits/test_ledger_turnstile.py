"""The queue of processes: in turn, given back by the dead, bounded in time, harmless where it cannot be."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from clearmark.audits.ledger._turnstile import TurnNotCome, Turnstile

HOLD = """
import sys
from pathlib import Path
from clearmark.audits.ledger._turnstile import Turnstile
with Turnstile(Path(sys.argv[1])).turn(60):
    print("in", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(name="path")
def fresh_path(tmp_path):
    return tmp_path / "ledger.db"


def holder(path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "in\n"
    return child


def ended(child):
    child.wait(timeout=30)
    child.stdin.close()
    child.stdout.close()


def test_one_at_a_time_and_the_dead_give_back(path):
    child = holder(path)
    mine = Turnstile(path)
    with pytest.raises(TurnNotCome), mine.turn(0.05):
        pass
    child.send_signal(signal.SIGKILL)
    ended(child)
    with mine.turn(30):
        pass
    mine.close()


def test_who_waited_too_long_blocks_nobody_later(path):
    child = holder(path)
    impatient, patient = Turnstile(path), Turnstile(path)
    for _ in range(3):
        with pytest.raises(TurnNotCome), impatient.turn(0.02):
            pass
    threading.Timer(0.1, lambda: child.stdin.write("\n") and child.stdin.flush()).start()
    with patient.turn(30):
        pass
    with impatient.turn(30):
        pass
    ended(child)
    impatient.close()
    patient.close()


def test_who_comes_in_a_loop_has_to_stand_behind_those_who_wait(path):
    order, stop = [], time.monotonic() + 60
    stiles = [Turnstile(path) for _ in range(4)]

    def work(place):
        for _ in range(25):
            with stiles[place].turn(stop - time.monotonic()):
                order.append(place)
                time.sleep(0.002)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stile in stiles:
        stile.close()
    assert sorted(order) == sorted(list(range(4)) * 25)
    # While all four are in the loop, nobody gets two turns more than another between two of its own.
    middle = order[8:80]
    repeats = sum(one == two for one, two in itertools.pairwise(middle))
    assert repeats < len(middle) // 4


def test_without_such_files_the_block_runs_at_once(tmp_path):
    with Turnstile(tmp_path / "absent" / "ledger.db").turn(1):
        pass


def test_a_forked_child_does_not_keep_the_place_of_its_parent(path):
    mine = Turnstile(path)
    read, write = os.pipe()
    with mine.turn(5):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        held = mine._files
    # The parent closes its files as its death would; the child lives on.
    assert held is not None
    mine.close()
    other = Turnstile(path)
    with other.turn(5):
        pass
    other.close()
    os.close(write)
    os.close(read)
    os.waitpid(child, 0)
