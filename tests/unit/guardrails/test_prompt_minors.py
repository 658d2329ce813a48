"""Ages as people write them, and what they are not."""

import pytest

from clearmark.guardrails.prompt import read


@pytest.mark.parametrize(
    "text",
    [
        "8yo", "8 yo", "8 y/o", "8 year old", "8-year-old", "8 yr old", "8 years old", "eight year old",
        "twelve-year-old", "17 years old", "age 8", "age: 8", "(age:8)", "aged 12", "(8 year old:1.3)",
        "t0ddler", "t o d d l e r", "a lollipop of a toddler",
        "ｔｅｅｎａｇｅｒ", "schoolgirl", "👧", "小学生", "девочка", "8yrs",
    ],
)  # fmt: skip
def test_reads_as_a_minor(text):
    assert read(text).age.strength in {"strong", "alone"}


@pytest.mark.parametrize(
    "text",
    [
        "34 years old", "18 year old", "80 yo", "age 21", "aged 45", "(age:33)", "f/1.8", "8k", "8 bit",
        "8 years later", "5 o'clock", "12 oz", "1girl", "a 17th century house",
        "kindle",
    ],
)  # fmt: skip
def test_does_not_read_as_a_minor(text):
    assert read(text).age.strength in {"", "weak"}


def test_the_place_is_that_of_the_original():
    text = "portrait, (twelve year old:1.2), garden"
    age = read(text).age
    assert text[age.start : age.end] == "twelve year"
