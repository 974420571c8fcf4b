"""How the videos of an extraction are dealt out."""

import pytest

from pipeline.extract import fair_share


@pytest.mark.parametrize(
    ("videos", "workers", "share"), [(1, 1, 1), (2, 2, 1), (2, 1, 2), (3, 2, 2), (4, 4, 1), (100, 2, 2)]
)
def test_no_worker_takes_a_second_video_in_hand_where_another_would_have_none(videos, workers, share):
    assert fair_share(videos, workers, at_once=2) == share
    assert fair_share(videos, workers, at_once=1) == 1
