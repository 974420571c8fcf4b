import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.framing import (
    CoverFit,
    fit_picture,
    pad_to_multiple,
    parse_resolution,
    picture_size,
    truncate_like_released,
)
from model.settings import AnimationSettings

SIDES = st.integers(16, 4096)


@pytest.mark.parametrize(
    ("text", "meaning"), [("576", 576), ("432x768", (432, 768)), ("16X4096", (16, 4096)), (" 64 x 80 ", (64, 80))]
)
def test_a_resolution_is_a_short_side_or_width_by_height(text, meaning):
    assert parse_resolution(text) == meaning


@pytest.mark.parametrize("text", ["", "x", "576x", "x576", "1x2x3", "15", "64x15", "4097", "-576", "57.6", "big", "0"])
def test_other_resolutions_are_named(text):
    with pytest.raises(ValueError, match="expected SHORT_SIDE or WIDTHxHEIGHT") as caught:
        parse_resolution(text)
    assert repr(text) in str(caught.value)


def test_size_scaling_and_crop_are_the_released_ones(golden):
    cases = golden.tables["reference_image_sizes"]
    assert len(cases) == 70
    for case in cases:
        height, width = picture_size(case["resolution"], case["in_h"], case["in_w"])
        assert (height, width) == (case["target_h"], case["target_w"]), case
        fit = CoverFit.of(case["in_h"], case["in_w"], height, width)
        assert (fit.scaled_height, fit.scaled_width) == (case["resize_h"], case["resize_w"]), case
        assert (fit.top, fit.left) == (case["crop_top"], case["crop_left"]), case
        assert (fit.height, fit.width) == (height, width)


def test_width_and_height_are_taken_as_they_are():
    assert picture_size((80, 100), 900, 500) == (100, 80)
    assert picture_size((80, 100), 500, 900) == (100, 80)


def test_the_long_side_is_never_the_shorter_one():
    assert picture_size(100, 900, 500) == (128, 100)
    assert picture_size(20, 900, 500) == (20, 20)


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_the_scaled_picture_covers_the_target_at_its_centre_and_touches_two_sides(height, width, target_h, target_w):
    fit = CoverFit.of(height, width, target_h, target_w)
    over_h, over_w = fit.scaled_height - target_h, fit.scaled_width - target_w
    assert min(over_h, over_w) == 0
    assert 0 <= fit.top <= over_h
    assert 0 <= fit.left <= over_w
    assert abs(2 * fit.top - over_h) <= 1
    assert abs(2 * fit.left - over_w) <= 1
    assert abs(fit.scaled_height * width - fit.scaled_width * height) <= max(height, width)


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.floats(-0.5, 1.5), st.floats(-0.5, 1.5))
def test_points_come_back_where_they_were(height, width, target_h, target_w, x, y):
    fit = CoverFit.of(height, width, target_h, target_w)
    points = np.array([[[x * width, y * height]]], np.float32)
    back = fit.points_back(fit.points(points, height, width), height, width)
    assert back.shape == points.shape
    np.testing.assert_allclose(
        back, points, rtol=0, atol=1e-6 * max(height, width) * max(1, height / target_h, width / target_w) + 1e-3
    )


@pytest.mark.parametrize("target", [(128, 64), (64, 128), (90, 90)])
def test_points_move_with_the_picture(target):
    image = np.zeros((200, 300, 3), np.uint8)
    image[96:104, 146:154] = 255
    fit = CoverFit.of(200, 300, *target)
    fitted = fit.image(image, antialias=True)[..., 0].astype(float)
    assert fitted.shape == target
    rows, columns = np.indices(target) + 0.5
    centre = [(fitted * columns).sum() / fitted.sum(), (fitted * rows).sum() / fitted.sum()]
    np.testing.assert_allclose(fit.points(np.array([150.0, 100.0]), 200, 300), centre, atol=0.1)


def test_a_picture_of_the_right_size_is_not_touched(golden):
    image = golden["in.ref_image_u8"].numpy()
    for antialias in (False, True):
        np.testing.assert_array_equal(CoverFit.of(128, 64, 128, 64).image(image, antialias), image)


def test_antialiasing_keeps_a_fine_pattern_from_becoming_a_coarse_one():
    stripes = np.zeros((250, 250, 3), np.uint8)
    stripes[:, ::2] = 255
    fit = CoverFit.of(250, 250, 64, 64)
    assert fit.image(stripes, antialias=True).std() < 20
    assert fit.image(stripes, antialias=False).std() > 60


@settings(max_examples=50, deadline=None)
@given(*[st.integers(16, 200)] * 4, st.integers(0, 2**32 - 1))
@example(111, 137, 16, 196, 1)  # PyTorch in float32 is 0.003 of a level away from itself in float64
def test_a_picture_is_scaled_as_pytorch_scales_it(height, width, target_h, target_w, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    fit = CoverFit.of(height, width, target_h, target_w)
    pixels, size = torch.from_numpy(image).permute(2, 0, 1)[None], (fit.scaled_height, fit.scaled_width)
    inside = np.s_[fit.top : fit.top + target_h, fit.left : fit.left + target_w]

    def scaled(dtype: torch.dtype, antialias: bool) -> np.ndarray:
        picture = torch.nn.functional.interpolate(pixels.to(dtype), size, mode="bilinear", antialias=antialias)
        return picture[0].permute(1, 2, 0).numpy()[inside]

    # As released: by PyTorch in float32, to the bit.
    np.testing.assert_array_equal(fit.image(image, antialias=False), scaled(torch.float32, False).round())
    # To the nearest level of what is exact, whichever it is where two are as near.
    assert np.abs(fit.image(image, antialias=True) - scaled(torch.float64, True)).max() <= 0.5001


@pytest.mark.parametrize(("dtype", "half", "lost"), [("torch.float16", True, 20), ("torch.float32", False, 63)])
def test_truncation_is_the_released_one(golden, dtype, half, lost):
    levels = np.arange(256, dtype=np.uint8)
    truncated = truncate_like_released(levels, half)
    assert truncated.tolist() == golden.tables["reference_uint8_round_trip"][dtype]
    assert (levels - truncated.astype(int)).sum() == lost
    assert truncate_like_released(np.full((2, 3, 3), 255, np.uint8), half).shape == (2, 3, 3)


@pytest.mark.parametrize(("shape", "padded"), [((100, 80), (128, 128)), ((64, 128), (64, 128)), ((1, 65), (64, 128))])
def test_padding_continues_the_edge_to_multiples_of_64(shape, padded):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    found = pad_to_multiple(image, 64)
    assert found.shape == (*padded, 3)
    for y in range(padded[0]):
        for x in range(0, padded[1], 7):
            assert (found[y, x] == image[min(y, shape[0] - 1), min(x, shape[1] - 1)]).all()


def test_a_picture_is_scaled_as_released_in_the_released_style_alone():
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    default = AnimationSettings(resolution="64x64")
    whole, fit = fit_picture(image, default.resolution)
    assert fit == CoverFit.of(200, 300, 64, 64)
    np.testing.assert_array_equal(whole, fit.image(image, antialias=True))
    for half in (False, True):
        cut, _ = fit_picture(image, default.resolution, "released", half)
        np.testing.assert_array_equal(cut, truncate_like_released(fit.image(image, antialias=False), half))
