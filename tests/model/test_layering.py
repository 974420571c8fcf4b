import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FORBIDDEN = {
    "model": {"ray", "pipeline", "cluster", "jobs", "benchmarks", "tests"},
    "cluster": {"pipeline", "jobs", "benchmarks", "tests"},
    "pipeline": {"jobs", "benchmarks", "tests"},
}


def imported(source: str, package: str) -> set[str]:
    """The top-level packages that a file of ``package`` imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(package if node.level else (node.module or "").split(".")[0])
    return found


def test_imports_are_found_wherever_they_stand():
    source = (
        "import a.b as c, d\nfrom e.f import g\nfrom . import h\ndef i():\n    if 1:\n        from ray import data\n"
    )
    assert imported(source, "model") == {"a", "d", "e", "model", "ray"}


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_a_layer_knows_nothing_of_those_above_it(layer):
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    wrong = {str(file.relative_to(ROOT)): imported(file.read_text(), layer) & FORBIDDEN[layer] for file in files}
    assert not {file: names for file, names in wrong.items() if names}


# Ray starts processes for most of these. To import torch takes two seconds of a core, the networks' libraries ten.
LIGHT = {
    "torch": (
        "jobs.animate_catalog",
        "jobs.extract_poses",
        "cluster.client",
        "cluster.coordinator",
        "pipeline.extraction_stage",
        "pipeline.pose_stage",
        "pipeline.animate_stage",
    ),
    "diffusers": (
        "pipeline.training.figure_clips",
        "pipeline.training.footage_clips",
    ),
}


@pytest.mark.parametrize("heavy", LIGHT)
def test_what_moves_arrays_and_estimates_poses_loads_no_more_than_it_uses(heavy):
    code = f"import sys, {', '.join(LIGHT[heavy])}; sys.exit({heavy!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_scene_is_composed_without_pytorch():
    code = """
import sys
import numpy as np
from model.embedded import SETTINGS
from model.keypoints import PoseSequence
from model.scene import compose
nobody = PoseSequence.empty(3, 64, 48)
scene = compose(np.zeros((64, 48, 3), np.uint8), nobody[:1], nobody, SETTINGS)
assert len(list(scene.guidance())) == 3
sys.exit("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
