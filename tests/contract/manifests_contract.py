"""What every store of manifests has to keep, whatever is behind it. Subclass, give `store` and `again`."""

from __future__ import annotations

import base64
import threading

import pytest

from clearmark.core.errors import UsageError

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"


def code_of(bits):
    """Return the ISCC Image-Code of these 64 bits."""
    body = b"\x21\x01" + bits.to_bytes(8, "big")
    return "ISCC:" + base64.b32encode(body).decode().rstrip("=")


class ManifestStoreContract:
    """`store` is an empty store; `again()` opens what is behind it once more; `real` is a signed manifest."""

    def test_what_is_put_is_there(self, store, again, real):
        store.put(FIRST, real.store, media_type="image/png", fingerprint=code_of(7))
        for one in (store, again()):
            kept = one.get(FIRST)
            assert (kept.mark_id, kept.media_type, kept.store) == (FIRST, "image/png", real.store)
            assert kept.manifest == real.label
            assert one.by_manifest(real.label).store == real.store
            assert [found.mark_id for found in one.find(code_of(7))] == [FIRST]

    def test_what_is_not_there_is_none(self, store):
        assert store.get(FIRST) is None
        assert store.get("../../etc/passwd") is None
        assert store.by_manifest("urn:c2pa:nothing") is None
        assert store.by_manifest("") is None
        assert tuple(store.find(code_of(7))) == ()
        assert tuple(store.newest(5)) == ()

    def test_the_nearest_first_within_the_distance(self, store):
        for number, bits in enumerate((0b1111, 0b1, 0b0, 0b1111111, 2**63 + 1)):
            store.put(f"{number:016x}", b"s", media_type="", fingerprint=code_of(bits))
        found = store.find(code_of(0), max_distance=4)
        assert [(int(one.mark_id, 16), one.distance) for one in found] == [(2, 0), (1, 1), (4, 2), (0, 4)]
        assert [int(one.mark_id, 16) for one in store.find(code_of(0), limit=2)] == [2, 1]
        assert len(store.find(code_of(0), max_distance=16)) == 5

    def test_the_last_under_a_mark_id_counts(self, store, again):
        store.put(FIRST, b"old", media_type="image/png", fingerprint=code_of(0))
        store.put(FIRST, b"new", media_type="image/jpeg", fingerprint=code_of(2**64 - 1))
        for one in (store, again()):
            assert (one.get(FIRST).store, one.get(FIRST).media_type) == (b"new", "image/jpeg")
            assert tuple(one.find(code_of(0))) == ()
            assert [found.store for found in one.find(code_of(2**64 - 1))] == [b"new"]
            assert tuple(one.newest(9)) == (FIRST,)

    def test_the_newest_first(self, store):
        store.put(FIRST, b"s", media_type="")
        store.put(SECOND, b"s", media_type="")
        assert tuple(store.newest(9)) == (SECOND, FIRST)
        assert tuple(store.newest(1)) == (SECOND,)

    def test_without_a_fingerprint_it_is_found_by_id_alone(self, store):
        store.put(FIRST, b"s", media_type="")
        assert tuple(store.find(code_of(0), max_distance=64)) == ()
        assert store.get(FIRST).store == b"s"

    def test_what_another_writes_is_seen(self, store, again):
        other = again()
        assert tuple(other.find(code_of(3))) == ()
        store.put(FIRST, b"s", media_type="", fingerprint=code_of(3))
        assert [one.mark_id for one in other.find(code_of(3))] == [FIRST]

    def test_several_threads(self, store):
        def put(number):
            store.put(f"{number:016x}", b"%d" % number, media_type="", fingerprint=code_of(number))

        threads = [threading.Thread(target=put, args=(number,)) for number in range(12)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert {store.get(f"{number:016x}").store for number in range(12)} == {b"%d" % n for n in range(12)}
        assert len(store.newest(99)) == 12

    def test_malformed_names_are_refused(self, store):
        for mark_id in ("", "0123", "0123456789ABCDEF", "../0123456789abc"):
            with pytest.raises(UsageError):
                store.put(mark_id, b"s", media_type="")
        with pytest.raises(UsageError):
            store.put(FIRST, b"s", media_type="", fingerprint="no code")
        with pytest.raises(UsageError):
            store.find("no code")
