import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.fusion import mean, none, progressive, step_plans
from model.routes import routes
from model.settings import STRATEGIES


def test_neighbours_that_stay_exchange_the_shared_frames_and_nothing_else():
    plan = progressive(25, 10, 3)
    assert len(plan.windows) == 4
    for consumer, coming in enumerate(routes(plan, plan.windows)):
        assert [route.source for route in coming] == [s for s in range(4) if abs(s - consumer) <= 1]
        for route in coming:
            if route.source != consumer:
                assert (len(route.done), len(route.shared), len(route.before)) == (0, 3, 0)


def test_windows_side_by_side_exchange_nothing():
    plan = none(25, 10, 3)
    for consumer, coming in enumerate(routes(plan, plan.windows)):
        assert [route.source for route in coming] == [consumer]
        assert coming[0].shared == ()


def test_the_weights_are_those_of_the_plan():
    plan = mean(9, 6, 2)
    (coming,) = routes(plan, [(4, 5)])
    assert [(route.source, route.shared, route.weights) for route in coming] == [
        (0, (4, 5), (0.5, 0.5)),
        (1, (4, 5), (0.5, 0.5)),
    ]


def test_a_frame_in_no_window_is_named():
    plan = mean(9, 6, 2)
    with pytest.raises(ValueError, match="frame 3 is in no window"):
        routes(type(plan)(9, ((0, 1, 2),), plan.weights), [(1, 3)])


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(STRATEGIES), st.integers(2, 120), st.integers(3, 20), st.data())
def test_every_frame_comes_whole(fusion, frames, window, data):
    """Either finished, from one window; or as the predictions of all that saw it, with the latents from one of them."""
    first, second = step_plans(fusion, frames, window, data.draw(st.integers(0, window - 2)), 2)
    for members, coming in zip(second.windows, routes(first, second.windows), strict=True):
        assert [route.source for route in coming] == sorted({route.source for route in coming})
        for frame in members[1:]:
            seen = [source for source, other in enumerate(first.windows) if frame in other]
            done = [route.source for route in coming if frame in route.done]
            shared = [route.source for route in coming if frame in route.shared]
            before = [route.source for route in coming if frame in route.before]
            assert (done, shared) == ((seen, []) if len(seen) == 1 else ([], seen))
            assert len(before) == (len(seen) > 1)
            weights = [route.weights[route.shared.index(frame)] for route in coming if frame in route.shared]
            assert not shared or sum(weights) == pytest.approx(1)
        assert all(0 not in route.done + route.shared + route.before for route in coming)
