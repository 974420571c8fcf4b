"""The eight ways in which a display matrix can have a picture seen, and what is none of them."""

import itertools
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding.orientation import orientation, upright

ONE = 1 << 16
SIGNS = list(itertools.product((1, -1), repeat=2))
EIGHT = [(a, 0, 0, d) for a, d in SIGNS] + [(0, b, c, 0) for b, c in SIGNS]


def matrix(a: float, b: float, c: float, d: float) -> bytes:
    return struct.pack("=9i", *(round(ONE * part) for part in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)


@pytest.mark.parametrize("way", EIGHT)
def test_every_point_is_shown_where_the_matrix_says(way):
    a, b, c, d = way
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    rows, columns = np.indices(picture.shape[:2])
    x, y = a * columns + c * rows, b * columns + d * rows
    x, y = x - x.min(), y - y.min()
    expected = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    expected[y, x] = picture

    shown = upright(picture, *orientation(matrix(*way)))

    np.testing.assert_array_equal(shown, expected)
    assert shown.flags.c_contiguous


def test_there_are_eight_and_no_two_are_taken_for_the_same():
    assert len({orientation(matrix(*way)) for way in EIGHT}) == len(EIGHT) == 8


@given(st.integers(0, 3), st.floats(-44, 44), st.booleans(), st.floats(0.01, 100))
def test_nearly_a_quarter_turn_is_one(quarters, beside, mirrored, scale):
    angle = math.radians(90 * quarters + beside)
    a, b, c, d = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    if mirrored:
        a, b = -a, -b

    assert orientation(matrix(scale * a, scale * b, scale * c, scale * d)) == (90 * quarters, mirrored)


@pytest.mark.parametrize("nothing", [None, b"", b"\0" * 36, matrix(1, 1, 1, 1), b"\xff" * 36])
def test_what_shows_nothing_leaves_a_picture_as_it_is(nothing):
    assert orientation(nothing) == (0, False)
