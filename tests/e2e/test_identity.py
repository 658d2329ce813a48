"""A second certificate in the folder of keys: pictures say who stands behind them, and `verify` says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from clearmark.provenance import make_development_ca
from clearmark.provenance.credentials.development import EMAIL_PROTECTION, issue_development_leaf
from clearmark.sdk.home import Home


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "park.png"
    Image.radial_gradient("L").resize((320, 320)).convert("RGB").save(path)
    return path


@pytest.fixture
def people(clearmark, tmp_path):
    """An authority for names, whose certificate for the photo desk lies in the folder of keys."""
    authority = make_development_ca(organization="The Daily Example")
    chain, key = issue_development_leaf(
        authority,
        common_name="Photo desk",
        not_after=datetime.now(UTC) + timedelta(days=90),
        usages=(EMAIL_PROTECTION,),
    )
    keys = Home(clearmark.home).ensure().keys
    for name, data in (("identity-chain.pem", chain), ("identity.pem", key)):
        (keys / name).write_bytes(data)
        (keys / name).chmod(0o600)
    root = tmp_path / "names.pem"
    root.write_bytes(authority.root_pem)
    return root


def test_who_stands_behind_it_is_said(clearmark, people, picture, tmp_path):
    done = clearmark("mark", picture, "--out", tmp_path / "marked", "--json")
    assert done.code == 0, done.err
    marked = done.json["out"]
    read = clearmark("verify", marked, "--json")
    assert (read.code, read.json["credentials"]["state"]) == (0, "trusted")
    assert read.json["credentials"]["identities"][0]["state"] == "valid"
    assert "anybody can make such a certificate" in read.json["conclusion"]
    assert clearmark("trust", "add", people, "--identities").code == 0
    listed = clearmark("trust", "list", "--identities", "--json").json
    assert "The Daily Example" in listed["subject"]
    read = clearmark("verify", marked, "--json")
    assert read.json["credentials"]["identities"][0]["state"] == "trusted"
    assert "Photo desk (The Daily Example) signed for it as publisher" in read.json["conclusion"]
    stranger = {"CLEARMARK_HOME": str(tmp_path / "nobody")}
    words = clearmark("verify", marked, "--trust-identities", people, env=stranger)
    assert "identity     trusted, Photo desk, The Daily Example" in words.out


def test_half_an_identity_is_an_error(clearmark, people, picture, tmp_path):
    (Home(clearmark.home).keys / "identity.pem").unlink()
    done = clearmark("mark", picture, "--out", tmp_path / "marked")
    assert done.code == 6
    assert "identity.pem" in done.err


def test_what_stands_in_a_composition_is_listed(clearmark, picture, tmp_path):
    """Two signed pictures, a third that was made from one and holds the other: both manifests come along."""
    one = clearmark("mark", picture, "--out", tmp_path / "one", "--json").json
    two = clearmark("mark", picture, "--out", tmp_path / "two", "--json").json
    refused = clearmark("mark", picture, "--out", tmp_path / "no", "--placed", two["out"])
    assert refused.code == 2
    words = ("--source", "altered", "--parent", one["out"], "--placed", two["out"])
    made = clearmark("mark", picture, "--out", tmp_path / "both", *words, "--json")
    assert made.code == 0, made.err
    read = clearmark("verify", made.json["out"], "--json").json["credentials"]
    assert [(row["relationship"], row["state"]) for row in read["ingredients"]] == [
        ("parentOf", "trusted"),
        ("componentOf", "trusted"),
    ]
    assert read["manifests"] == 3
    assert [row["action"] for row in read["actions"]][:3] == ["c2pa.opened", "c2pa.edited", "c2pa.placed"]
    shown = clearmark("verify", made.json["out"]).out
    assert "ingredient   parentOf, trusted" in shown
    assert "ingredient   componentOf, trusted" in shown
