import json
import sys

import numpy as np
from PIL import Image

from benchmarks import training_curves
from benchmarks.training_curves import main


def test_every_run_has_a_panel(tmp_path, monkeypatch):
    rows = [{"step": step, "loss": 1 / (1 + step)} for step in range(60)]
    rows[49]["validation_loss"] = 0.5
    sizes = []
    for runs in (["one"], ["one", "short"]):
        for name in runs:
            path = tmp_path / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in (rows if name == "one" else rows[:3])))
        picture = tmp_path / "curves.png"
        files = [str(tmp_path / f"{name}.jsonl") for name in runs]
        monkeypatch.setattr(sys, "argv", ["training_curves", *files, "--output", str(picture)])
        assert main() == 0
        drawn = Image.open(picture)
        assert np.asarray(drawn.convert("L")).std() > 5
        sizes.append(drawn.width)
    assert sizes[1] == 2 * sizes[0]


def test_runs_in_folders_of_one_name_have_a_panel_each(tmp_path, monkeypatch):
    files = [tmp_path / place / "run" / "metrics.jsonl" for place in ("a", "b")]
    for loss, path in enumerate(files, start=1):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"step": 0, "loss": loss}) + "\n")
    drawn = {}
    monkeypatch.setattr(training_curves, "draw", lambda runs, _: drawn.update(runs))
    monkeypatch.setattr(sys, "argv", ["training_curves", *map(str, files), "--output", str(tmp_path / "curves.png")])
    assert main() == 0
    assert {name: rows[0]["loss"] for name, rows in drawn.items()} == {str(files[0]): 1, str(files[1]): 2}
