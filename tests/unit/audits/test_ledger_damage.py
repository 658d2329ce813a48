"""Whatever is changed in a ledger is found, the first bad event is named, and nothing crashes."""

import os
import random
import shutil
import sqlite3
from contextlib import closing, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearmark.audits import Ledger, NoteSigner
from clearmark.audits.ledger._merkle import hash_leaf
from clearmark.core import Event
from clearmark.core.errors import Error

SIGNER = NoteSigner.generate("example.com/pictures")
VAULT_KEY = os.urandom(32)
COUNT = 300


def opened(path, **options):
    return Ledger.open(path, **{"signer": SIGNER, "vault_key": VAULT_KEY, **options})


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A closed ledger of 300 events: a whole tile, marks, personal data, an erasure, rows of any length."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    rng = random.Random(7)
    with opened(path) as ledger:
        for start in range(0, COUNT - 1, 23):
            ledger.append(
                [
                    Event(
                        kind="output.decided",
                        request_id=f"request-{number}",
                        body={
                            "number": number,
                            "text": "x" * rng.choice([0, 40, 300, 9000 if number % 50 == 0 else 80]),
                        },
                        mark_ids=(f"{number:016x}",) if number % 3 == 0 else (),
                        personal={"prompt": b"a picture of an apple"} if number % 4 == 0 else {},
                        subject=f"user-{number % 5}",
                    )
                    for number in range(start, min(start + 23, COUNT - 1))
                ]
            )
        ledger.erase("user-3")
        assert ledger.size == COUNT
        assert ledger.verify().ok
    return path


@pytest.fixture
def path(original, tmp_path):
    return copied(original, tmp_path)


def copied(original, folder):
    for file in original.parent.iterdir():
        shutil.copy(file, folder / file.name)
    return folder / original.name


def changed(path, *statements):
    """Change a database as somebody does who owns it: without its triggers, and putting them back."""
    with sqlite3.connect(path) as conn:
        triggers = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            conn.execute(f"DROP TRIGGER {name}")
        for statement, *values in statements:
            conn.execute(statement, values)
        for _, sql in triggers:
            conn.execute(sql)
    conn.close()


def report_of(path):
    with opened(path) as ledger:
        return ledger.verify()


def named(report):
    return {check.name for check in report.checks if not check.ok}


COLUMNS = ["event_id", "ts_us", "tenant", "kind", "request_id", "envelope", "leaf_hash"]


