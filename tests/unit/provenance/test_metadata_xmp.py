"""Metadata: written without touching pixels, merged with what is there, read without trusting it."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from clearmark.core import Origin
from clearmark.core.errors import MediaError, MetadataFailed
from clearmark.provenance._containers import MAX_PACKET, get_xmp, set_xmp
from clearmark.provenance.metadata import MetadataSettings, read_metadata, write_metadata
from clearmark.provenance.metadata.xmp import AIGC, IPTC_EXT, merge, parse

MARK = "0123456789abcdef"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
CASES = [
    ("PNG", "RGB", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "L", {}),
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {}),
    ("WEBP", "RGB", {"quality": 80}),
    ("WEBP", "RGBA", {"quality": 80}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"lossless": True}),
]
THEIRS = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Credit="An agency">
<dc:creator><rdf:Seq><rdf:li>Me &amp; you</rdf:li></rdf:Seq></dc:creator>
</rdf:Description></rdf:RDF></x:xmpmeta>""".encode()


def picture(kind, mode, **options):
    shape = (37, 53) if mode == "L" else (37, 53, len(mode))
    noise = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind, **options)
    return out.getvalue()


def fields(**changes):
    origin = Origin(generator="reference", model="tiny", model_version="2")
    return MetadataSettings(**changes).fields(mark_id=MARK, source="created", origin=origin)


@pytest.mark.parametrize(("kind", "mode", "options"), CASES)
def test_fields_read_back_and_pixels_stay(kind, mode, options):
    data = picture(kind, mode, **options)
    marked, mark = write_metadata(data, fields())
    found = read_metadata(marked)
    assert found["iptc"]["DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert found["iptc"]["AISystemUsed"] == "tiny"
    assert found["aigc"] == {"Label": "1", "ContentProducer": "clearmark", "ProduceID": MARK}
    assert {name: dict(values) for name, values in mark.fields.items()} == fields()
    before, after = (Image.open(io.BytesIO(one)) for one in (data, marked))
    assert before.mode == after.mode
    assert before.tobytes() == after.tobytes()
    assert after.info["xmp"]


@pytest.mark.parametrize(("kind", "mode", "options"), CASES)
def test_what_others_wrote_stays(kind, mode, options):
    data = set_xmp(picture(kind, mode, **options), THEIRS)
    once, _ = write_metadata(data, fields())
    twice, _ = write_metadata(once, fields())
    for marked in (once, twice):
        packet = get_xmp(marked)
        assert b"Me &amp; you" in packet
        assert b'photoshop:Credit="An agency"' in packet
        assert packet.count(b"DigitalSourceType>") == 2  # one element: start and end
    assert len(once) == len(twice)


def test_an_older_statement_of_ours_is_replaced():
    older = merge(THEIRS, {(IPTC_EXT, "DigitalSourceType"): "http://example/digitalCapture"})
    newer = merge(older, {(IPTC_EXT, "DigitalSourceType"): "http://example/trainedAlgorithmicMedia"})
    assert parse(newer)[IPTC_EXT, "DigitalSourceType"].endswith("trainedAlgorithmicMedia")
    assert b"digitalCapture" not in newer


def test_a_statement_written_as_an_attribute_is_read_and_replaced():
    packet = (
        f'<rdf:RDF {RDF}><rdf:Description rdf:about="" xmlns:i="{IPTC_EXT}" '
        'i:DigitalSourceType="http://x/humanEdits"/></rdf:RDF>'
    ).encode()
    assert parse(packet)[IPTC_EXT, "DigitalSourceType"] == "http://x/humanEdits"
    assert b"humanEdits" not in merge(packet, {(IPTC_EXT, "DigitalSourceType"): "http://x/y"})


def test_the_aigc_label_has_every_key_of_the_standard():
    marked, _ = write_metadata(picture("PNG", "RGB"), fields(producer="001191440300"))
    label = json.loads(parse(get_xmp(marked))[AIGC, "AIGC"])
    assert list(label) == [
        "Label",
        "ContentProducer",
        "ProduceID",
        "ReservedCode1",
        "ContentPropagator",
        "PropagateID",
        "ReservedCode2",
    ]
    assert label["ContentProducer"] == "001191440300"


def test_an_aigc_label_in_a_png_text_chunk_is_read():
    text = PngImagePlugin.PngInfo()
    text.add_text("AIGC", json.dumps({"AIGC": {"Label": "1", "ContentProducer": "x"}}))
    assert read_metadata(picture("PNG", "RGB", pnginfo=text))["aigc"]["ContentProducer"] == "x"


def test_nothing_written_is_nothing_read():
    for kind, mode, options in CASES:
        assert read_metadata(picture(kind, mode, **options)) == {"iptc": None, "aigc": None}
    assert fields(iptc=False, aigc=False) == {}


@pytest.mark.parametrize(
    "bad",
    [
        b"<",
        b"",
        b"\xff\xfe\x00",
        b"<a/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        f"<rdf:RDF {RDF}>".encode() + b"<a>" * 500 + b"</a>" * 500 + b"</rdf:RDF>",
        b"x" * (MAX_PACKET + 1),
    ],
    ids=["cut", "empty", "utf16", "no-rdf", "doctype", "deep", "large"],
)
def test_unsafe_packets_are_refused_and_replaced(bad):
    with pytest.raises(MediaError):
        parse(bad)
    assert parse(merge(bad, {(IPTC_EXT, "AISystemUsed"): "x"})) == {(IPTC_EXT, "AISystemUsed"): "x"}


def test_a_packet_too_large_for_jpeg_says_so():
    large = THEIRS.replace(b"An agency", b"x" * 70_000)
    with pytest.raises(MetadataFailed, match="JPEG holds"):
        write_metadata(picture("JPEG", "RGB"), fields(), base=large)
    write_metadata(picture("PNG", "RGB"), fields(), base=large)


def test_a_compressed_packet_is_read_and_a_bomb_is_not():
    def with_chunk(text):
        body = b"iTXtXML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(text, 9)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        data = picture("PNG", "RGB")
        return data[:33] + chunk + data[33:]

    assert get_xmp(with_chunk(THEIRS)) == THEIRS
    with pytest.raises(MediaError, match="at most"):
        get_xmp(with_chunk(b" " * (8 * MAX_PACKET)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_broken_containers_are_media_errors(data):
    kind, mode, options = data.draw(st.sampled_from(CASES))
    whole = bytearray(set_xmp(picture(kind, mode, **options), THEIRS))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(12, min(len(whole), 1200) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(whole[: data.draw(st.integers(12, len(whole)))])
    try:
        read_metadata(broken)
        write_metadata(broken, fields())
    except (MediaError, MetadataFailed):
        pass


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_survives_as_far_as_xml_can_hold_it(system, version):
    wanted = {(IPTC_EXT, "AISystemUsed"): system, (IPTC_EXT, "AISystemVersionUsed"): version}
    found = parse(merge(THEIRS, wanted))
    for key, value in wanted.items():
        held = "".join(char for char in value if char.isprintable())
        assert found[key] == held.strip()
