"""DWPose's two files in miniature: one person in every picture, surer the brighter it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

from model.estimators.selection import DWPOSE_DETECTOR, DWPOSE_POSE
from tests.model.estimators.test_dwpose import detector_row, peaks, save


def make_toy_dwpose(folder: Path) -> Path:
    """Write them. Every picture takes some ten milliseconds, nearly all of it to make the detector's input."""
    rows = detector_row((40, 30), 0.5, 300, 420, 0.9)[None]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "axis"], ["light"]),
        helper.make_node("Mul", ["light", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["output"]),
    ]
    constants = {"axis": np.array([3]), "zero": np.array(0, np.float32), "rows": rows}
    save(folder / DWPOSE_DETECTOR, nodes, constants, {"images": (1, 3, 640, 640)}, {"output": (1, 8400, 85)})
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["rows"], axes=[3], keepdims=0),
        helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1, 2], keepdims=1),
        helper.make_node("Div", ["mean", "full"], ["share"]),
        helper.make_node("Add", ["share", "one"], ["factor"]),
        helper.make_node("Mul", ["x", "factor"], ["simcc_x"]),
        helper.make_node("Mul", ["y", "factor"], ["simcc_y"]),
    ]
    x, y = peaks(576, 288, 0.3)[None], peaks(768, 384, 0.4)[None]
    constants = {"full": np.array(20, np.float32), "one": np.array(1, np.float32), "x": x, "y": y}
    gives = {"simcc_x": ("batch", *x.shape[1:]), "simcc_y": ("batch", *y.shape[1:])}
    save(folder / DWPOSE_POSE, nodes, constants, {"input": ("batch", 3, 384, 288)}, gives)
    return folder
