"""From a clip-art collection to training pictures with captions: hostile files, captions, near copies."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clearmark.core.dublin_core import DublinCore, UnsafeXml, parse_dublin_core
from clearmark.generation.reference.captions import MAX_WORDS, captions_of, keywords_of, kind_of, subject_of
from clearmark.generation.reference.colours import main_colours
from clearmark.generation.reference.data import Dataset, Item, build, first_of_copies, read_denied
from clearmark.generation.reference.pictures import UnusablePicture, load_square

SVG = """<?xml version="1.0"?>
<svg xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><rdf><cc:Work rdf:about="">
<dc:title>{title}</dc:title><dc:creator><cc:Agent><dc:title>Ada  Maker</dc:title></cc:Agent></dc:creator>
<dc:subject><rdf:Bag><rdf:li>fruit</rdf:li><rdf:li> red
 fruit</rdf:li><rdf:li></rdf:li></rdf:Bag></dc:subject>
<cc:license rdf:resource="http://web.resource.org/cc/PublicDomain"/></cc:Work></rdf></metadata>
<g>{rest}</g></svg>"""


class TestDublinCore:
    def test_it_reads_what_the_file_says_of_itself(self):
        meta = parse_dublin_core(SVG.format(title="Apple", rest="").encode())
        assert meta == DublinCore(
            title="Apple",
            creator="Ada Maker",
            licence="http://web.resource.org/cc/PublicDomain",
            keywords=("fruit", "red fruit"),
        )
        assert meta.is_public_domain

    def test_what_follows_the_metadata_is_not_read(self):
        assert parse_dublin_core(SVG.format(title="Apple", rest="<broken").encode()).title == "Apple"

    @pytest.mark.parametrize(
        "entity",
        [
            '<!ENTITY x SYSTEM "file:///etc/passwd">',
            '<!ENTITY x "y"><!ENTITY z "&x;&x;&x;">',
            f'<!ENTITY x "{"y" * 300}">',
            "".join(f'<!ENTITY x{n} "y">' for n in range(80)),
        ],
    )
    def test_entities_that_expand_or_reach_outside_are_refused(self, entity):
        with pytest.raises(UnsafeXml):
            parse_dublin_core(f"<!DOCTYPE svg [{entity}]>{SVG[22:]}".encode())

    @given(st.binary(max_size=400))
    def test_any_bytes_are_read_or_refused(self, data):
        for given_ in (data, b"<svg><metadata><title>" + data):
            with contextlib.suppress(UnsafeXml):
                parse_dublin_core(given_)


class TestCaptions:
    def test_the_title_names_the_thing_and_the_file_name_steps_in(self):
        assert subject_of(DublinCore(title="Red Apple"), "apple_ada_01", "food/fruit") == "red apple"
        meta = DublinCore(title="Part of the Flat Icon Collection", creator="Ada Maker")
        assert subject_of(meta, "apple_ada_maker_01", "food/fruit") == "apple"
        assert subject_of(DublinCore(), "taiwan", "signs_and_symbols/flags/asia") == "flag of taiwan"

    def test_captions_run_from_the_name_to_everything_known(self):
        meta = DublinCore(
            title="Apple", creator="Ada Maker", keywords=("fruit", "ada", "hash(0x1)", "Healthy")
        )
        words = keywords_of(meta, "food/fruit")
        assert words == ["fruit", "healthy", "food"]
        captions = captions_of("apple", words, "red", "food/fruit")
        assert captions[:3] == ("apple", "an apple", "a red apple")
        assert "a red fruit" in captions

    def test_general_kinds_are_given_where_the_folder_is_about_things(self):
        assert kind_of("animals/bugs") == "insect"
        assert kind_of("animals/birds") == "bird"
        assert kind_of("unsorted") == ""

    @given(st.text(max_size=60), st.lists(st.text(max_size=30), max_size=8), st.text(max_size=40))
    def test_no_caption_is_empty_or_long(self, title, keywords, folder):
        meta = DublinCore(title=title, keywords=tuple(keywords))
        captions = captions_of(subject_of(meta, "x1", folder), keywords_of(meta, folder), "", folder)
        assert all(0 < len(caption.split()) <= MAX_WORDS for caption in captions)


class TestPictures:
    def test_the_drawing_is_cropped_and_set_on_white(self, tmp_path):
        picture = Image.new("RGBA", (300, 200), (0, 255, 0, 0))
        picture.paste((255, 0, 0, 255), (100, 50, 200, 100))
        picture.save(tmp_path / "a.png")
        square = load_square(tmp_path / "a.png", 64)
        assert square.shape == (64, 64, 3)
        assert (square[0, 0] == 255).all()
        assert square[32, 32].tolist() == [255, 0, 0]
        # No green from under the transparency bleeds into the edges.
        assert (square[..., 1] <= square[..., 0]).all()

    def test_what_cannot_be_used_says_why(self, tmp_path):
        path = tmp_path / "a.png"
        for picture, reason in (
            (Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "transparent"),
            (Image.new("RGB", (50, 50), "white"), "white"),
            (Image.new("RGB", (400, 20), "red"), "thin"),
            (Image.new("1", (6000, 6000)), "pixels"),
        ):
            picture.save(path)
            with pytest.raises(UnusablePicture, match=reason):
                load_square(path)
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(UnusablePicture):
            load_square(path)

    @pytest.mark.parametrize(
        ("colour", "name"),
        [("red", "red"), ("lime", "green"), ("#303030", "black"), ("#8b4513", "brown"), ("white", "")],
    )
    def test_colours_have_their_names(self, colour, name):
        assert main_colours(np.asarray(Image.new("RGB", (32, 32), colour))) == name

    def test_near_copies_are_found_and_the_first_is_kept(self):
        rng = np.random.default_rng(0)
        first, other = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        copy = np.clip(first.astype(int) + 2, 0, 255).astype(np.uint8)
        assert first_of_copies(np.stack([first, other, copy])).tolist() == [True, True, False]


def test_a_collection_becomes_a_dataset_that_can_be_read_again(tmp_path):
    png, svg = tmp_path / "png", tmp_path / "svg"
    for name, colour in (
        ("food/fruit/apple", "red"),
        ("food/fruit/kiwi", "green"),
        ("shapes/stars/s1", "blue"),
    ):
        for root in (png, svg):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (60, 60), "white")
        picture.paste(colour, (10, 10, 50, 40))
        picture.save(png / f"{name}.png")
        (svg / f"{name}.svg").write_text(SVG.format(title=name.split("/")[-1], rest=""))
    Image.new("RGB", (60, 60), "pink").save(png / "food/fruit/none.png")
    made = build(png, svg, side=32, workers=1)
    assert [item.captions[2] for item in made.items] == ["a red apple", "a green kiwi"]
    assert made.skipped["no metadata"] == 1
    assert made.skipped["folder without things"] == 1
    made.save(tmp_path / "out")
    read = Dataset.load(tmp_path / "out")
    assert read.digest == made.digest
    assert (read.pictures == made.pictures).all()
    assert read.items == made.items


def test_what_the_data_policy_denies_is_left_out_and_counted(tmp_path):
    rows = [
        {"key": "animals/a.png", "allowed": True},
        {"key": "animals/b.png", "allowed": False, "rule": "duplicate"},
        {"summary": {"denied": 1}},
    ]
    audit = tmp_path / "audit.jsonl"
    audit.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    denied = read_denied(audit)
    assert denied == {"animals/b.png"}
    items = tuple(
        Item(f"animals/{name}.png", name, "somebody", "", (name,), flip=True, weight=1.0) for name in "abc"
    )
    whole = Dataset(np.arange(3 * 4 * 4 * 3, dtype=np.uint8).reshape(3, 4, 4, 3), items, {"x": 1}, "d")
    left = whole.without(denied)
    assert [item.title for item in left.items] == ["a", "c"]
    assert np.array_equal(left.pictures, whole.pictures[[0, 2]])
    assert left.skipped == {"x": 1, "denied by the data policy": 1}
    assert left.digest != whole.digest
