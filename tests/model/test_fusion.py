import itertools

import numpy as np
import pytest
import torch

from model.fuser import Fuser
from model.fusion import (
    FUSIONS,
    FusionPlan,
    mean,
    none,
    progressive,
    released,
    shifted,
    step_plans,
    triangle,
)

EVERY = pytest.mark.parametrize("name", FUSIONS)


def total(plan: FusionPlan) -> np.ndarray:
    """The sum of every frame's weights."""
    found = np.zeros(plan.frames)
    for members, weights in zip(plan.windows, plan.weights, strict=True):
        assert len(members) == len(weights)
        found[list(members)] += weights
    return found


def fused(plan: FusionPlan, predictions: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    fuser = Fuser(plan, predictions[0], dtype)
    for index, prediction in enumerate(predictions):
        fuser.add(index, prediction)
    return fuser.result()


def predictions_for(plan: FusionPlan) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(5)
    return [torch.randn((len(members), 2, 3, 1), generator=source) for members in plan.windows]


@EVERY
@pytest.mark.parametrize(
    ("window", "overlap", "longest"),
    [(72, 6, 400), (16, 6, 400), (16, 14, 90), (9, 4, 200), (8, 3, 400), (8, 0, 400), (5, 3, 60), (2, 0, 40)],
)
def test_weights_of_every_frame_sum_to_one_at_every_length(name, window, overlap, longest):
    for frames in range(1, longest + 1):
        plan = FUSIONS[name](frames, window, overlap)
        np.testing.assert_allclose(total(plan), 1, rtol=0, atol=1e-12, err_msg=f"{frames} frames")
        assert max(len(members) for members in plan.windows) <= window
        assert min(weights.min() for weights in plan.weights) >= 0


def reach(plan: FusionPlan) -> list[tuple[int, int]]:
    """First and last driving frame of every window."""
    for members in plan.windows:
        assert members[0] == 0
        assert list(members[1:]) == list(range(members[1], members[-1] + 1))
    return [(members[1], members[-1]) for members in plan.windows]


@EVERY
def test_windows_follow_each_other_and_the_last_ends_the_video_at_every_length(name):
    for frames in range(2, 401):
        for overlap in (0, 4, 6):
            found = reach(FUSIONS[name](frames, 16, overlap))
            assert (found[0][0], found[-1][1]) == (1, frames - 1)
            assert found == sorted(found)
            assert all(later[0] <= earlier[1] + 1 for earlier, later in itertools.pairwise(found))
            assert all(later[1] > earlier[1] for earlier, later in itertools.pairwise(found))


@pytest.mark.parametrize("step", [0, 1, 2, 7, 24])
def test_shifted_windows_cover_every_length_evenly_and_are_never_short(step):
    for frames in range(1, 401):
        plan = shifted(frames, 16, 4, step)
        np.testing.assert_allclose(total(plan), 1, rtol=0, atol=1e-12)
        assert max(len(members) for members in plan.windows) <= 16
        if frames <= 16:
            assert plan.windows == (tuple(range(frames)),)
            continue
        found = reach(plan)
        assert (found[0][0], found[-1][1]) == (1, frames - 1)
        assert min(last - first + 1 for first, last in found) >= 8
        assert all(later[0] <= earlier[1] - 3 for earlier, later in itertools.pairwise(found))
        # All but those at the ends stand at the regular distance.
        assert {second[0] - first[0] for first, second in itertools.pairwise(found[1:-1])} <= {11}


def test_shifted_windows_move_by_their_part_of_the_stride_and_no_border_stays():
    starts = [reach(shifted(200, 16, 4, step))[1][0] for step in range(11)]
    assert [(start - 1) % 11 for start in starts] == [round(0.38 * 11 * step) % 11 for step in range(11)]
    assert all(earlier != later for earlier, later in itertools.pairwise(starts))


def test_a_shifted_window_weighs_its_driving_frames_by_a_triangle():
    plan = shifted(30, 10, 3, 1)
    sums = np.zeros(30)
    for members in plan.windows:
        sums[list(members[1:])] += triangle(len(members) - 1)
    for members, weights in zip(plan.windows, plan.weights, strict=True):
        np.testing.assert_allclose(weights[1:], triangle(len(members) - 1) / sums[list(members[1:])], rtol=1e-12)
        assert weights[0] == pytest.approx(1 / len(plan.windows))


def test_windows_that_stay_are_the_same_plan_at_every_step_and_shifted_ones_are_not():
    still, moving = (step_plans(name, 60, 16, 4, 3) for name in ("progressive", "shifted"))
    assert still[0] is still[1] is still[2]
    assert len({plan.windows for plan in moving}) == 3


@EVERY
def test_the_reference_frame_weighs_the_same_in_every_window(name):
    plan = FUSIONS[name](40, 8, 3)
    np.testing.assert_allclose([weights[0] for weights in plan.weights], 1 / len(plan.windows), rtol=1e-12)


@EVERY
def test_one_window_is_taken_as_it_is(name):
    plan = FUSIONS[name](8, 8, 3)
    assert plan.windows == (tuple(range(8)),)
    np.testing.assert_array_equal(plan.weights[0], np.ones(8))


def test_progressive_brings_the_later_window_in_evenly():
    plan = progressive(9, 6, 2)
    assert plan.windows == ((0, 1, 2, 3, 4, 5), (0, 4, 5, 6, 7, 8))
    np.testing.assert_allclose(plan.weights[0], [1 / 2, 1, 1, 1, 2 / 3, 1 / 3], rtol=1e-12)
    np.testing.assert_allclose(plan.weights[1], [1 / 2, 1 / 3, 2 / 3, 1, 1, 1], rtol=1e-12)


@pytest.mark.parametrize("overlap", [1, 3, 6])
def test_progressive_is_the_papers_algorithm_applied_window_after_window(overlap):
    plan = progressive(25, 8, overlap)
    predictions = [prediction.double() for prediction in predictions_for(plan)]
    blended = torch.zeros(25, 2, 3, 1, dtype=torch.float64)
    for index, (members, prediction) in enumerate(zip(plan.windows, predictions, strict=True)):
        for j, frame in enumerate(members[1:], start=1):
            arriving = j / (overlap + 1) if index > 0 and j <= overlap else 1.0
            blended[frame] = arriving * prediction[j] + (1 - arriving) * blended[frame]
    torch.testing.assert_close(fused(plan, predictions, torch.float64)[1:], blended[1:], rtol=0, atol=1e-12)


def test_mean_averages_what_is_shared():
    plan = mean(9, 6, 2)
    assert plan.windows == ((0, 1, 2, 3, 4, 5), (0, 4, 5, 6, 7, 8))
    np.testing.assert_allclose(plan.weights[0], [1 / 2, 1, 1, 1, 1 / 2, 1 / 2], rtol=1e-12)
    np.testing.assert_allclose(plan.weights[1], [1 / 2, 1 / 2, 1 / 2, 1, 1, 1], rtol=1e-12)


def test_none_puts_windows_side_by_side():
    plan = none(9, 6, 2)
    assert plan.windows == ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8))
    for weights in plan.weights:
        np.testing.assert_allclose(weights, [1 / 2, 1, 1, 1, 1], rtol=1e-12)


