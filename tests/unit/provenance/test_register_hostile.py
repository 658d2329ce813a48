"""Files that are built to harm their reader end as a reason on record."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from clearmark.core.dublin_core import UnsafeXml, parse_dublin_core
from clearmark.core.errors import PolicyError, UsageError
from clearmark.provenance.training_data import (
    DataPolicy,
    Dataset,
    HashList,
    ImportOptions,
    Register,
    import_source,
    open_source,
)
from clearmark.provenance.training_data._pictures import look_at, on_white
from clearmark.provenance.training_data.importers.source import split_cursor


def png(width, height, rows=b""):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def small(form="PNG"):
    out = io.BytesIO()
    Image.linear_gradient("L").resize((20, 10)).convert("RGB").save(out, form)
    return out.getvalue()


def imported(tmp_path, kind, path, **options):
    with Register(tmp_path / "register.db") as register:
        register.put_dataset(Dataset(name="data"))
        version = import_source(
            register, open_source(kind, path), dataset="data", options=ImportOptions(**options)
        )
        return list(register.items(version))


def test_a_bomb_stands_on_record_with_its_size_and_digest():
    bomb = png(13_000, 13_000, zlib.compress(bytes(10_000)))
    look = look_at(bomb)
    assert (look.width, look.height, look.fault.code) == (13_000, 13_000, "too-large")
    assert len(look.sha256) == 64
    assert look.phash is None


@pytest.mark.parametrize("size", [(0, 0), (2**31 - 1, 1), (2**32 - 1, 2**32 - 1)])
def test_impossible_sizes_are_broken_or_too_large(size):
    assert look_at(png(*size)).fault.code in {"broken", "too-large"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_damaged_pictures_never_raise(form, at, garbage):
    data = bytearray(small(form))
    at = min(at, len(data))
    data[at : at + len(garbage)] = garbage
    look = look_at(bytes(data))
    assert look.fault is None or look.fault.code in {"broken", "too-large", "unknown-format"}
    assert (look.phash is None) == (look.fault is not None or look.blank)


def test_a_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    folder = tmp_path / "p"
    folder.mkdir()
    with (folder / "a.png").open("wb") as stream:
        stream.truncate(65 * 1024 * 1024)
    (item,) = imported(tmp_path, "folder", folder)
    assert item.fault.code == "too-large"


def test_a_tar_header_that_asks_for_gigabytes_is_refused(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.XHDTYPE, 6 * 1024**3
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    (item,) = imported(tmp_path, "webdataset", tmp_path / "a.tar")
    assert item.fault.code == "broken"


def test_a_shard_that_grows_without_end_is_refused(tmp_path):
    info = tarfile.TarInfo("zeros.bin")
    info.size = 2 * 1024**3
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=9) as out:
        out.write(info.tobuf())
        for _ in range(8):
            out.write(bytes(1024 * 1024))
    (item,) = imported(tmp_path, "webdataset", tmp_path / "a.tar.gz")
    assert item.fault.code == "broken"


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(st.integers(0, 3000), st.binary(min_size=1, max_size=30))
def test_damaged_shards_never_raise(tmp_path_factory, at, garbage):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (("a.png", small()), ("a.json", b"{}"), ("b.png", small())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    data = bytearray(out.getvalue())
    data[at : at + len(garbage)] = garbage
    path = tmp_path_factory.mktemp("shard") / "a.tar"
    path.write_bytes(bytes(data))
    for candidate in open_source("webdataset", path).read(""):
        assert candidate.key
        if candidate.load is not None:
            candidate.load()


@pytest.mark.parametrize(
    "bomb",
    [
        b'<!DOCTYPE s [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><s>&b;</s>',
        b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><s>&x;</s>',
        b'<!DOCTYPE s [<!ENTITY a "' + b"a" * 5000 + b'">]><s>&a;</s>',
        b"<!DOCTYPE s [" + b"".join(b'<!ENTITY e%d "x">' % n for n in range(200)) + b"]><s/>",
        b"<a>" * 100,
        b"\x00\xff",
    ],
)
def test_hostile_xml_is_refused(bomb):
    with pytest.raises(UnsafeXml):
        parse_dublin_core(bomb)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_description_or_unsafe(data):
    with contextlib.suppress(UnsafeXml):
        parse_dublin_core(b"<svg><metadata>" + data)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: *x",
        "licences: !!python/object:os.system {}",
        "licences: [",
        "- a",
        "licence: {}",
        "licences: {allow: []}",
        "licences: {allow: [CC-9]}",
        "licences: {unknown: perhaps}",
        "duplicates: {max_copies: -1}",
        "duplicates: {distance: 20}",
        "screens: {limits: {nsfw: 2}}",
        "screens: {limits: {nsfw: .nan}}",
        "opt_outs: {reserved: allow}",
        "opt_outs: 3",
        "{" * 3000,
    ],
)
def test_policies_that_do_not_hold_together_are_refused(text):
    with pytest.raises(PolicyError):
        DataPolicy.parse(text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_a_fault(text):
    with contextlib.suppress(PolicyError):
        DataPolicy.parse(text)


def test_text_that_databases_cannot_hold_is_cleaned(tmp_path):
    row = json.dumps(
        {"caption": "a\u0000b\ud800c\u202e" + "x" * 9000, "creator": "\x1b[31m", "url": "u" * 9000}
    )
    (tmp_path / "l.jsonl").write_text(row)
    (item,) = imported(tmp_path, "jsonl", tmp_path / "l.jsonl")
    assert item.caption.startswith("a b c ")
    assert len(item.caption) <= 4000
    assert item.creator == "[31m"
    assert len(item.source) == 2000


def test_numbers_beyond_reason_are_cut(tmp_path):
    rows = [
        {"width": 10**30, "height": -5, "bytes": "many", "punsafe": 7, "faces": 10**40},
        {"width": float("inf"), "height": float("nan"), "punsafe": float("nan")},
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    first, second = imported(tmp_path, "jsonl", tmp_path / "l.jsonl")
    assert (first.width, first.height, first.size) == (2**31 - 1, 0, 0)
    assert first.measures == {"faces": 1_000_000_000}
    assert (second.width, second.height, dict(second.measures)) == (0, 0, {})


class Failing:
    name = "failing"

    def __call__(self, data, look):
        raise RuntimeError("no")


def test_what_could_not_be_screened_is_not_held(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(small())
    (item,) = imported(tmp_path, "folder", tmp_path / "p", screens=(Failing(),))
    assert (item.state, item.fault.code) == ("quarantined", "screen-failed")


def test_known_abuse_is_turned_away_and_not_described(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(small())
    (tmp_path / "p" / "a.json").write_text(json.dumps({"caption": "words", "creator": "somebody"}))
    (tmp_path / "list.txt").write_text(f"# a list\n{look_at(small()).sha256}\n")
    screen = HashList.load(tmp_path / "list.txt")
    (item,) = imported(tmp_path, "folder", tmp_path / "p", screens=(screen,))
    assert (item.fault.code, item.caption, item.creator) == ("known-abuse", "", "")
    (tmp_path / "list.txt").write_text("secret words\n")
    with pytest.raises(UsageError) as raised:
        HashList.load(tmp_path / "list.txt")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("cursor", ["x", "1", "1:2:3", "-1:0", "1:"])
def test_cursors_of_others_are_refused(cursor):
    with pytest.raises(UsageError):
        split_cursor(cursor, 2)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "I;16"])
def test_a_large_picture_is_reduced_in_strips_to_what_it_looks_like(mode):
    gradient = Image.linear_gradient("L").resize((2600, 2000))
    picture = gradient.convert(mode) if mode != "I;16" else gradient.convert("I").convert("I;16")
    if mode == "RGBA":
        picture.putalpha(gradient)
    large, plain = on_white(picture, 256), on_white(picture.resize((650, 500)), 256)
    assert large.mode == "RGB"
    assert large.size == (256, 197)
    apart = np.abs(np.asarray(large, int) - np.asarray(plain.resize(large.size), int)).mean()
    assert apart < (40 if mode == "1" else 4)


def test_sixteen_bits_of_grey_are_not_cut_off():
    steep = Image.fromarray((np.arange(64 * 64, dtype=np.uint16) * 16).reshape(64, 64))
    small = np.asarray(on_white(steep, 64))
    assert small.min() < 5
    assert small.max() > 250
    assert not look_at(_png_of(steep)).blank


def _png_of(picture):
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def test_a_picture_of_one_colour_is_blank_and_has_no_hash(tmp_path):
    (tmp_path / "p").mkdir()
    Image.new("RGBA", (30, 30), (255, 0, 0, 0)).save(tmp_path / "p" / "a.png")
    (item,) = imported(tmp_path, "folder", tmp_path / "p")
    assert (item.state, item.phash, item.opt_out) == ("held", None, "none")
    assert item.measures == {"blank": 1_000_000}
