"""What a power cut leaves of the checkpoint log is passed over; anything else that is no note is reported."""

import itertools

import pytest

from clearmark.audits.ledger._checkpoint_log import SECTOR, CheckpointLog


@pytest.fixture(name="raw")
def written(tmp_path):
    """Notes of about 200 bytes and growing, so that lines begin at all places near the end of a sector."""
    log = CheckpointLog(tmp_path / "made.log")
    for number in range(60):
        log.append(f"example.com/pictures\n{number}\n{'x' * (150 + number)}\n")
    return log.path.read_bytes()


def read(tmp_path, raw):
    log = CheckpointLog(tmp_path / "cut.log")
    log.path.write_bytes(raw)
    return list(log.notes())


def parts(raw):
    """Return the pieces (start, end) of lines by sector: each may be lost alone."""
    ends, at = [], 0
    for line in raw.splitlines(keepends=True):
        end = at + len(line)
        cuts = [at, *range((at // SECTOR + 1) * SECTOR, end, SECTOR), end]
        ends.append(list(itertools.pairwise(cuts)))
        at = end
    return ends


def test_any_line_may_be_lost_with_any_part_of_its_neighbours(raw, tmp_path):
    lines = parts(raw)
    short = 0
    for number in range(1, len(lines) - 1):
        near = [*lines[number - 1], *lines[number], *lines[number + 1]]
        for lost in itertools.product((False, True), repeat=len(near)):
            cut = bytearray(raw)
            for (start, end), gone in zip(near, lost, strict=True):
                if gone:
                    cut[start:end] = bytes(end - start)
            assert None not in read(tmp_path, bytes(cut)), (number, lost)
        start, end = lines[number + 1][0]
        short += end - start < len('{"note": ')
    assert short >= 1  # a line of which less than its beginning stands before the sector ends


def test_zeros_of_another_kind_are_reported(raw, tmp_path):
    line = parts(raw)[20]
    start, end = line[0][0], line[-1][1]
    inside = next(at for at in range(start + 20, end - 20) if at % SECTOR not in {0, SECTOR - 1})
    for size in (1, 5):
        cut = bytearray(raw)
        cut[inside : inside + size] = bytes(size)
        assert None in read(tmp_path, bytes(cut))
    # Zeros to the end of a line whose successor does not begin as a note does.
    cut = bytearray(raw)
    cut[start : end + 1] = bytes(end + 1 - start)
    assert None in read(tmp_path, bytes(cut))
