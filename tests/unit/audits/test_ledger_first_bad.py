"""The event that verification names is the first that cannot be vouched for, whatever else was changed."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from clearmark.audits import Ledger, NoteSigner, verify_export
from clearmark.audits.ledger._merkle import hash_leaf, root_of
from clearmark.core import Event
from clearmark.core.errors import Error

SIGNER = NoteSigner.generate("example.com/pictures")
VAULT_KEY = bytes(32)
STANDALONE = Path(__file__).parents[3] / "audits" / "verify_standalone.py"
COMMIT = 12
PRUNED = (1, 5, 9)


def opened(path):
    return Ledger.open(path, signer=SIGNER, vault_key=VAULT_KEY)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """276 events in commits of 12, one of them across the end of the tile; events 1, 5 and 9 are pruned."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with opened(path) as ledger:
        for start in range(0, 276, COMMIT):
            events = [
                Event(
                    kind="old" if number in PRUNED else "output.decided",
                    request_id=f"r-{number}",
                    body={"number": number},
                    mark_ids=(f"{number:016x}",) if number % 10 == 0 else (),
                    personal={"prompt": b"an apple"} if number % 10 == 0 else {},
                    subject=f"user-{number}",
                )
                for number in range(start, start + COMMIT)
            ]
            ledger.append(events)
        for event in ledger.events(kind="old"):
            (path.parent / f"{event.seq}.event").write_bytes(event.envelope)
        assert ledger.prune(before=2**53 - 1, kind="old").events == len(PRUNED)
        ledger.append([Event(kind="output.decided", request_id=f"r-{n}", body={"n": n}) for n in range(6)])
        assert ledger.verify().ok
    return path


@pytest.fixture
def path(original, tmp_path):
    for file in original.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / original.name


def report_of(path):
    with opened(path) as ledger:
        return ledger.verify()


class Hand:
    """Somebody who owns the database: changes it without its triggers, and puts them back."""

    def __init__(self, conn):
        self.conn = conn

    def rewrite(self, seq):
        (envelope,) = self.conn.execute("SELECT envelope FROM event WHERE seq = ?", (seq,)).fetchone()
        made = envelope.replace(b'"number":', b'"Number":')
        row = (made, hash_leaf(made), seq)
        self.conn.execute("UPDATE event SET envelope = ?, leaf_hash = ? WHERE seq = ?", row)

    def exchange(self, one, two):
        for old, new in ((one, -1), (two, one), (-1, two)):
            self.conn.execute("UPDATE event SET seq = ? WHERE seq = ?", (new, old))

    def shift(self, start):
        self.conn.execute("UPDATE event SET seq = -seq - 1 WHERE seq >= ?", (start,))
        self.conn.execute("UPDATE event SET seq = -seq WHERE seq < 0")

    def fit_tile(self):
        query = "SELECT leaf_hash FROM event ORDER BY seq LIMIT 256"
        leaves = [row[0] for row in self.conn.execute(query)]
        self.conn.execute("UPDATE tile SET hashes = ?, root = ?", (b"".join(leaves), root_of(leaves)))


@pytest.fixture
def changed(path):
    def apply(work):
        with closing(sqlite3.connect(path)) as conn:
            triggers = conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                conn.execute(f"DROP TRIGGER {name}")
            work(Hand(conn))
            for _, sql in triggers:
                conn.execute(sql)
            conn.commit()
        return report_of(path)

    return apply


def words(report):
    return "; ".join(check.detail for check in report.checks if not check.ok)


def test_an_event_slipped_in_among_pruned_ones_is_behind_the_last_checkpoint_that_agrees(changed):
    """The record of the pruning fits no more, but that does not tell where the log was rewritten."""

    def work(hand):
        (envelope,) = hand.conn.execute("SELECT envelope FROM event WHERE seq = 3").fetchone()
        row = {**json.loads(envelope), "event_id": "forged", "body": {}}
        hand.shift(3)
        made = json.dumps(row, sort_keys=True, separators=(",", ":")).encode()
        values = (row["ts_us"], row["tenant"], row["kind"], row["request_id"], made, hash_leaf(made))
        hand.conn.execute("INSERT INTO event VALUES (3, 'forged', ?, ?, ?, ?, ?, ?, NULL)", values)
        hand.fit_tile()

    report = changed(work)
    assert report.first_bad == 0
    assert "3 events have no bytes by" in words(report)