@given(
    seq=st.integers(0, COUNT - 1),
    column=st.sampled_from(COLUMNS),
    place=st.floats(0, 1),
    bit=st.integers(0, 7),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_flipped_bit_in_a_value_names_its_event(original, tmp_path, seq, column, place, bit):
    path = copied(original, tmp_path)
    with sqlite3.connect(path) as conn:
        value = conn.execute(f"SELECT {column} FROM event WHERE seq = ?", (seq,)).fetchone()[0]
    conn.close()
    if isinstance(value, int):
        value ^= 1 << bit
        changed(path, (f"UPDATE event SET {column} = ? WHERE seq = ?", value, seq))
    else:
        raw = bytearray(value.encode() if isinstance(value, str) else value)
        raw[min(int(place * len(raw)), len(raw) - 1)] ^= 1 << bit
        how = "CAST(? AS TEXT)" if isinstance(value, str) else "?"
        changed(path, (f"UPDATE event SET {column} = {how} WHERE seq = ?", bytes(raw), seq))
    report = report_of(path)
    assert not report.ok
    assert report.first_bad == seq
    assert "events" in named(report)


def rows_in_file(path):
    """Return where event rows stand in the file: {sequence number: (start, end)}."""
    raw = path.read_bytes()
    with sqlite3.connect(path) as conn:
        rows = conn.execute("SELECT seq, event_id, envelope, leaf_hash FROM event").fetchall()
    conn.close()
    found = {}
    for seq, event_id, envelope, leaf in rows:
        end = raw.find(envelope + leaf)
        start = raw.rfind(event_id.encode(), 0, end)
        if end >= 0 and 0 < end - start < 400:
            # From the record header (at most 16 bytes before the first value) to the end of the leaf hash.
            found[seq] = (start - 16, end + len(envelope) + len(leaf))
    return found


def kept(path, original, seq):
    """Tell whether the bytes of event `seq`, or else its leaf hash, are still those of the original."""
    for column in ("envelope", "leaf_hash"):
        query = f"SELECT {column} FROM event WHERE seq = ?"
        with closing(sqlite3.connect(original)) as whole, closing(sqlite3.connect(path)) as conn:
            was = whole.execute(query, (seq,)).fetchone()
            with suppress(sqlite3.Error):
                if conn.execute(query, (seq,)).fetchone() == was:
                    return True
    return False


def test_flipped_bytes_of_rows_in_the_file_itself(original, tmp_path):
    places = rows_in_file(original)
    assert len(places) > 200
    rng = random.Random(11)
    raw = original.read_bytes()
    path = copied(original, tmp_path)
    for seq in rng.sample(sorted(places), 30):
        start, end = places[seq]
        # Half of the flips hit the record header, where lengths and types stand.
        at = rng.randrange(start + 5, start + 16) if seq % 2 else rng.randrange(start, end)
        flipped = bytearray(raw)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        report = report_of(path)
        assert not report.ok, (seq, at)
        named = {seq, seq + 1} if at < start + 3 else {seq}
        if seq >= 256 and not kept(path, original, seq):
            # No tile has its hash: nobody can tell whether those before it in its commit are sound.
            assert any(f"event {seq} " in check.detail for check in report.checks)
            named = {seq // 23 * 23}
        assert report.first_bad in named, (seq, at - start)


def test_any_flipped_byte_of_any_file_never_crashes(original, tmp_path):
    path = copied(original, tmp_path)
    rng = random.Random(3)
    found = 0
    files = [path, path.with_name("ledger.checkpoints.log")]
    whole = {file: file.read_bytes() for file in files}
    for turn in range(60):
        file = files[turn % 10 == 0]
        raw = bytearray(whole[file])
        at = rng.randrange(100) if turn % 5 == 1 else rng.randrange(len(raw))
        raw[at] ^= 1 << rng.randrange(8)
        file.write_bytes(raw)
        try:
            with opened(path) as ledger:
                report = ledger.verify()
                found += not report.ok
                report.to_dict()
        except Error:
            found += 1
        for each, content in whole.items():
            each.write_bytes(content)
    # What is not found lies in the unused parts of pages.
    assert found > 25
    assert report_of(path).ok


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 5000, 40_000])
def test_a_file_that_was_cut(path, size):
    raw = path.read_bytes()
    path.write_bytes(raw[:size])
    with opened(path) as ledger:
        report = ledger.verify()
        assert not report.ok
        with pytest.raises(Error):
            ledger.append([Event(kind="a", request_id="r")])


def test_cut_tail(path):
    changed(
        path,
        ("DELETE FROM personal WHERE seq >= 290",),
        ("DELETE FROM mark WHERE seq >= 290",),
        ("DELETE FROM checkpoint WHERE size > 290",),
        ("DELETE FROM event WHERE seq >= 290",),
    )
    report = report_of(path)
    # Commits are of 23 events. What no checkpoint vouches for may have been changed before the rest was cut.
    assert report.first_bad == 276
    assert any("the database holds 290" in check.detail for check in report.checks)
    assert "checkpoint-log" in named(report)


def test_missing_swapped_and_inserted_events(original, tmp_path):
    path = copied(original, tmp_path)
    changed(path, ("DELETE FROM event WHERE seq = 100",))
    assert report_of(path).first_bad == 100
    path = copied(original, tmp_path)
    changed(
        path,
        ("UPDATE event SET seq = -1 WHERE seq = 41",),
        ("UPDATE event SET seq = 41 WHERE seq = 40",),
        ("UPDATE event SET seq = 40 WHERE seq = -1",),
    )
    assert report_of(path).first_bad == 40
    path = copied(original, tmp_path)
    changed(
        path,
        (
            "INSERT INTO event SELECT 300, 'another', ts_us, tenant, kind, request_id, envelope, leaf_hash, "
            "NULL FROM event WHERE seq = 5",
        ),
    )
    assert report_of(path).first_bad == 300


