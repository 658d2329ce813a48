"""What owners say about training, protocol by protocol."""

from __future__ import annotations

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clearmark.core.errors import UsageError
from clearmark.provenance import make_development_ca
from clearmark.provenance.training_data._pictures import look_at
from clearmark.provenance.training_data.items import Signal
from clearmark.provenance.training_data.opt_outs import (
    ManifestClaims,
    OptOutList,
    Sites,
    read_claims,
    read_headers,
    read_manifest,
    read_robots,
    read_tdmrep,
    read_usage,
    read_xmp,
    state_of,
)
from clearmark.provenance.training_data.opt_outs.listed import normal_value
from clearmark.provenance.training_data.opt_outs.robots import matches_path


def states(signals):
    return [signal.reserved for signal in signals]


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/", "/a", True),
        ("/a", "/abc", True),
        ("/a/", "/a", False),
        ("/*.png$", "/x/y.png", True),
        ("/*.png$", "/x/y.png?z", False),
        ("/a*b*c", "/a1b2c3", True),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("*", "", True),
        ("/*a*a*a*a*a*a*a*a*b$", "/" + "a" * 50_000, False),
    ],
)
def test_path_patterns(pattern, path, fits):
    assert matches_path(pattern, path) is fits


@pytest.mark.parametrize(
    ("text", "reserved"),
    [
        ("", []),
        ("User-agent: *\nDisallow:", []),
        ("User-agent: *\nDisallow: /", [True]),
        ("User-agent: GPTBot\nDisallow: /", [True]),
        ("user-agent: CCBot\nuser-agent: gptbot\ndisallow: /img # all", [True]),
        ("User-agent: Googlebot\nDisallow: /", []),
        ("User-agent: *\nDisallow: /img/\nAllow: /img/a.png", []),
        ("User-agent: *\nDisallow: /other/", []),
        ("User-agent: *\nAllow: /\nContent-Usage: train-ai=n", [True]),
        ("User-agent: *\nContent-Usage: /other train-ai=n\nContent-Usage: /img train-ai=y", [False]),
        ("\ufeffno colon\nDisallow: /", []),
    ],
)
def test_robots(text, reserved):
    assert states(read_robots(text, "https://a.example/img/a.png?b")) == reserved


@given(st.text(max_size=300), st.text(max_size=60))
def test_any_text_can_stand_in_robots_and_tdmrep(text, url):
    read_robots(text, url)
    read_tdmrep(text, url)
    read_usage(text)


@pytest.mark.parametrize(
    ("value", "reserved"),
    [
        ("train-ai=n", True),
        ("train-ai=y", False),
        ("train-ai=n, train-genai=y", False),
        ("bots=n, train-ai=y", False),
        ("bots=n", True),
        ("search=y", None),
        ("train-ai", False),
        ("train-ai=?0", True),
        ("TRAIN-AI=n", None),
        ("train-ai=n;reason=x, search=y", True),
        ("%%%", None),
    ],
)
def test_content_usage(value, reserved):
    assert read_usage(value).reserved is reserved


def test_no_content_usage_is_no_signal():
    assert read_usage("  ") is None


def test_headers_are_read_without_regard_to_case():
    signals = read_headers(
        {"TDM-RESERVATION": "1", "tdm-policy": "https://a.example/p", "X-Robots-Tag": "bot: noindex, NoAI"},
        read_us=7,
    )
    assert [(signal.kind, signal.reserved, signal.read_us) for signal in signals] == [
        ("tdmrep", True, 7),
        ("x-robots-tag", True, 7),
    ]
    assert "https://a.example/p" in signals[0].raw
    assert read_headers({"X-Robots-Tag": "noindex"}) == ()


def test_tdmrep_takes_the_rule_that_reserves():
    rules = [{"location": "/", "tdm-reservation": 0}, {"location": "/img/*", "tdm-reservation": 1}, "x", {}]
    assert states(read_tdmrep(json.dumps(rules), "https://a.example/img/a")) == [True]
    assert states(read_tdmrep(json.dumps(rules), "https://a.example/b")) == [False]
    assert states(read_tdmrep("<html>", "https://a.example/b")) == [None]
    assert read_tdmrep("[]", "https://a.example/b") == ()


PLUS = "http://ns.useplus.org/ldf/xmp/1.0/"


@pytest.mark.parametrize(
    ("value", "reserved"),
    [
        ("http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING", [True]),
        ("DMI-PROHIBITED", [True]),
        ("DMI-PROHIBITED-SOMETHINGNEW", [True]),
        ("DMI-ALLOWED", [False]),
        ("DMI-UNSPECIFIED", [None]),
        ("whatever", [None]),
        ("", []),
    ],
)
def test_plus_data_mining(value, reserved):
    assert states(read_xmp({(PLUS, "DataMining"): value})) == reserved


def test_xmp_inside_a_picture_is_read():
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:plus="{PLUS}" plus:DataMining="DMI-PROHIBITED" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xr="http://ns.adobe.com/xap/1.0/rights/" '
        'xr:WebStatement="https://creativecommons.org/licenses/by/4.0/">'
        "<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li></rdf:Seq></dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "blue").save(out, "JPEG", xmp=xmp.encode())
    look = look_at(out.getvalue(), read_us=5)
    assert states(look.signals) == [True]
    assert (look.creator, look.statement) == ("Ann", "https://creativecommons.org/licenses/by/4.0/")
    assert look.signals[0].read_us == 5