@pytest.mark.parametrize(("one", "two"), [(9, 100), (3, 9), (9, 260), (2, 5)])
def test_an_exchange_with_a_pruned_event_is_told_by_the_tile(changed, one, two):
    """The record of the pruning vouches for the places that the tile tells, so that event 1 is sound."""
    report = changed(lambda hand: hand.exchange(one, two))
    assert report.first_bad == one
    assert "no bytes by" not in words(report)


def test_an_exchange_with_a_pruned_event_where_the_tile_was_made_to_fit(changed):
    def work(hand):
        hand.exchange(9, 100)
        hand.fit_tile()

    assert changed(work).first_bad == 0


@pytest.mark.parametrize("back", [1, 9])
def test_pruned_against_the_record_under_cover_of_an_exchange(original, changed, back):
    """A forged tile does not make a record vouch for what it never took: event 3 was not to be pruned."""
    envelope = (original.parent / f"{back}.event").read_bytes()

    def work(hand):
        query = "SELECT pruned, leaf_hash FROM event WHERE seq IN (?, 3) ORDER BY seq = 3"
        (by, was), (_, leaf) = hand.conn.execute(query, (back,)).fetchall()
        hand.conn.execute("UPDATE event SET envelope = x'', pruned = ? WHERE seq = 3", (by,))
        hand.conn.execute("UPDATE event SET envelope = ?, pruned = NULL WHERE seq = ?", (envelope, back))
        (hashes,) = hand.conn.execute("SELECT hashes FROM tile").fetchone()
        hand.conn.execute("UPDATE tile SET hashes = ?", (hashes.replace(was, leaf),))

    report = changed(work)
    assert report.first_bad == 1
    assert "checkpoint" not in words(report)


@pytest.mark.parametrize(
    ("first", "behind"), [(3, 4), (3, 40), (3, 262), (253, 254), (253, 258), (260, 261), (260, 270)]
)
def test_an_open_change_does_not_hide_one_before_it_that_was_made_to_fit(changed, first, behind):
    def work(hand):
        hand.rewrite(first)
        hand.fit_tile()
        hand.conn.execute("UPDATE event SET request_id = 'another' WHERE seq = ?", (behind,))

    report = changed(work)
    assert report.first_bad == first // COMMIT * COMMIT
    assert f"event {behind} has columns" in words(report)


@pytest.mark.parametrize(("first", "gone", "named"), [(3, 8, 0), (3, 100, 0), (97, 100, 96), (260, 262, 252)])
def test_a_missing_event_does_not_hide_one_before_it_that_was_made_to_fit(changed, first, gone, named):
    def work(hand):
        hand.rewrite(first)
        hand.fit_tile()
        hand.conn.execute("DELETE FROM event WHERE seq = ?", (gone,))

    report = changed(work)
    assert report.first_bad == named
    assert f"event {gone} is missing" in words(report)


@pytest.mark.parametrize(("gone", "named"), [(0, 0), (8, 8), (100, 100), (253, 253), (255, 255), (258, 252)])
def test_a_missing_event_is_named_itself_where_its_hash_is_left(changed, gone, named):
    """Event 258 has no tile: with it goes what could tell whether the rest of its commit is sound."""
    report = changed(lambda hand: hand.conn.execute("DELETE FROM event WHERE seq = ?", (gone,)))
    assert report.first_bad == named
    assert f"event {gone} is missing" in words(report)


@pytest.mark.parametrize("seq", [7, 253, 258, 280])
def test_an_event_with_unreadable_text_is_named_itself(changed, seq):
    """Its hash can still be read, and the next checkpoint shows that it is the recorded one."""
    change = "UPDATE event SET request_id = CAST(x'ff' AS TEXT) WHERE seq = ?"
    assert changed(lambda hand: hand.conn.execute(change, (seq,))).first_bad == seq


