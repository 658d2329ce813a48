"""From the words of a source to an SPDX expression."""

from __future__ import annotations

import importlib.resources
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearmark.provenance.training_data.importers.columns import ROW_NAMES
from clearmark.provenance.training_data.licences import identify, is_expression, traits


@pytest.mark.parametrize(
    ("statement", "spdx"),
    [
        ("http://web.resource.org/cc/PublicDomain", "CC-PDDC"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("http://creativecommons.org/licenses/by-nc-sa/3.0/de/", "CC-BY-NC-SA-3.0-DE"),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0/legalcode", "CC-BY-NC-ND-4.0"),
        ("http://creativecommons.org/licenses/GPL/2.0/", "GPL-2.0-only"),
        ("CC BY-SA 4.0", "CC-BY-SA-4.0"),
        ("cc by 2.0", "CC-BY-2.0"),
        ("cc0", "CC0-1.0"),
        ("CC0-1.0", "CC0-1.0"),
        ("MIT OR (GPL-3.0-only AND CC-BY-4.0)", "MIT OR (GPL-3.0-only AND CC-BY-4.0)"),
        ("LicenseRef-ours", "LicenseRef-ours"),
        ("All rights reserved", "LicenseRef-all-rights-reserved"),
        ("CC BY", "NOASSERTION"),
        ("Creative Commons", "NOASSERTION"),
        ("free to use", "NOASSERTION"),
        ("not MIT", "NOASSERTION"),
        ("MIT AND", "NOASSERTION"),
        ("CC-BY-9.9", "NOASSERTION"),
        ("https://creativecommons.org/licenses/by-by/4.0/", "NOASSERTION"),
        ("((((((((((((((((((((MIT))))))))))))))))))))", "NOASSERTION"),
        ("", "NOASSERTION"),
    ],
)
def test_identify(statement, spdx):
    assert identify(statement) == spdx


@given(st.text(max_size=200))
def test_whatever_is_said_the_answer_is_an_expression(statement):
    assert is_expression(identify(statement))


@pytest.mark.parametrize(
    ("spdx", "asks"),
    [
        ("CC0-1.0", (False, False, False, False, True)),
        ("CC-BY-4.0", (True, False, False, False, True)),
        ("CC-BY-NC-SA-3.0-DE", (True, True, True, False, True)),
        ("CC-BY-ND-4.0", (True, False, False, True, True)),
        ("GPL-2.0-only", (True, True, False, False, True)),
        ("NOASSERTION", (False, False, False, False, False)),
        ("LicenseRef-x", (False, False, False, False, False)),
    ],
)
def test_traits(spdx, asks):
    found = traits(spdx)
    assert (
        found.attribution,
        found.share_alike,
        found.non_commercial,
        found.no_derivatives,
        found.known,
    ) == asks


def test_every_identifier_that_we_write_is_on_the_spdx_list():
    schema = importlib.resources.files("cyclonedx.schema._res") / "spdx.SNAPSHOT.schema.json"
    listed = set(json.loads(schema.read_text())["enum"])
    statements = [
        "cc0", "pd", "mit", "apache-2.0", "unlicense", "ofl", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0",
        "pddl", "odc-by", "odbl", "https://creativecommons.org/publicdomain/mark/1.0/",
    ]  # fmt: skip
    parts = ["by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd"]
    statements += [
        f"https://creativecommons.org/licenses/{part}/{v}/"
        for part in parts
        for v in ("1.0", "2.0", "3.0", "4.0")
    ]
    missing = {identify(statement) for statement in statements} - listed
    assert not missing


def test_no_column_name_means_two_things():
    names = [name for known in ROW_NAMES.values() for name in known]
    assert len(names) == len(set(names))
