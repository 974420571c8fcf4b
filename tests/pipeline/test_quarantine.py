import io
import json

import pyarrow.parquet as pq

from model.settings import AnimationSettings
from pipeline.catalog import VideoSettings, read_catalog
from pipeline.quarantine import SCHEMA, Quarantined, to_parquet


def entry() -> Quarantined:
    try:
        raise ValueError("because")
    except ValueError as error:
        return Quarantined.of(
            error, "poses", "a", 3, {"id": "a", "reference": "r.png", "driving": "d.mp4", "x": 1, "seed": 5}
        )


def test_an_entry_has_all_that_is_needed_to_find_the_cause():
    (row,) = pq.read_table(io.BytesIO(to_parquet([entry()]))).to_pylist()
    assert (row["id"], row["stage"], row["error"], row["message"]) == ("a", "poses", "ValueError", "because")
    assert (row["line"], row["attempts"]) == (3, 1)
    assert "raise ValueError" in row["traceback"]


def test_nothing_quarantined_is_a_table_with_columns():
    table = pq.read_table(io.BytesIO(to_parquet([])))
    assert table.num_rows == 0
    assert set(SCHEMA.names) <= set(table.column_names)


def test_it_can_be_fed_back_as_a_catalog(tmp_path):
    (tmp_path / "q.parquet").write_bytes(to_parquet([entry()]))
    (row,), bad = read_catalog(str(tmp_path / "q.parquet"), VideoSettings(AnimationSettings()))
    assert bad == []
    assert (row.id, row.reference, row.settings.animation.seed) == ("a", str(tmp_path / "r.png"), 5)
    assert row.row["x"] == "1"


def test_what_is_fed_back_again_and_again_does_not_grow(tmp_path):
    path, sizes = tmp_path / "q.parquet", []
    fed = {"uri": "https://a.example/dance.mp4", "name": 'he said "hi"'}
    for _ in range(4):
        failed = Quarantined.of(ValueError("because"), "list", fed["uri"], 1, fed)
        path.write_bytes(to_parquet([failed], ["uri"]))
        (fed,) = pq.read_table(path).to_pylist()
        sizes.append(len(fed["row"]))
        assert json.loads(fed["row"])["name"] == 'he said "hi"'
    assert sizes[1:] == [sizes[1]] * 3