def test_a_released_window_weighs_its_frames_by_a_triangle(golden):
    np.testing.assert_allclose(triangle(8), golden["mid.window_weight"], rtol=1e-6)
    np.testing.assert_allclose(triangle(5), [0.2, 0.6, 1.0, 0.6, 0.2], rtol=1e-12)


@pytest.mark.parametrize("index", range(20))
def test_released_weights_are_the_released_ones(golden, index):
    case = golden.tables["windows"][index]
    plan = released(case["num_frames"], case["tile_size"], case["overlap"])
    sums = np.array(case["weight_sum"])
    for members, weights in zip(plan.windows, plan.weights, strict=True):
        np.testing.assert_allclose(weights, triangle(case["tile_size"]) / sums[list(members)], rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in FUSIONS if name != "none"])
def test_too_big_an_overlap_is_named(name):
    with pytest.raises(ValueError, match="overlap is 8, expected 0 to"):
        FUSIONS[name](20, 8, 8)


@EVERY
def test_fuser_adds_up_the_weighted_predictions(name):
    plan = FUSIONS[name](30, 8, 3)
    predictions = predictions_for(plan)
    expected = torch.zeros(30, 2, 3, 1, dtype=torch.float64)
    for members, weights, prediction in zip(plan.windows, plan.weights, predictions, strict=True):
        for position, frame in enumerate(members):
            expected[frame] += weights[position] * prediction[position].double()
    torch.testing.assert_close(fused(plan, predictions, torch.float64), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_fuser_sums_in_its_dtype_and_in_the_order_of_the_windows(dtype):
    plan = released(30, 8, 5)
    predictions = predictions_for(plan)
    expected = torch.zeros(30, 2, 3, 1, dtype=dtype)
    for members, weights, prediction in zip(plan.windows, plan.weights, predictions, strict=True):
        for position, frame in enumerate(members):
            weight = torch.tensor(weights[position], dtype=dtype)
            expected[frame] = expected[frame] + weight * prediction[position].to(dtype)
    found = fused(plan, predictions, dtype)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


def test_equal_predictions_are_fused_to_themselves():
    plan = progressive(100, 16, 6)
    video = torch.randn(100, 2, 3, 1, generator=torch.Generator().manual_seed(1))
    found = fused(plan, [video[list(members)] for members in plan.windows], torch.float32)
    torch.testing.assert_close(found, video, rtol=0, atol=1e-6)
