"""What every store of a ledger must do. A test class inherits `LedgerContract` and gives `database`."""

import asyncio
import itertools
import os
import threading

import pytest

from clearmark.audits import Ledger, NoteSigner, Receipt, verify_database, verify_export
from clearmark.core import Event
from clearmark.core.errors import KeyUnavailable, LedgerError, LedgerTampered, UsageError

SIGNER = NoteSigner.generate("example.com/pictures")
VAULT_KEY = os.urandom(32)


def event(number=0, **values):
    return Event(
        **{"kind": "output.decided", "request_id": f"r-{number}", "body": {"number": number}, **values}
    )


class LedgerContract:
    """Tests that hold for every database. `database` is a fixture: a fresh, empty place for a ledger."""

    def open(self, database, **options):
        return Ledger.open(database, **{"signer": SIGNER, "vault_key": VAULT_KEY, **options})

    def test_what_is_appended_is_there_in_order(self, database):
        with self.open(database) as ledger:
            assert ledger.size == 0
            first = ledger.append([event(0), event(1)])
            second = ledger.append([event(2)])
            assert ledger.append([]) == []
            assert [record.seq for record in first + second] == [0, 1, 2]
        with self.open(database) as ledger:
            assert ledger.size == 3
            assert [stored.body["number"] for stored in ledger.events()] == [0, 1, 2]
            assert ledger.append([event(3)])[0].seq == 3
            assert ledger.verify().ok

    def test_same_event_twice_is_one_event(self, database):
        once = event(7, personal={"prompt": b"an apple"}, subject="user-1")
        with self.open(database) as ledger:
            first = ledger.append([once])
            assert ledger.append([once]) == first
            assert ledger.append([once, event(8), once])[0] == first[0]
            assert ledger.size == 2
        with self.open(database) as ledger:
            assert ledger.append([once]) == first
            assert ledger.verify().ok

    def test_same_id_with_other_content_is_refused_whole(self, database):
        one = event(1)
        with self.open(database) as ledger:
            ledger.append([one])
            with pytest.raises(LedgerError, match="other content"):
                ledger.append([event(5), event(2, event_id=one.event_id)])
            assert ledger.size == 1
            assert ledger.append([event(3)])[0].seq == 1
            assert ledger.verify().ok

    def test_one_bad_append_does_not_harm_its_neighbours(self, database):
        one = event(1)
        with self.open(database) as ledger:
            ledger.append([one])
            failed, done = [], []

            def work(number):
                try:
                    new = event(number, event_id=one.event_id) if number % 5 == 0 else event(number)
                    done.extend(ledger.append([new]))
                except LedgerError:
                    failed.append(number)

            threads = [threading.Thread(target=work, args=(number,)) for number in range(5, 45)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(failed) == 8
            assert sorted(record.seq for record in done) == list(range(1, 33))
            assert ledger.verify().ok

    def test_many_threads_lose_and_double_nothing(self, database):
        per_thread = 12
        with self.open(database) as ledger:
            results = [[] for _ in range(16)]

            def work(place):
                for number in range(per_thread):
                    results[place] += ledger.append([event(place * 100 + number), event(number)])

            threads = [threading.Thread(target=work, args=(place,)) for place in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            flat = [record for result in results for record in result]
            assert sorted(record.seq for record in flat) == list(range(16 * per_thread * 2))
            for result in results:
                assert [record.seq for record in result] == sorted(record.seq for record in result)
            for record in flat[::17]:
                assert ledger.get(record.event_id).seq == record.seq
            assert ledger.verify().ok

    def test_futures_are_done_when_the_events_are_durable_in_order(self, database):
        with self.open(database) as ledger, self.open(database) as other:
            futures = [ledger.enqueue([event(number), event(number + 1000)]) for number in range(300)]
            records = [future.result(timeout=60) for future in futures]
            assert [record.seq for pair in records for record in pair] == list(range(600))
            assert other.size == 600
            assert [stored.body["number"] % 1000 for stored in other.events()][::2] == list(range(300))
            assert ledger.enqueue([]).result(timeout=1) == []
            assert ledger.append([event(5)])[0].seq == 600
            assert ledger.verify().ok

    def test_futures_have_the_errors_of_append(self, database):
        once, unfit = event(1), event(2, body={"score": 0.5})
        with self.open(database) as ledger:
            first = ledger.append([once])
            sent = [
                ledger.enqueue(events)
                for events in ([once], [unfit], [event(3), event(4, event_id=once.event_id)], [event(5)])
            ]
            assert sent[0].result(timeout=60) == first
            assert isinstance(sent[1].exception(timeout=60), UsageError)
            with pytest.raises(LedgerError, match="other content"):
                sent[2].result(timeout=60)
            assert sent[3].result(timeout=60)[0].seq == ledger.size - 1 == 1

    def test_tasks_of_an_event_loop_lose_and_double_nothing(self, database):
        async def work(ledger, number):
            return [(await ledger.append_async([event(number * 10 + n)]))[0] for n in range(10)]

        async def main(ledger):
            again = event(7)
            assert await ledger.append_async([]) == []
            assert await ledger.append_async([again]) == await ledger.append_async([again])
            with pytest.raises(UsageError):
                await ledger.append_async([event(1, body={"score": 0.5})])
            return await asyncio.gather(*(work(ledger, number) for number in range(50)))

        with self.open(database) as ledger:
            done = asyncio.run(main(ledger))
            assert sorted(record.seq for records in done for record in records) == list(range(1, 501))
            assert all(
                left.seq < right.seq for records in done for left, right in itertools.pairwise(records)
            )
            assert ledger.size == 501
            assert ledger.verify().ok

    def test_two_ledgers_on_one_database_take_turns(self, database):
        with self.open(database) as one, self.open(database) as two:
            for number in range(20):
                assert (one if number % 3 else two).append([event(number)])[0].seq == number
            assert two.size == one.size == 20
            assert one.receipt(two.append([event(20)])[0].event_id).verify(SIGNER.verifier_key)
            assert two.verify().ok

    def test_receipts_hold_and_stay_the_same(self, database):
        with self.open(database) as ledger:
            records = [ledger.append([event(number)])[0] for number in range(5)]
            records += ledger.append([event(number) for number in range(600)])
            receipts = {record.seq: ledger.receipt(record.event_id) for record in records[::37]}
            for seq, receipt in receipts.items():
                stored = ledger.get(receipt.event_id)
                assert (receipt.seq, receipt.leaf_hash) == (seq, stored.leaf_hash)
                assert receipt.verify(SIGNER.verifier_key, envelope=stored.envelope)
                assert Receipt.parse(receipt.text) == receipt == Receipt.from_dict(receipt.to_dict())
        with self.open(database) as ledger:
            for receipt in receipts.values():
                assert ledger.receipt(receipt.event_id) == receipt

    def test_receipts_without_a_checkpoint_per_commit(self, database):
        with self.open(database, checkpoint_every_s=3600) as ledger:
            records = [ledger.append([event(number)])[0] for number in range(9)]
            assert ledger.receipt(records[0].event_id).tree_size == 1
            assert ledger.receipt(records[4].event_id).tree_size == 9
            ledger.append([event(9)])
        with self.open(database) as ledger:
            assert ledger.verify().ok
            assert ledger.checkpoint().size == 10
            assert ledger.stats()["checkpoints"] == 3

    def test_an_empty_ledger_has_a_checkpoint(self, database):
        with self.open(database) as ledger:
            head = ledger.checkpoint()
            assert (head.size, head.origin) == (0, "example.com/pictures")
            assert ledger.checkpoint() == head
            assert ledger.verify().ok

    def test_finding(self, database):
        with self.open(database) as ledger:
            ledger.append([event(1, mark_ids=("00ff", "11ff")), event(2, kind="mark.written", ts_us=50)])
            ledger.append([event(1, mark_ids=("00ff",), kind="mark.checked", tenant="acme", ts_us=70)])
            assert [found.seq for found in ledger.find_mark("00ff")] == [0, 2]
            assert ledger.find_mark("00ff")[0].mark_ids == ("00ff", "11ff")
            assert ledger.find_mark("' OR 1=1 --") == []
            assert [found.seq for found in ledger.find_request("r-1")] == [0, 2]
            assert [found.seq for found in ledger.events(kind="mark.")] == [1, 2]
            assert [found.seq for found in ledger.events(kind="mark.written")] == [1]
            assert [found.seq for found in ledger.events(tenant="acme")] == [2]
            assert [found.seq for found in ledger.events(since=50, until=70)] == [1]
            with pytest.raises(LedgerError, match="no event"):
                ledger.get("nothing")

    def test_personal_data_is_read_back_and_erased(self, database):
        prompt = b"a portrait of Ada Lovelace at her desk"
        with self.open(database) as ledger:
            mine = ledger.append([event(1, personal={"prompt": prompt, "actor": b"ada"}, subject="ada")])[0]
            other = ledger.append([event(2, personal={"prompt": b"a tree"}, subject="ben")])[0]
            assert ledger.personal(mine.event_id) == {"actor": b"ada", "prompt": prompt}
            assert prompt not in ledger.get(mine.event_id).envelope
            receipt = ledger.receipt(mine.event_id)
            erased = ledger.erase("ada")
            assert erased.values == 2
            assert ledger.get(erased.event.event_id).kind == "erasure"
            assert ledger.personal(mine.event_id) == {"actor": None, "prompt": None}
            assert ledger.personal(other.event_id) == {"prompt": b"a tree"}
            assert ledger.receipt(mine.event_id) == receipt
            assert receipt.verify(SIGNER.verifier_key)
            assert ledger.verify().ok
            # A new event of the same person gets a new key; the old values stay gone.
            again = ledger.append([event(3, personal={"prompt": b"a cat"}, subject="ada")])[0]
            assert ledger.personal(again.event_id) == {"prompt": b"a cat"}
            assert ledger.erase("nobody").values == 0
            assert ledger.verify().ok

    def test_retry_after_erasure_is_still_the_same_event(self, database):
        once = event(7, personal={"prompt": b"an apple"}, subject="user-1")
        with self.open(database) as ledger:
            first = ledger.append([once])
            ledger.erase("user-1")
            assert ledger.append([once]) == first
            assert ledger.personal(once.event_id) == {"prompt": None}
            assert ledger.verify().ok

    def test_personal_data_without_a_subject_belongs_to_its_request(self, database):
        with self.open(database) as ledger:
            one = ledger.append([event(1, personal={"prompt": b"x"})])[0]
            two = ledger.append([event(2, personal={"prompt": b"y"})])[0]
            assert ledger.erase_request("r-1").values == 1
            assert ledger.personal(one.event_id) == {"prompt": None}
            assert ledger.personal(two.event_id) == {"prompt": b"y"}

    def test_other_keys_do_not_open_it(self, database):
        self.open(database).close()
        with pytest.raises(KeyUnavailable, match="signed by another key"):
            self.open(database, signer=NoteSigner.generate("example.com/pictures"))
        with pytest.raises(KeyUnavailable, match="vault key"):
            self.open(database, vault_key=os.urandom(32))
        with pytest.raises(KeyUnavailable, match="32 bytes"):
            self.open(database, vault_key=b"short")

    @pytest.mark.parametrize(
        "values",
        [
            {"kind": ""},
            {"kind": "with space"},
            {"event_id": "x" * 201},
            {"tenant": "two\nlines"},
            {"request_id": ""},
            {"ts_us": -1},
            {"ts_us": 1.5},
            {"mark_ids": ("",)},
            {"body": {"personal": {}}},
            {"body": {"score": 0.5}},
            {"body": {"lone": "\ud800"}},
            {"body": {"large": "x" * (1 << 20)}},
            {"personal": {"prompt": "text"}},
            {"personal": {"": b""}},
            {"subject": None},
        ],
    )
    def test_what_cannot_be_recorded_is_refused_before_anything_is_written(self, database, values):
        with self.open(database) as ledger:
            with pytest.raises(UsageError):
                ledger.append([event(1), event(**values)])
            assert ledger.size == 0

    def test_unusual_text_is_recorded(self, database):
        odd = 'quote" back\\slash é 東京 \U0001f34e \x7f'
        with self.open(database) as ledger:
            record = ledger.append(
                [event(1, tenant='Müller & "Söhne" 東京 🍎', body={"text": odd, "é": [None, True]})]
            )[0]
            assert ledger.get(record.event_id).body["text"] == odd
            assert ledger.receipt(record.event_id).verify(SIGNER.verifier_key)
            ledger.append([event(2, subject="\ud800", personal={"prompt": b"\x00\xff"})])
            assert ledger.verify().ok

    def test_pruning_drops_bytes_and_keeps_every_proof(self, database):
        with self.open(database) as ledger:
            records = ledger.append(
                [
                    event(n, ts_us=1000 + n, mark_ids=(f"{n:04x}",), personal={"p": b"x"}, subject="ada")
                    for n in range(300)
                ]
            )
            receipts = [ledger.receipt(record.event_id) for record in records[::50]]
            assert ledger.prune(before=1000).event is None
            pruned = ledger.prune(before=1200, limit=150)
            assert (pruned.events, pruned.values) == (150, 150)
            assert ledger.prune(before=1200).events == 50
            assert ledger.verify().ok, ledger.verify().to_dict()
            first = ledger.get(records[0].event_id)
            assert first.envelope == b""
            assert first.body == {}
            assert ledger.personal(first.event_id) == {}
            assert ledger.find_mark("0000")[0].pruned == pruned.event.event_id
            for receipt in receipts:
                assert ledger.receipt(receipt.event_id) == receipt
                assert receipt.verify(SIGNER.verifier_key)
            # The rest is erased, and what pruning and erasing are on record for still adds up.
            assert ledger.erase("ada").values == 100
            assert ledger.verify().ok
            assert ledger.prune(before=10**12).events == 100
            assert ledger.prune(before=2**52).events == 0
        with self.open(database) as ledger:
            assert ledger.verify().ok
            assert ledger.append([event(1)])[0].seq == 304

    def test_a_hold_stops_pruning_and_erasure_until_two_lift_it(self, database):
        with self.open(database) as ledger:
            ledger.append([event(n, ts_us=n, personal={"p": b"x"}, subject=f"s-{n % 2}") for n in range(10)])
            hold = ledger.hold("case 12", by="counsel-1", request_id="r-3")
            other = ledger.hold("case 13", by="counsel-1", subject="s-0")
            assert [held.hold_id for held in ledger.holds()] == [hold.hold_id, other.hold_id]
            with pytest.raises(LedgerError, match="legal hold"):
                ledger.erase("s-1")
            with pytest.raises(LedgerError, match="legal hold"):
                ledger.erase("s-0")
            assert ledger.erase("nobody").values == 0
            assert ledger.prune(before=10).events == 4
            for by in ([], ["counsel-1"], ["counsel-1", " counsel-1 "], "ab"):
                with pytest.raises(UsageError):
                    ledger.release_hold(hold.hold_id, by=by, reason="closed")
            with pytest.raises(LedgerError, match="no hold"):
                ledger.release_hold("another", by=["a", "b"], reason="closed")
            ledger.release_hold(hold.hold_id, by=["counsel-1", "counsel-2"], reason="closed")
            assert ledger.erase("s-1").values == 1
            assert ledger.prune(before=10).events == 1
            ledger.hold("everything", by="counsel-1")
            assert ledger.prune(before=2**52).events == 0
            assert ledger.verify().ok
            with pytest.raises(UsageError, match="cannot be bounded"):
                ledger.hold("x", by="y", colour="red")
            with pytest.raises(UsageError, match="only the ledger itself"):
                ledger.append([event(1, kind="hold.released")])

    def test_reconciling_names_what_does_not_add_up(self, database):
        def received(request, counter=0, process="p", ts_us=1000):
            body = {"process": process, "counter": counter}
            return event(request_id=request, kind="request.received", body=body, ts_us=ts_us)

        def ended(request, kind="result.released"):
            return event(request_id=request, kind=kind)

        with self.open(database) as ledger:
            assert ledger.reconcile().ok
            ledger.append([received("a", 1), ended("a"), received("b", 2), ended("b", "result.refused")])
            assert ledger.reconcile().ok
            ledger.append(
                [received("c", 5), received("d", 6, ts_us=2**52), ended("e"), ended("b", "result.failed")]
            )
            found = ledger.reconcile()
            assert not found.ok
            assert found.requests == 5
            assert (found.unfinished, found.running) == (("c",), ("d",))
            assert (found.unopened, found.doubled) == (("e",), ("b",))
            assert found.gaps == (("p", 3), ("p", 4))
            assert ledger.reconcile(until=1000).requests == 0
            assert found.to_dict()["gaps"][0] == {"process": "p", "counter": 3}

    def test_an_export_is_checked_without_the_ledger(self, database, tmp_path):
        file = tmp_path / "export.jsonl"
        with self.open(database) as ledger:
            ledger.append(
                [event(n, ts_us=n, personal={"prompt": b"very private"}, subject="s") for n in range(30)]
            )
            ledger.prune(before=3)
            done = ledger.export(file, kind="output.decided")
            assert ledger.get(done.event_id).body["events"] == 30
            assert ledger.verify().ok
        assert b"very private" not in file.read_bytes()
        assert verify_export(file, SIGNER.verifier_key) == 30
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        for at, old, new in (
            (9, '"number', '"Number'),
            (9, '"seq":8', '"seq":9'),
            (0, '"origin":"example.com', '"origin":"example.org'),
            (0, SIGNER.verifier_key, NoteSigner.generate("example.com/pictures").verifier_key),
            (0, '"size":3', '"size":4'),
            (0, '"root":"', '"root":"0'),
            (31, "30", "29"),
        ):
            changed = [*lines[:at], lines[at].replace(old, new), *lines[at + 1 :]]
            assert changed != lines
            file.write_text("".join(changed), encoding="utf-8")
            with pytest.raises(LedgerTampered):
                verify_export(file, SIGNER.verifier_key)
        for few in (lines[:-1], lines[:9] + lines[10:], [*lines, "x"], lines[:1]):
            file.write_text("".join(few), encoding="utf-8")
            with pytest.raises(LedgerTampered):
                verify_export(file, SIGNER.verifier_key)

    def test_an_auditor_verifies_with_the_public_key_alone(self, database):
        with self.open(database) as ledger:
            ledger.append([event(n, personal={"p": b"x"}, subject="s") for n in range(300)])
            ledger.erase("s")
            own = ledger.verify()
        report = verify_database(database, verifier_key=SIGNER.verifier_key)
        assert report.ok, report.to_dict()
        assert (report.events, report.root) == (own.events, own.root)
        stranger = NoteSigner.generate(SIGNER.name).verifier_key
        assert not verify_database(database, verifier_key=stranger).ok

    def test_stats(self, database):
        with self.open(database) as ledger:
            ledger.append([event(1), event(2, mark_ids=("aa",), personal={"p": b"1"}, subject="s")])
            stats = ledger.stats()
            assert stats["events"] == 2
            assert stats["by_kind"] == {"output.decided": 2}
            assert (stats["marks"], stats["personal"], stats["subjects"], stats["erased"]) == (1, 1, 1, 0)