def claims(use, *, name="cawg.ai_generative_training", valid=True, label="cawg.training-mining"):
    return ManifestClaims(valid=valid, assertions=[(label, {"entries": {name: {"use": use}}})])


def test_training_mining_assertions():
    assert states(read_claims(claims("notAllowed"))) == [True]
    assert states(
        read_claims(claims("constrained", name="c2pa.ai_training", label="c2pa.training-mining"))
    ) == [True]
    assert states(read_claims(claims("allowed"))) == [False]
    assert states(read_claims(claims("allowed", valid=False))) == [None]
    assert states(read_claims(claims("notAllowed", valid=False))) == [True]
    assert read_claims(claims("allowed", label="c2pa.actions")) == ()
    assert read_claims(None) == ()
    assert states(read_claims(ManifestClaims(valid=True, assertions=[("cawg.training-mining", {})]))) == [
        None
    ]


def test_a_signed_reservation_is_read_from_a_real_manifest():
    import c2pa

    ca = make_development_ca()
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(out, "PNG")
    entries = {"cawg.ai_generative_training": {"use": "notAllowed"}}
    manifest = {
        "claim_generator_info": [{"name": "test"}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {
                    "actions": [
                        {
                            "action": "c2pa.created",
                            "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation",
                        }
                    ]
                },
            },
            {"label": "cawg.training-mining", "data": {"entries": entries}},
        ],
    }
    info = c2pa.C2paSignerInfo(b"es256", ca.chain_pem, ca.key_pem, None)
    signed = io.BytesIO()
    with c2pa.Builder(json.dumps(manifest)) as builder, c2pa.Signer.from_info(info) as signer:
        builder.sign(signer, "image/png", io.BytesIO(out.getvalue()), signed)
    look = look_at(signed.getvalue())
    assert [(signal.kind, signal.reserved) for signal in look.signals] == [("cawg.training-mining", True)]
    assert "notAllowed" in look.signals[0].raw
    assert read_manifest(out.getvalue(), "image/png") is None
    broken = signed.getvalue().replace(b"jumb", b"jumb\xff", 1)
    assert read_manifest(broken, "image/png") is None or not read_manifest(broken, "image/png").valid


def test_what_a_crawler_kept_of_a_site_is_read_for_its_addresses(tmp_path):
    site = tmp_path / "a.example"
    (site / ".well-known").mkdir(parents=True)
    (site / "robots.txt").write_text("User-agent: GPTBot\nDisallow: /img/")
    (site / ".well-known" / "tdmrep.json").write_text('[{"location": "/", "tdm-reservation": 0}]')
    os.utime(site / "robots.txt", (1_700_000_000, 1_700_000_000))
    sites = Sites(tmp_path)
    signals, read = sites.read("https://A.example/img/a.png")
    assert read
    assert sorted(states(signals)) == [False, True]
    assert signals[0].read_us == 1_700_000_000_000_000
    assert sites.read("https://b.example/") == ((), False)
    for url in ("https://../x", "file:///etc/passwd", "https://a..example/", "http://[", "", "https:///x"):
        assert sites.read(url) == ((), False)


def test_a_reservation_outweighs_every_permission():
    yes = Signal(kind="a", raw="", reserved=False)
    no = Signal(kind="b", raw="", reserved=True)
    silent = Signal(kind="c", raw="", reserved=None)
    assert state_of([yes, no, yes], looked=True) == "reserved"
    assert state_of([yes, silent], looked=True) == "allowed"
    assert state_of([silent], looked=False) == "none"
    assert state_of([], looked=True) == "none"
    assert state_of([], looked=False) == "unread"


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=6))
def test_registered_hashes_match_within_three_bits(value, flipped):
    other = value
    for bit in flipped:
        other ^= 1 << bit
    listed = OptOutList.of([("phash", f"{value:016x}")])
    found = listed.match(sha256="", phash=other, source="", creator="")
    assert (found is not None) == (len(flipped) <= 3)


def test_registered_owners_and_addresses():
    listed = OptOutList.of(
        [
            ("host", "example.org"),
            ("creator", "ann example"),
            ("prefix", "https://b.example/ann/"),
            ("sha256", "ab" * 32),
        ]
    )

    def match(**given):
        return listed.match(**{"sha256": "", "phash": None, "source": "", "creator": "", **given})

    assert match(source="https://img.example.org/a.png") == ("host", "example.org")
    assert match(source="https://notexample.org/a.png") is None
    assert match(creator="Ann Example") == ("creator", "ann example")
    assert match(source="https://b.example/ann/1.png")[0] == "prefix"
    assert match(sha256="ab" * 32)[0] == "sha256"
    assert match(source="http://[broken") is None
    assert bool(listed)
    assert not OptOutList.of([])


@pytest.mark.parametrize(
    ("kind", "value"), [("name", "x"), ("sha256", "abc"), ("phash", "g" * 16), ("host", " ")]
)
def test_registered_values_are_checked(kind, value):
    with pytest.raises(UsageError):
        normal_value(kind, value)