def test_an_exchange_across_the_end_of_the_tile_within_one_commit(changed):
    """The tile tells where, but no signature vouches for it: the checkpoint behind it covers both events."""
    assert changed(lambda hand: hand.exchange(253, 258)).first_bad == 252


def test_checkpoints_that_are_no_text_are_named_and_the_others_still_compared(changed):
    def work(hand):
        change = "UPDATE checkpoint SET note = CAST(x'ff' || note AS TEXT) WHERE size IN (24, 48)"
        hand.conn.execute(change)
        change = (
            "UPDATE checkpoint SET note = replace(note, char(10) || '60' || char(10), '61') WHERE size = 60"
        )
        hand.conn.execute(change)

    report = changed(work)
    for size in (24, 48):
        assert f"the checkpoint at {size} cannot be read" in words(report)
    assert "the checkpoint at 60: " in words(report)
    assert report.first_bad is None
    (check,) = [check for check in report.checks if not check.ok]
    assert check.name == "checkpoints"


def test_what_lies_behind_an_unreadable_checkpoint_is_still_compared(changed):
    def work(hand):
        hand.conn.execute("UPDATE checkpoint SET note = CAST(x'ff' AS TEXT) WHERE size = 12")
        hand.rewrite(30)
        hand.fit_tile()

    report = changed(work)
    (check,) = [check for check in report.checks if check.name == "checkpoints"]
    assert check.first_bad == report.first_bad == 24


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("marks", "UPDATE mark SET mark_id = CAST(x'ff' AS TEXT) WHERE seq = 30"),
        ("personal", "UPDATE personal SET name = CAST(x'ff' AS TEXT) WHERE seq = 30"),
        ("personal", "UPDATE personal SET key_id = CAST(x'ff' AS TEXT) WHERE seq = 30"),
    ],
)
def test_what_hangs_on_an_event_and_cannot_be_read_names_it(changed, table, change):
    """And what hangs on later events is still compared."""

    def work(hand):
        hand.conn.execute(change)
        hand.conn.execute("DELETE FROM mark WHERE seq = 40")
        hand.conn.execute("DELETE FROM personal WHERE seq = 40")

    report = changed(work)
    (check,) = [check for check in report.checks if check.name == table]
    assert check.first_bad == report.first_bad == 30
    assert "cannot be read at event 30" in check.detail
    assert "of event 40" in check.detail
    assert "of event 20" not in check.detail
    assert "of event 50" not in check.detail


@pytest.mark.parametrize("by", ["itself", "another"])
def test_the_record_of_a_pruning_that_lost_its_bytes_is_named(changed, by):
    """What pruning and erasing leave on record is never pruned, whatever its row says."""
    seq = 276

    def work(hand):
        (record,) = hand.conn.execute("SELECT event_id FROM event WHERE kind = 'retention.pruned'").fetchone()
        who = record if by == "itself" else "01900000-0000-7000-8000-000000000000"
        hand.conn.execute("UPDATE event SET envelope = x'', pruned = ? WHERE seq = ?", (who, seq))

    report = changed(work)
    assert report.first_bad == seq
    assert f"event {seq} is of a kind that is never pruned" in words(report)


@pytest.mark.parametrize("field", ["event_id", "pruned"])
def test_ids_of_pruned_events_in_an_export_are_vouched_for_by_its_seal(path, field):
    """Nothing that is left in the line binds them, so the seal, in the last line, is what does not hold."""
    export = path.with_name("export.jsonl")
    with opened(path) as ledger:
        ledger.export(export)
    lines = export.read_text().splitlines(keepends=True)
    assert verify_export(export, SIGNER.verifier_key) == len(lines) - 2
    row = json.loads(lines[2])
    assert row["seq"] == 1
    value = row[field]
    lines[2] = lines[2].replace(value, value[:-1] + ("0" if value[-1] != "0" else "1"))
    export.write_text("".join(lines))
    with pytest.raises(Error, match=f"line {len(lines)}: the export is not what was sealed"):
        verify_export(export, SIGNER.verifier_key)
    command = [sys.executable, STANDALONE, export, "--key", SIGNER.verifier_key]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
