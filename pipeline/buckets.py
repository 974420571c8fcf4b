"""How videos are divided among table files: by the first bits of their ids, as finely as the files' size asks for.

A video's id is a digest of its contents, so its bits are as good as random, and the division does not depend on the
order in which videos come. Each id lies in exactly one bucket: replacing one bucket's file touches no other video.
"""

from __future__ import annotations

from collections.abc import Mapping

NAME = "poses/bucket-{}.parquet"
WHOLE = "all"
"""Of the one bucket that there is while everything fits in."""


def bucket_name(bits: str) -> str:
    """The file of a bucket, relative to the output."""
    return NAME.format(bits or WHOLE)


def id_bits(video_id: str) -> str:
    """A hexadecimal digest as binary digits."""
    return f"{int(video_id, 16):0{4 * len(video_id)}b}"


def divide(sizes: Mapping[str, int], limit: int) -> dict[str, list[str]]:
    """Bucket names to the sorted ids in them.

    ``sizes`` are bytes by video id. A bucket with more than ``limit`` bytes is halved by its next bit, unless it holds
    one video. Without any video there is one empty bucket, so that readers find a table.
    """
    buckets: dict[str, list[str]] = {}
    digits = {video_id: id_bits(video_id) for video_id in sizes}
    waiting = [("", sorted(sizes))]
    while waiting:
        bits, ids = waiting.pop()
        if len(ids) > 1 and sum(sizes[video_id] for video_id in ids) > limit:
            for bit in "10":
                prefix = bits + bit
                waiting.append((prefix, [i for i in ids if digits[i].startswith(prefix)]))
        elif ids or not bits:
            buckets[bucket_name(bits)] = ids
    return dict(sorted(buckets.items()))