def rewritten(conn, seq):
    """Return the envelope of event `seq` with another body, and its leaf hash."""
    envelope = conn.execute("SELECT envelope FROM event WHERE seq = ?", (seq,)).fetchone()[0]
    forged = envelope.replace(b'"number":', b'"Number":')
    return forged, hash_leaf(forged)


@pytest.mark.parametrize("seq", [3, 260, 299 - 9])
def test_an_event_rewritten_with_its_hash(path, seq):
    with sqlite3.connect(path) as conn:
        forged, leaf = rewritten(conn, seq)
    conn.close()
    changed(path, ("UPDATE event SET envelope = ?, leaf_hash = ? WHERE seq = ?", forged, leaf, seq))
    report = report_of(path)
    assert not report.ok
    if seq < 256:
        assert report.first_bad == seq  # its tile names it
    else:
        assert report.first_bad <= seq < report.first_bad + 23  # the first event of its commit


def test_everything_rewritten_without_the_key(original, tmp_path):
    """Events, tiles and checkpoints made anew, signed by a key of the forger's own under the same name."""
    path = copied(original, tmp_path)
    with opened(path) as ledger:
        events = list(ledger.events())
    forger = NoteSigner.generate(SIGNER.name)
    forged = tmp_path / "forged" / "ledger.db"
    with Ledger.open(forged, signer=forger, vault_key=VAULT_KEY) as ledger:
        ledger.append(
            [
                Event(kind=f"x.{e.kind}", request_id=e.request_id, event_id=e.event_id, ts_us=e.ts_us)
                for e in events
            ]
        )
    changed(forged, ("UPDATE meta SET value = ? WHERE name = 'verifier_key'", SIGNER.verifier_key))
    shutil.copy(forged, path)
    report = report_of(path)
    assert {"checkpoints", "checkpoint-log"} <= named(report)
    assert report.first_bad == 0


