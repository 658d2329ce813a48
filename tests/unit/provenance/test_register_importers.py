"""Every importer: the contract, and what each reads of its own layout."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data import (
    Dataset,
    ImportOptions,
    Licence,
    Register,
    import_source,
    open_source,
)


def _contract():
    name = "clearmark_importer_contract"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "contract" / "importer_contract.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


ImporterContract = _contract().ImporterContract

SVG = """<?xml version="1.0"?>
<!DOCTYPE svg [<!ENTITY ns_svg "http://www.w3.org/2000/svg">]>
<svg xmlns="&ns_svg;" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:cc="http://web.resource.org/cc/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><metadata><rdf:RDF><cc:Work>
<dc:title>{title}</dc:title><dc:creator><cc:Agent><dc:title>{creator}</dc:title></cc:Agent></dc:creator>
<dc:subject><rdf:Bag><rdf:li>fruit</rdf:li><rdf:li>{title}</rdf:li></rdf:Bag></dc:subject>
{licence}</cc:Work></rdf:RDF></metadata><path d="not even {{ closed"""


def picture(seed, size=(24, 16), form="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form)
    return out.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def imported(tmp_path, source, **options):
    register = Register(tmp_path / "own.db")
    register.put_dataset(Dataset(name="data"))
    version = import_source(register, source, dataset="data", options=ImportOptions(**options))
    return register, version, list(register.items(version))


class TestFolder(ImporterContract):
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "pictures"
        put(root / "a" / "one.png", picture(1))
        put(root / "a" / "one.json", json.dumps({"caption": "one", "creator": "Ann", "license": "CC0-1.0"}))
        put(root / "two.jpg", picture(2, form="JPEG"))
        put(root / "two.txt", " a second picture\n")
        put(root / "three.webp", picture(3, form="WEBP"))
        put(root / "metadata.jsonl", json.dumps({"file_name": "three.webp", "text": "third", "author": "Bo"}))
        put(root / "broken.png", b"\x89PNG\r\n\x1a\n nothing more")
        return root

    @pytest.fixture
    def source(self, root):
        return lambda: open_source("folder", root)

    @pytest.fixture
    def expected(self):
        return 4

    def test_reads_sidecars(self, tmp_path, source):
        register, _, items = imported(tmp_path, source())
        by_key = {item.key: item for item in items}
        one, two, three = by_key["a/one.png"], by_key["two.jpg"], by_key["three.webp"]
        assert (one.caption, one.creator, one.licence.spdx, one.category) == ("one", "Ann", "CC0-1.0", "a")
        assert (two.caption, two.media_type, two.licence.spdx) == (
            "a second picture",
            "image/jpeg",
            "NOASSERTION",
        )
        assert (three.caption, three.creator, three.media_type) == ("third", "Bo", "image/webp")
        assert by_key["broken.png"].fault.code == "broken"
        assert by_key["broken.png"].sha256
        assert (one.width, one.height, one.opt_out) == (24, 16, "none")
        register.close()

    def test_states_what_holds_for_all(self, tmp_path, source):
        stated = Licence("CC-BY-4.0", "the contract of 2 August")
        register, _, items = imported(
            tmp_path, source(), licence=stated, acquired="2026-08-02", method="upload", consent="given"
        )
        two = next(item for item in items if item.key == "two.jpg")
        assert (two.licence, two.acquired, two.method, two.consent) == (
            stated,
            "2026-08-02",
            "upload",
            "given",
        )
        assert next(item for item in items if item.key == "a/one.png").licence.spdx == "CC0-1.0"
        register.close()

    def test_links_out_of_the_folder_are_not_followed(self, tmp_path, root, source):
        put(tmp_path / "secret.png", picture(9))
        (root / "link.png").symlink_to(tmp_path / "secret.png")
        register, _, items = imported(tmp_path, source())
        link = next(item for item in items if item.key == "link.png")
        assert link.fault.code == "missing-file"
        assert not link.sha256
        register.close()


class TestCsv(ImporterContract):
    @pytest.fixture
    def path(self, tmp_path):
        rows = [
            ("URL", "TEXT", "License", "nsfw", "x_robots_tag"),
            ("https://a.example/1.png", 'a "red" apple\nin two lines', "CC BY 4.0", "UNLIKELY", ""),
            ("https://b.example/2.png", "umlaut ä", "", "NSFW", "noai"),
            ("https://c.example/3.png", "too", "many", "cells", "in", "here"),
            ("https://d.example/4.png", "last", "CC0", "", ""),
        ]
        out = io.StringIO()
        csv.writer(out).writerows(rows)
        put(tmp_path / "list.csv", "\ufeff" + out.getvalue())
        return tmp_path / "list.csv"

    @pytest.fixture
    def source(self, path):
        return lambda: open_source("csv", path)

    @pytest.fixture
    def expected(self):
        return 4

    def test_reads_columns_by_their_usual_names(self, tmp_path, source):
        register, version, items = imported(tmp_path, source())
        first, second, third, last = items
        assert first.source == "https://a.example/1.png"
        assert first.caption == 'a "red" apple in two lines'
        assert (first.licence.spdx, first.licence.evidence) == ("CC-BY-4.0", "CC BY 4.0")
        assert first.measures == {"nsfw": 50_000}
        assert first.opt_out == "none"
        assert second.opt_out == "reserved"
        assert [signal.raw for signal in register.signals(version, 2)] == ["noai"]
        assert third.fault.code == "broken"
        assert last.licence.spdx == "CC0-1.0"
        register.close()


class TestJsonl(ImporterContract):
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "rows"
        put(root / "one.png", picture(4))
        lines = [
            json.dumps({"file_name": "one.png", "caption": "beside the list", "license": "cc0"}),
            "{broken",
            json.dumps({"file_name": "../register.db", "caption": "outside"}),
            json.dumps({"url": "https://a.example/", "punsafe": 0.25, "sha256": "ab" * 32}),
            "[" * 5000,
            "{}" + " " * 1_000_001,
            json.dumps({"http_headers": {"Content-Usage": "train-ai=n"}, "id": "last"}),
        ]
        put(root / "list.jsonl", "\n".join(lines))
        put(root / "more.jsonl", json.dumps({"caption": "second file"}))
        return root

    @pytest.fixture
    def source(self, root):
        return lambda: open_source("jsonl", root)

    @pytest.fixture
    def expected(self):
        return 8

    def test_reads_what_it_can_and_says_what_it_cannot(self, tmp_path, source):
        register, _, items = imported(tmp_path, source())
        codes = [item.fault.code if item.fault else "" for item in items]
        assert codes == ["", "broken", "missing-file", "", "broken", "broken", "", ""]
        assert items[0].phash is not None
        assert items[3].measures == {"nsfw": 250_000}
        assert items[3].sha256 == "ab" * 32
        assert items[6].opt_out == "reserved"
        assert items[6].key.endswith("/last")
        register.close()


class TestParquet(ImporterContract):
    @pytest.fixture
    def root(self, tmp_path):
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        root = tmp_path / "tables"
        root.mkdir()
        table = pa.table(
            {
                "url": [f"https://a.example/{n}.jpg" for n in range(7)],
                "caption": [f"caption {n}" for n in range(7)],
                "key": [f"{n:05}" for n in range(7)],
                "status": ["success"] * 6 + ["failed_to_download"],
                "error_message": [None] * 6 + ["HTTP Error 404"],
                "original_width": [512] * 7,
                "unused": [[n] for n in range(7)],
            }
        )
        pq.write_table(table, root / "00000.parquet", row_group_size=3)
        held = pa.table({"image": [{"bytes": picture(5), "path": "a.png"}], "text": ["held"]})
        pq.write_table(held, root / "00001.parquet")
        put(root / "00002.parquet", b"PAR1 this is none")
        return root

    @pytest.fixture
    def source(self, root):
        return lambda: open_source("parquet", root)

    @pytest.fixture
    def expected(self):
        return 9

    def test_reads_links_and_pictures(self, tmp_path, source):
        opened = source()
        assert opened.total == 8
        register, _, items = imported(tmp_path, opened)
        assert items[0].key == "00000.parquet#1/00000"
        assert items[0].width == 512
        assert not items[0].sha256
        assert items[0].opt_out == "unread"
        assert items[6].fault.code == "not-downloaded"
        assert "404" in items[6].fault.detail
        assert (items[7].caption, items[7].width) == ("held", 24)
        assert items[8].fault.code == "broken"
        register.close()


class TestHuggingFace(ImporterContract):
    @pytest.fixture
    def root(self, tmp_path):
        pa = pytest.importorskip("pyarrow")
        root = tmp_path / "saved"
        root.mkdir()
        schema = pa.schema(
            [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("text", pa.string())]
        )
        for number in range(2):
            with pa.OSFile(str(root / f"data-{number:05}-of-00002.arrow"), "wb") as file:
                with pa.ipc.new_stream(file, schema) as writer:
                    rows = [{"image": {"bytes": picture(n), "path": None}, "text": f"{n}"} for n in range(3)]
                    writer.write_table(pa.Table.from_pylist(rows, schema), max_chunksize=2)
        put(root / "README.md", "---\npretty_name: x\nlicense: cc0-1.0\n---\n# A card\nlicense: mit\n")
        return root

    @pytest.fixture
    def source(self, root):
        return lambda: open_source("huggingface", root)

    @pytest.fixture
    def expected(self):
        return 6

    def test_takes_the_licence_of_the_card(self, tmp_path, source):
        register, version, items = imported(tmp_path, source())
        assert version.kind == "huggingface"
        assert {item.licence.spdx for item in items} == {"CC0-1.0"}
        assert [item.caption for item in items] == ["0", "1", "2"] * 2
        register.close()


def shard(path, members, mode="w"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


MEMBERS = [
    ("000.png", picture(1)),
    ("000.txt", b"a caption"),
    ("000.json", json.dumps({"license": "CC0-1.0", "url": "https://a.example/0"}).encode()),
    ("sub/001.jpg", picture(2, form="JPEG")),
    ("../../etc/passwd.png", picture(3)),
    ("link.png", "/etc/passwd"),
    ("002.cls", b"7"),
    ("003.seg.png", b"not the picture"),
    ("003.png", b"not a picture"),
]


class TestWebDataset(ImporterContract):
    @pytest.fixture
    def source(self, tmp_path):
        shard(tmp_path / "shards" / "a.tar", MEMBERS)
        shard(tmp_path / "shards" / "b.tar", MEMBERS[:2])
        return lambda: open_source("webdataset", tmp_path / "shards")

    @pytest.fixture
    def expected(self):
        return 7

    def test_reads_samples_and_names_what_is_unsafe(self, tmp_path, source):
        register, _, items = imported(tmp_path, source())
        codes = [item.fault.code if item.fault else "" for item in items]
        assert codes == ["", "", "unsafe-member", "unsafe-member", "no-picture", "unknown-format", ""]
        assert (items[0].caption, items[0].licence.spdx) == ("a caption", "CC0-1.0")
        assert items[0].source == "https://a.example/0"
        register.close()


class TestCompressedWebDataset(TestWebDataset):
    @pytest.fixture
    def source(self, tmp_path):
        shard(tmp_path / "shards" / "a.tar.gz", MEMBERS, "w:gz")
        shard(tmp_path / "shards" / "b.tgz", MEMBERS[:2], "w:gz")
        return lambda: open_source("webdataset", tmp_path / "shards")


class TestOpenClipart(ImporterContract):
    @pytest.fixture
    def root(self, tmp_path):
        root = tmp_path / "openclipart"
        licence = '<cc:license rdf:resource="http://web.resource.org/cc/PublicDomain"/>'
        for number, (name, licence_line) in enumerate((("apple", licence), ("pear", ""))):
            put(root / "png" / "food" / f"{name}.png", picture(number))
            text = SVG.format(title=name.title(), creator="Ann Example", licence=licence_line)
            put(root / "svg" / "food" / f"{name}.svg", text)
        put(root / "png" / "alone.png", picture(7))
        put(root / "png" / "bomb.png", picture(8))
        put(root / "svg" / "bomb.svg", '<!DOCTYPE s [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><s>&b;</s>')
        (root / "png" / "again.png").symlink_to("food/apple.png")
        return root

    @pytest.fixture
    def source(self, root):
        return lambda: open_source("openclipart", root)

    @pytest.fixture
    def expected(self):
        return 5

    def test_reads_dublin_core(self, tmp_path, source):
        register, _, items = imported(tmp_path, source())
        by_key = {item.key: item for item in items}
        apple, pear = by_key["food/apple.png"], by_key["food/pear.png"]
        assert (apple.creator, apple.licence.spdx) == ("Ann Example", "CC-PDDC")
        assert "web.resource.org/cc/PublicDomain" in apple.licence.evidence
        assert (apple.caption, apple.category) == ("Apple, fruit", "food")
        assert pear.licence.spdx == by_key["alone.png"].licence.spdx == "NOASSERTION"
        assert "cannot be read" in by_key["bomb.png"].licence.evidence
        assert by_key["again.png"].sha256 == apple.sha256
        register.close()


def test_an_unknown_importer_and_a_missing_path_say_what_to_do(tmp_path):
    with pytest.raises(UsageError) as raised:
        open_source("pictures", tmp_path)
    assert "webdataset" in raised.value.hint
    with pytest.raises(UsageError, match="does not exist"):
        open_source("folder", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no"):
        open_source("webdataset", tmp_path)


def test_a_version_is_imported_once(tmp_path):
    put(tmp_path / "p" / "a.png", picture(1))
    with Register(tmp_path / "r.db") as register:
        register.put_dataset(Dataset(name="data"))
        import_source(register, open_source("folder", tmp_path / "p"), dataset="data")
        with pytest.raises(UsageError, match="is complete"):
            import_source(register, open_source("folder", tmp_path / "p"), dataset="data")
        with pytest.raises(UsageError, match="no dataset"):
            register.version("other")
        with pytest.raises(UsageError, match="letters, digits"):
            register.put_dataset(Dataset(name="../../x"))


def test_a_resumed_import_notices_other_files(tmp_path):
    put(tmp_path / "p" / "a.png", picture(1))
    with Register(tmp_path / "r.db") as register:
        register.put_dataset(Dataset(name="data"))
        source = open_source("folder", tmp_path / "p")
        register.start(
            "data",
            "1",
            kind=source.kind,
            location=source.location,
            fingerprint=source.fingerprint,
            method="m",
        )
        put(tmp_path / "p" / "b.png", picture(2))
        with pytest.raises(UsageError, match="begun from something else"):
            import_source(register, open_source("folder", tmp_path / "p"), dataset="data")
