"""Ids are drawn many at a time: none is given twice, in no thread and in no forked process."""

import os
import re
import threading
import uuid

import pytest

from clearmark.core import ids, uuid7


def test_what_it_gives_is_a_version_7_uuid_in_its_canonical_form() -> None:
    for ts_ms in (0, 1, 0x0123456789AB, 2**48 - 1):
        for _ in range(1000):
            text = uuid7(ts_ms)
            known = uuid.UUID(text)
            assert str(known) == text
            assert (known.version, known.variant) == (7, uuid.RFC_4122)
            assert known.int >> 80 == ts_ms
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", uuid7())


def test_all_bits_that_are_not_fixed_are_random() -> None:
    fixed = 0xF << 76 | 0b11 << 62 | (2**48 - 1) << 80
    drawn = [uuid.UUID(uuid7(0)).int & ~fixed for _ in range(2000)]
    for bit in range(76):
        if not fixed >> bit & 1:
            share = sum(value >> bit & 1 for value in drawn) / len(drawn)
            assert 0.4 < share < 0.6, bit


def test_threads_are_given_different_ids() -> None:
    found: list[list[str]] = [[] for _ in range(16)]

    def work(mine: list[str]) -> None:
        mine += [uuid7(0) for _ in range(2000)]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({text for mine in found for text in mine}) == 16 * 2000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_is_given_other_ids_than_its_parent() -> None:
    uuid7()
    assert ids._DRAWN  # what the child must not use
    end, start = os.pipe()
    child = os.fork()
    if not child:
        os.write(start, "\n".join(uuid7(0) for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = set(os.read(end, 65_536).decode().split("\n"))
    os.close(end)
    os.close(start)
    assert len(theirs) == 100
    assert not theirs & {uuid7(0) for _ in range(1000)}
