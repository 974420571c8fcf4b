import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.parity import Check, Golden, drawing_checks, network_checks

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "mimicmotion-tiny"


def test_every_golden_number_of_the_released_system_is_met():
    done = subprocess.run(
        [sys.executable, "benchmarks/parity.py", str(GOLDEN)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "FAILED" not in done.stdout
    (count,) = re.findall(r"(\d+) arrays, 0 outside of their tolerance", done.stdout)
    assert len(re.findall(r"\bok$", done.stdout, re.MULTILINE)) == int(count) > 40


@pytest.fixture(scope="module")
def changed(tmp_path_factory) -> Path:
    """The golden folder with one value of one array off by a hundredth of the array's deviation."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(GOLDEN, folder, dirs_exist_ok=True)
    arrays = load_file(folder / "arrays.safetensors")
    array = arrays["vae.encoded_mode"]
    array.view(-1)[7] += 0.01 * array.std()
    save_file(arrays, folder / "arrays.safetensors")
    return folder


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def test_one_changed_value_fails_its_array_and_no_other(changed):
    assert failed(list(network_checks(Golden(changed, "cpu", "float32")))) == ["vae.encoded_mode"]


def test_one_changed_level_of_a_drawing_fails_it(tmp_path):
    data = dict(np.load(GOLDEN / "pose.npz"))
    image = data["set1_image"].copy()
    image.flat[0] ^= 1
    np.savez(tmp_path / "pose.npz", **{**data, "set1_image": image})
    assert failed(list(drawing_checks(np.load(tmp_path / "pose.npz")))) == ["pose.set1_image"]


def test_a_result_that_is_no_number_fails():
    golden = Golden(GOLDEN, "cpu", "float32")
    spoilt = golden["vae.encoded_mode"].clone()
    spoilt.view(-1)[0] = torch.nan
    assert not golden.close("vae.encoded_mode", spoilt).passed
    assert not golden.exact("vae.encoded_mode", spoilt).passed
    assert golden.exact("vae.encoded_mode", golden["vae.encoded_mode"]).passed
