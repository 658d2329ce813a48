"""What every importer of training data must do, whatever it reads.

Subclass `ImporterContract` and give a fixture `source` (a function that opens the same source anew) and a
fixture `expected` (how many candidates it holds).
"""

from __future__ import annotations

import contextlib

import pytest

from clearmark.provenance.training_data import Dataset, ImportOptions, Register, import_source


class _Killed(BaseException):
    """Stands for whatever stops a process."""


class ImporterContract:
    @pytest.fixture
    def register(self, tmp_path):
        with Register(tmp_path / "register.db") as opened:
            opened.put_dataset(Dataset(name="data"))
            yield opened

    def test_says_what_it_is(self, source):
        opened = source()
        assert opened.kind
        assert opened.location
        assert opened.method
        assert opened.batch > 0
        assert opened.fingerprint == source().fingerprint

    def test_reads_the_same_items_in_the_same_order(self, source, expected):
        first = [candidate.key for candidate in source().read("")]
        assert first == [candidate.key for candidate in source().read("")]
        assert len(first) == expected
        assert len(set(first)) == expected

    def test_goes_on_behind_every_cursor(self, source):
        whole = [(candidate.key, candidate.cursor) for candidate in source().read("")]
        for at, (_, cursor) in enumerate(whole):
            rest = [(candidate.key, candidate.cursor) for candidate in source().read(cursor)]
            assert rest == whole[at + 1 :]

    def test_an_import_puts_every_item_on_record(self, source, expected, register):
        version = import_source(register, source(), dataset="data")
        items = list(register.items(version))
        assert [item.number for item in items] == list(range(1, expected + 1))
        assert version.read == version.held + version.quarantined == expected
        assert version.state == "complete"
        assert version.digest.startswith("sha256:")
        assert all(item.fault for item in items if item.state == "quarantined")

    @pytest.mark.parametrize("survives", [1, 2])
    def test_an_import_that_was_cut_off_loses_and_doubles_nothing(self, source, expected, register, survives):
        whole = import_source(register, source(), dataset="data", label="whole")

        calls = 0

        def stop(_):
            nonlocal calls
            calls += 1
            if calls == survives:
                raise _Killed

        cut = source()
        cut.batch = 1
        with contextlib.suppress(_Killed):
            import_source(register, cut, dataset="data", label="cut", progress=stop)
        resumed = import_source(register, source(), dataset="data", label="cut")
        assert resumed.read == expected
        assert resumed.digest == whole.digest

    def test_one_worker_and_many_make_the_same_version(self, source, register):
        one = import_source(register, source(), dataset="data", label="one", options=ImportOptions(workers=1))
        many = import_source(
            register, source(), dataset="data", label="many", options=ImportOptions(workers=4)
        )
        assert one.digest == many.digest
