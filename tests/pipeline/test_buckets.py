from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from pipeline.buckets import bucket_name, divide, id_bits

ids = st.integers(0, 10**6).map(lambda n: hashlib.sha256(str(n).encode()).hexdigest())
sizes = st.dictionaries(ids, st.integers(0, 100), max_size=60)


@given(sizes, st.integers(1, 500))
def test_every_video_is_in_one_bucket_of_its_own_bits_and_none_is_too_large(sizes, limit):
    buckets = divide(sizes, limit)
    assert sorted(video for videos in buckets.values() for video in videos) == sorted(sizes)
    for name, videos in buckets.items():
        assert len(videos) <= 1 or sum(sizes[video] for video in videos) <= limit
        assert videos == sorted(videos)
        bits = name.removeprefix("poses/bucket-").removesuffix(".parquet").replace("all", "")
        assert all(id_bits(video).startswith(bits) for video in videos)


@given(sizes, st.integers(1, 500))
def test_tables_in_order_of_their_names_are_in_order_of_their_videos(sizes, limit):
    assert [video for videos in divide(sizes, limit).values() for video in videos] == sorted(sizes)


@given(sizes, st.integers(1, 500), st.randoms())
def test_the_order_in_which_videos_come_does_not_matter(sizes, limit, random):
    shuffled = list(sizes.items())
    random.shuffle(shuffled)
    assert divide(dict(shuffled), limit) == divide(sizes, limit)


@given(st.integers(0, 10**6))
def test_many_small_videos_share_few_tables(seed):
    ids = [hashlib.sha256(f"{seed} {number}".encode()).hexdigest() for number in range(1000)]
    assert 10 <= len(divide(dict.fromkeys(ids, 1), 100)) <= 30


def test_nothing_is_one_empty_table():
    assert divide({}, 10) == {bucket_name(""): []}
