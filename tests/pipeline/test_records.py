import dataclasses

import pytest

from model.settings import AnimationSettings
from pipeline.catalog import VideoSettings
from pipeline.records import fingerprint, is_done, known_digests, read_record, settings_dict, write_record
from pipeline.storage import Storage

SETTINGS = VideoSettings(AnimationSettings())
OUTPUT = {"video": "videos/a.mp4", "bytes": 5, "frames": 2}
INPUTS = {"reference": {"uri": "r.png", "version": "v", "sha256": "s"}}
RECORD = {"fingerprint": "f", "output": OUTPUT, "inputs": INPUTS, "windows": 1}


def test_whatever_changes_the_result_changes_the_fingerprint():
    def of(reference="r", driving="d", settings=SETTINGS, weights="w", estimator="e", dtype="float32"):
        return fingerprint(reference, driving, settings, weights, estimator, dtype)

    other = {
        "resolution": "64x64", "window": 16, "overlap": 1, "fusion": "mean", "steps": 3, "guidance": "3", "seed": 1,
        "noise_aug_strength": 0.1, "motion_bucket_id": 1, "model_fps": 8, "decode_chunk": 4, "decode_overlap": 1,
        "style": "released",
    }  # fmt: skip
    assert set(other) == {field.name for field in dataclasses.fields(AnimationSettings)}
    changed = [SETTINGS.animation.replace(**{name: value}) for name, value in other.items()]
    variants = [of(settings=dataclasses.replace(SETTINGS, animation=animation)) for animation in changed]
    variants += [of(settings=dataclasses.replace(SETTINGS, **change)) for change in ({"fps": 9.0}, {"person": 2})]
    variants += [of(settings=dataclasses.replace(SETTINGS, layout="side-by-side"))]
    variants += [of("x"), of(driving="x"), of(weights="x"), of(estimator="x"), of(dtype="float16"), of()]
    assert len(set(variants)) == len(variants)
    assert of() == of()


def test_a_row_is_done_when_its_record_is_of_this_request_and_its_video_is_whole(tmp_path):
    storage = Storage(str(tmp_path))
    assert read_record(storage, "a") is None
    storage.write("videos/a.mp4", b"12345")
    write_record(storage, "a", RECORD)
    record = read_record(storage, "a")
    assert is_done(storage, record, "f")
    assert not is_done(storage, record, "other")
    storage.write("videos/a.mp4", b"123")
    assert not is_done(storage, record, "f")
    storage.remove("videos/a.mp4")
    assert not is_done(storage, record, "f")
    assert not is_done(storage, None, "f")


def test_a_record_that_cannot_be_read_counts_as_none(tmp_path):
    storage = Storage(str(tmp_path))
    for contents in (b"{half", b"[]", b'{"schema": 0}', b"\xff"):
        storage.write("records/a.json", contents)
        assert read_record(storage, "a") is None


@pytest.mark.parametrize(
    "change",
    [
        {"output": None},
        {"output": {"video": "videos/a.mp4"}},
        {"output": {**OUTPUT, "bytes": "5"}},
        {"windows": None},
        {"inputs": []},
        {"inputs": {"reference": "r.png"}},
        {"inputs": {"reference": {"uri": "r.png", "version": "v"}}},
    ],
)
def test_a_record_without_what_is_asked_of_it_counts_as_none(tmp_path, change):
    storage = Storage(str(tmp_path))
    write_record(storage, "a", RECORD)
    assert read_record(storage, "a") is not None
    write_record(storage, "a", {**RECORD, **change})
    assert read_record(storage, "a") is None


def test_digests_are_remembered_by_place_and_version():
    record = {"inputs": {"reference": {"uri": "u", "version": "v", "sha256": "s"}}}
    assert known_digests({"a": record, "b": None}) == {("u", "v"): "s"}


def test_settings_are_flat_for_readers():
    flat = settings_dict(SETTINGS)
    assert flat["window"] == 72
    assert flat["fps"] == 15
    assert "animation" not in flat
