import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.settings import AnimationSettings
from pipeline.catalog import CatalogError, VideoSettings, read_catalog

DEFAULTS = VideoSettings(AnimationSettings())


def read(path: Path, text: str):
    path.write_text(text)
    return read_catalog(str(path), DEFAULTS)


def test_three_formats_say_the_same(tmp_path):
    row = {"id": "a", "reference": "r.png", "driving": "s3://videos/d.mp4", "seed": 7, "fps": 12.5, "mood": "gay"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "c.parquet")
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n\n")
    (tmp_path / "c.csv").write_text("id,reference,driving,seed,fps,mood\na,r.png,s3://videos/d.mp4,7,12.5,gay\n")
    for name in ("c.parquet", "c.jsonl", "c.csv"):
        (found,), bad = read_catalog(str(tmp_path / name), DEFAULTS)
        assert bad == []
        assert (found.id, found.line) == ("a", 1)
        assert found.reference == str(tmp_path / "r.png"), "relative to the catalog"
        assert found.driving == "s3://videos/d.mp4"
        assert (found.settings.animation.seed, found.settings.fps) == (7, 12.5)
        assert found.row["mood"] == "gay"


def test_json_may_hold_what_python_takes_for_the_end_of_a_line(tmp_path):
    said = "one\u2028two\u2029three\x85four"
    rows = [{"id": name, "reference": "r.png", "driving": "d.mp4", "said": said} for name in "ab"]
    found, bad = read(tmp_path / "c.jsonl", "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert bad == []
    assert [(row.line, row.row["said"]) for row in found] == [(1, said), (2, said)]


def test_a_number_is_an_id_in_every_format(tmp_path):
    row = {"id": 17, "reference": "r.png", "driving": "d.mp4"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "c.parquet")
    (tmp_path / "c.jsonl").write_text(json.dumps(row))
    (tmp_path / "c.csv").write_text("id,reference,driving\n17,r.png,d.mp4\n")
    pq.write_table(pa.Table.from_pylist([{**row, "id": 17.0}]), tmp_path / "gap.parquet")
    for name in ("c.parquet", "c.jsonl", "c.csv", "gap.parquet"):
        assert [found.id for found in read_catalog(str(tmp_path / name), DEFAULTS)[0]] == ["17"]


def test_paths_in_a_remote_catalog_are_relative_to_it():
    import fsspec

    with fsspec.open("memory://lists/c.csv", "w") as file:
        file.write("id,reference,driving\na,r.png,videos/d.mp4\n")
    (row,), _ = read_catalog("memory://lists/c.csv", DEFAULTS)
    assert row.reference == "memory:///lists/r.png"
    assert row.driving == "memory:///lists/videos/d.mp4"


def test_every_override_reaches_its_setting(tmp_path):
    header = "id,reference,driving,seed,steps,guidance,fps,resolution,fusion,person"
    (row,), _ = read(tmp_path / "c.csv", f"{header}\na,r,d,9223372036854775807,3,1:3,24,64x80,mean,2\n")
    animation = row.settings.animation
    assert (animation.seed, animation.steps, animation.guidance) == (2**63 - 1, 3, "1:3")
    assert (row.settings.fps, animation.resolution, animation.fusion, row.settings.person) == (24, "64x80", "mean", 2)


def test_an_empty_cell_is_the_default_also_in_a_column_of_numbers(tmp_path):
    table = pa.table({
        "id": ["a", "b"], "reference": ["r", "r"], "driving": ["d", "d"],
        "resolution": pa.array([576.0, None]), "seed": pa.array([1.0, None]),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "c.parquet")
    (a, b), bad = read_catalog(str(tmp_path / "c.parquet"), DEFAULTS)
    assert bad == []
    assert (a.settings.animation.resolution, a.settings.animation.seed) == ("576", 1)
    assert b.settings == DEFAULTS


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("../x,r,d,", "cannot name a file"),
        ("a/b,r,d,", "cannot name a file"),
        (".hidden,r,d,", "cannot name a file"),
        (f"{'x' * 129},r,d,", "cannot name a file"),
        (",r,d,", "id is ''"),
        ("a,,d,", "reference is ''"),
        ("a,r,,", "driving is ''"),
        ("a,r,d,nan", "fps"),
        ("a,r,d,0", "fps is 0.0"),
        ("a,r,d,inf", "fps is inf"),
        ("a,r,d,fast", "expected a number"),
        ("a,r,d,1,2", "more fields"),
    ],
)
def test_a_bad_row_is_named_and_the_next_is_read(tmp_path, row, reason):
    (good,), (bad,) = read(tmp_path / "c.csv", f"id,reference,driving,fps\n{row}\ngood,r,d,\n")
    assert (good.id, good.line) == ("good", 2)
    assert (bad.line, bad.stage) == (1, "catalog")
    assert "row 1" in bad.message
    assert reason in bad.message


