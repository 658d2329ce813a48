"""The stores of manifests keep their contract: a file, and a bucket of a real server that speaks S3."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from clearmark.core.errors import Unavailable, UsageError
from clearmark.provenance import ManifestRepository
from clearmark.provenance.credentials import ManifestSpec
from clearmark.provenance.repository import open_manifests

sys.path.insert(0, str(Path(__file__).parents[2]))
from contract.manifests_contract import FIRST, ManifestStoreContract, code_of


@pytest.fixture(scope="module")
def real(signer, encoded):
    return signer.sign(encoded(), "image/png", ManifestSpec(mark_id=FIRST)).mark


class TestFile(ManifestStoreContract):
    @pytest.fixture
    def again(self, tmp_path):
        opened = []

        def again():
            opened.append(open_manifests(tmp_path / "manifests.db"))
            return opened[-1]

        yield again
        for one in opened:
            one.close()

    @pytest.fixture
    def store(self, again):
        made = again()
        assert isinstance(made, ManifestRepository)
        return made


@pytest.fixture(scope="module")
def s3():
    """A server that speaks S3, on a port of its own."""
    pytest.importorskip("minio")
    pytest.importorskip("flask")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch, request):
    """The address of a new, empty bucket."""
    import minio

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret of the test")
    client = minio.Minio(
        endpoint=s3.removeprefix("http://"),
        access_key="test",
        secret_key="test",
        secure=False,
        region="eu-west-1",
    )
    name = f"manifests-{abs(hash(request.node.nodeid)) % 10**9}"
    client.make_bucket(bucket_name=name)
    return f"s3://{name}/some/where?endpoint={s3}&region=eu-west-1"


class TestBucket(ManifestStoreContract):
    @pytest.fixture
    def again(self, bucket):
        return lambda: open_manifests(bucket)

    @pytest.fixture
    def store(self, again):
        return again()

    def test_prefixes_are_apart(self, bucket, store, again):
        store.put(FIRST, b"s", media_type="", fingerprint=code_of(1))
        other = open_manifests(bucket.replace("/some/where", "/else"))
        assert other.get(FIRST) is None
        assert tuple(other.newest(5)) == ()
        whole = open_manifests(bucket.replace("/some/where", ""))
        whole.put(FIRST, b"w", media_type="")
        assert again().get(FIRST).store == b"s"

    def test_more_than_a_page_of_names(self, bucket, store):
        """A thousand names come with each call."""
        for number in range(1005):
            store._write(f"index/{number:019d}-{number:016x}-{number:016x}", b"", {})
        assert len(open_manifests(bucket).newest(2000)) == 1005

    def test_names_of_others_are_passed_over(self, store, again):
        store.put(FIRST, b"s", media_type="", fingerprint=code_of(1))
        for name in ("index/readme.txt", "index/99-x-y", "index/" + "9" * 19 + "-zz-none"):
            store._write(name, b"?", {})
        assert tuple(again().newest(9)) == (FIRST,)

    def test_a_label_that_leads_elsewhere_leads_nowhere(self, store, real):
        store.put(FIRST, real.store, media_type="image/png")
        (name,) = [
            one.object_name
            for one in store._client.list_objects(store._bucket, prefix=f"{store._prefix}labels/")
        ]
        for target in (b"fedcba9876543210", b"../../x", b"\xff" * 10):
            store._write(name.removeprefix(store._prefix), target, {})
            assert store.by_manifest(real.label) is None

    def test_an_object_that_is_too_large_is_not_read(self, store, monkeypatch):
        from clearmark.provenance import repository_s3

        store.put(FIRST, b"s" * 100, media_type="")
        monkeypatch.setattr(repository_s3, "MAX_STORE", 99)
        with pytest.raises(Unavailable, match="more than 99 bytes"):
            store.get(FIRST)

    def test_what_does_not_answer_is_named(self, bucket, s3):
        with pytest.raises(Unavailable, match="no bucket"):
            open_manifests(f"s3://nothing-here/x?endpoint={s3}")
        with pytest.raises(Unavailable, match="does not answer"):
            open_manifests("s3://some-bucket/x?endpoint=http://127.0.0.1:9&region=eu-west-1")

    @pytest.mark.parametrize(
        "address",
        [
            "s3://",
            "s3://B/x",
            "s3://key:secret@bucket/x",
            "s3://bucket-a/x?endpoint=file:///etc",
            "s3://bucket-a/x?endpoint=http://a/b",
            "s3://bucket-a/x?secret=no",
        ],
    )
    def test_addresses_that_are_none(self, address):
        with pytest.raises(UsageError) as caught:
            open_manifests(address)
        assert "secret@" not in str(caught.value)
