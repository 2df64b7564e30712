"""Numbers of records that anybody may have written."""

import json

import pytest

from xception_jax.json_values import as_real, as_whole


@pytest.mark.parametrize("whole", [0, -3, 2**53 + 1, -(2**53) - 1, 2**63 - 1])
def test_a_whole_number_is_read_exactly(whole):
    """A float has 53 bits, and a seed up to 63."""
    assert as_whole(json.loads(str(whole))) == whole


@pytest.mark.parametrize(("text", "whole"), [("3.0", 3), ("-1e3", -1000), ("1e15", 10**15)])
def test_a_whole_number_may_be_written_as_a_float(text, whole):
    assert as_whole(json.loads(text)) == whole


@pytest.mark.parametrize(
    "text",
    ["2.5", "true", '"3"', "null", "[]", "NaN", "Infinity", "1e300", str(2**63), str(-(2**63))],
)
def test_what_is_no_whole_number_of_64_bits_is_none(text):
    assert as_whole(json.loads(text)) is None


@pytest.mark.parametrize(
    "text", ["NaN", "-Infinity", "1e999", "-1e40", "1" + "0" * 400, "true", '"1"', "{}"]
)
def test_what_is_no_number_whose_square_is_finite_is_none(text):
    assert as_real(json.loads(text)) is None