def test_rewritten_by_the_keeper_of_the_key(original, tmp_path):
    """The signing key alone does not help either, as long as the checkpoint log is kept elsewhere."""
    path = copied(original, tmp_path)
    with opened(path) as ledger:
        events = list(ledger.events())
    forged = tmp_path / "forged" / "ledger.db"
    with opened(forged) as ledger:
        for e in events:
            ledger.append(
                [Event(kind=f"x.{e.kind}", request_id=e.request_id, event_id=e.event_id, ts_us=e.ts_us)]
            )
    shutil.copy(forged, path)
    report = report_of(path)
    assert named(report) >= {"checkpoint-log"}
    assert report.first_bad == 0
    with opened(path) as ledger, pytest.raises(Error):
        ledger.append([Event(kind="a", request_id="r")])


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("UPDATE tile SET hashes = zeroblob(8192)", "tree"),
        ("UPDATE tile SET root = zeroblob(32)", "tree"),
        ("UPDATE tile SET hashes = x'00'", "tree"),
        ("DELETE FROM tile", "tree"),
        ("INSERT INTO tile SELECT 0, 7, hashes, root FROM tile", "tree"),
        ("INSERT INTO tile SELECT 3, 0, hashes, root FROM tile", "tree"),
        ("UPDATE checkpoint SET note = replace(note, 'A', 'B')", "checkpoints"),
        ("UPDATE checkpoint SET note = x'ff00'", "checkpoints"),
        ("UPDATE checkpoint SET size = size + 1000", "checkpoints"),
        ("DELETE FROM mark WHERE seq = 30", "marks"),
        ("INSERT INTO mark VALUES ('00000000000000ff', 4)", "marks"),
        ("UPDATE mark SET seq = 31 WHERE seq = 30", "marks"),
        ("UPDATE mark SET seq = 'x' WHERE seq = 30", "marks"),
        ("DELETE FROM personal WHERE seq = 4", "personal"),
        ("UPDATE personal SET sealed = zeroblob(60) WHERE seq = 4", "personal"),
        ("UPDATE personal SET sealed = NULL WHERE seq = 4", "personal"),
        (
            "UPDATE personal SET sealed = (SELECT sealed FROM personal WHERE seq = 24) WHERE seq = 4",
            "personal",
        ),
        ("UPDATE personal SET sealed = NULL, key_id = NULL, erasure = 'none' WHERE seq = 4", "personal"),
        ("DELETE FROM subject_key", "personal"),
        ("UPDATE subject_key SET wrapped = zeroblob(60)", "personal"),
        ("DELETE FROM meta", "database"),
        ("UPDATE meta SET value = 'x'  WHERE name = 'verifier_key' AND 0", ""),
        ("CREATE TABLE other (a)", "database"),
        ("DROP INDEX event_request", "database"),
        ("UPDATE event SET envelope = x'', pruned = 'none' WHERE seq = 17", "events"),
        ("UPDATE event SET pruned = 'none' WHERE seq = 17", "events"),
        ("UPDATE event SET envelope = x'' WHERE seq = 17", "events"),
        ("DROP TABLE tile", "tree"),
        ("DROP TABLE event", "events"),
    ],
)
def test_changes_outside_the_events(path, statement, check):
    conn = sqlite3.connect(path)
    triggers = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        conn.execute(f"DROP TRIGGER {name}")
    conn.execute(statement)
    for _, sql in triggers:
        try:
            conn.execute(sql)
        except sqlite3.OperationalError:
            assert "DROP TABLE" in statement
    conn.commit()
    conn.close()
    report = report_of(path)
    assert report.ok == (not check)
    if check:
        assert check in named(report)


def test_missing_triggers_are_seen(path):
    with sqlite3.connect(path) as conn:
        conn.execute("DROP TRIGGER event_no_update")
    conn.close()
    report = report_of(path)
    assert named(report) == {"database"}
    assert "event_no_update" in report.checks[0].detail


def test_checkpoint_log_that_was_changed(original, tmp_path):
    path = copied(original, tmp_path)
    log = path.with_name("ledger.checkpoints.log")
    lines = log.read_bytes().splitlines(keepends=True)
    log.unlink()
    assert named(report_of(path)) == {"checkpoint-log"}
    log.write_bytes(b"".join(lines[:5]) + b"garbage\n" + b"".join(lines[5:]))
    assert "line 6" in next(check.detail for check in report_of(path).checks if not check.ok)
    # A line cut short by a crash is no alarm, and the next note takes its place.
    log.write_bytes(b"".join(lines) + lines[-1][:50])
    with opened(path) as ledger:
        assert ledger.verify().ok
        ledger.append([Event(kind="a", request_id="r")])
        assert ledger.verify().ok


def test_reading_refuses_what_was_changed(path):
    with opened(path) as ledger:
        victim = ledger.find_request("request-7")[0]
    changed(path, ("UPDATE event SET envelope = replace(envelope, '7', '8') WHERE seq = 7",))
    changed(path, ("UPDATE event SET kind = 'result.released' WHERE seq = 8",))
    with opened(path) as ledger:
        for call in (ledger.get, ledger.receipt, ledger.personal):
            with pytest.raises(Error, match="event 7"):
                call(victim.event_id)
        with pytest.raises(Error, match="event 8"):
            ledger.find_request("request-8")


def test_a_zero_in_the_checkpoint_log_is_no_power_cut(original, tmp_path):
    """Only whole sectors of zeros are what a power cut leaves."""
    path = copied(original, tmp_path)
    log = path.with_name("ledger.checkpoints.log")
    raw = bytearray(log.read_bytes())
    at = raw.index(b" ", raw.index(b"\n"))
    raw[at] = 0
    log.write_bytes(bytes(raw))
    assert not report_of(path).ok