def test_nan_in_a_number_column_is_refused_not_taken_for_empty(tmp_path):
    pq.write_table(
        pa.table({"id": ["a"], "reference": ["r"], "driving": ["d"], "steps": pa.array([float("nan")])}),
        tmp_path / "c.parquet",
    )
    rows, (bad,) = read_catalog(str(tmp_path / "c.parquet"), DEFAULTS)
    assert rows == []
    assert "steps is NaN" in bad.message


def test_of_rows_with_one_id_the_first_counts_and_case_does_not_tell_them_apart(tmp_path):
    rows, bad = read(tmp_path / "c.csv", "id,reference,driving\na,r1,d\nb,r,d\na,r2,d\nA,r3,d\n")
    assert [row.id for row in rows] == ["a", "b"]
    assert rows[0].reference.endswith("r1")
    assert [entry.line for entry in bad] == [3, 4]
    assert all("already used by row 1" in entry.message for entry in bad)


def test_a_line_that_is_not_json_is_one_bad_row(tmp_path):
    good = json.dumps({"id": "a", "reference": "r", "driving": "d"})
    rows, bad = read(tmp_path / "c.jsonl", f"{good}\n{{broken\n[1]\n")
    assert [row.id for row in rows] == ["a"]
    assert [entry.line for entry in bad] == [2, 3]
    assert "not JSON" in bad[0].message


@pytest.mark.parametrize(
    "row", ['{"id": "b", "seed": ' + "1" * 5001 + "}", "[" * 20_000, '{"fps": ' + "9" * 401 + ', "id": "b", %s}']
)
def test_what_python_cannot_take_is_one_bad_row(tmp_path, row):
    paths = '"reference": "r", "driving": "d"'
    rows, bad = read(tmp_path / "c.jsonl", '{"id": "a", ' + paths + "}\n" + row.replace("%s", paths))
    assert [row.id for row in rows] == ["a"]
    assert [entry.line for entry in bad] == [2]


def test_a_date_that_python_does_not_know_is_one_bad_row(tmp_path):
    columns = {name: ["a", "b"] for name in ("id", "reference", "driving")}
    table = pa.table({**columns, "when": pa.array([0, 2**45], pa.timestamp("s"))})
    pq.write_table(table, tmp_path / "c.parquet")
    rows, bad = read_catalog(str(tmp_path / "c.parquet"), DEFAULTS)
    assert [row.id for row in rows] == ["a"]
    assert [entry.line for entry in bad] == [2]


def test_a_parquet_column_that_is_there_twice_is_named(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, ["id", "driving", "id"]), tmp_path / "c.parquet")
    with pytest.raises(CatalogError, match="has column id twice"):
        read_catalog(str(tmp_path / "c.parquet"), DEFAULTS)


def test_a_damaged_catalog_is_named(tmp_path):
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"id": [str(n) for n in range(5000)]}), path, compression="none")
    contents = bytearray(path.read_bytes())
    contents[20:200] = bytes(180)
    path.write_bytes(contents)
    with pytest.raises(CatalogError, match=r"c.parquet cannot be read as parquet"):
        read_catalog(str(path), DEFAULTS)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("c.csv", "id,driving\na,d\n", "no column reference; it has id, driving"),
        ("c.csv", "id,reference,driving\n", "no rows"),
        ("c.csv", "id,reference,driving,id\na,r,d,b\n", "has column id twice"),
        ("c.csv", "", "no rows"),
        ("c.txt", "id,reference,driving\na,r,d\n", "unknown format"),
        ("c.parquet", "not parquet", "cannot be read as parquet"),
        ("c.csv", 'id,reference,driving\n"a', "cannot be read as csv"),
    ],
)
def test_a_catalog_that_is_no_catalog_is_one_error(tmp_path, name, text, reason):
    with pytest.raises(CatalogError, match=reason):
        read(tmp_path / name, text)


def test_a_missing_catalog_is_named(tmp_path):
    with pytest.raises(CatalogError, match=r"none\.csv: no such file"):
        read_catalog(str(tmp_path / "none.csv"), DEFAULTS)
