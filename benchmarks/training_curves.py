"""The losses of one or more training runs as a picture.

python -m benchmarks.training_curves runs/figures/*/metrics.jsonl --output curves.png
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

_SMOOTHED = 25
"""Steps that a point of the training loss is the mean of."""

_COLUMNS = 3


def draw(runs: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """One panel a run: the training loss in means, and the validation loss where it was taken."""
    columns = min(len(runs), _COLUMNS)
    lines = math.ceil(len(runs) / columns)
    figure, grid = pyplot.subplots(
        lines, columns, figsize=(4 * columns, 3.2 * lines), squeeze=False, layout="constrained"
    )
    for empty in grid.flat[len(runs) :]:
        empty.set_axis_off()
    for panel, (name, rows) in zip(grid.flat[: len(runs)], runs.items(), strict=True):
        losses = np.array([row["loss"] for row in rows], float)
        whole = len(losses) // _SMOOTHED * _SMOOTHED
        if whole:
            means = losses[:whole].reshape(-1, _SMOOTHED).mean(axis=1)
            panel.plot((np.arange(len(means)) + 0.5) * _SMOOTHED, means, label="training", linewidth=1)
        validated = [(row["step"] + 1, row["validation_loss"]) for row in rows if row.get("validation_loss")]
        if validated:
            panel.plot(*zip(*validated, strict=True), "o-", label="validation", markersize=3)
        panel.set(title=name, xlabel="step", yscale="log")
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    for first in grid[:, 0]:
        first.set_ylabel("loss")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _names(files: Sequence[Path]) -> list[str]:
    """Each run's name: its folder's, or its file's where that says more; the whole path where several share it."""
    names = [path.parent.name if path.stem == "metrics" else path.stem for path in files]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, files, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("metrics", nargs="+", type=Path, help="metrics.jsonl of runs")
    parser.add_argument("--output", type=Path, required=True, help="a PNG")
    given = parser.parse_args()
    names = _names(given.metrics)
    runs = {
        name: [json.loads(line) for line in path.read_text().splitlines()]
        for name, path in zip(names, given.metrics, strict=True)
    }
    draw(runs, given.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
