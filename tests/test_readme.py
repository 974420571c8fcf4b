"""What the README shows is what runs."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import MISSING
from pathlib import Path

import pytest

from jobs.animate_catalog import Options
from jobs.extract_poses import Options as PoseOptions
from jobs.inspect_poses import Options as InspectOptions
from jobs.select_clips import Options as SelectOptions
from jobs.train import Options as TrainOptions
from model.embedded import SETTINGS as EMBEDDED
from model.settings import AnimationSettings
from pipeline.catalog import VideoSettings
from pipeline.clip_table import SCHEMA as CLIP_SCHEMA
from pipeline.clips import REASONS, ClipSettings
from pipeline.storage import Storage
from pipeline.training.settings import TrainingSettings
from pipeline.video import probe_video
from tests.pipeline.finished_parts import write_part
from tests.pipeline.test_pose_store import bring

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_ten_lines_animate_a_picture_without_ray(tmp_path, dance, dancer_picture):
    (example,) = (example for example in EXAMPLES if "Animator" in example)
    statements = [line for line in example.splitlines() if line.strip() and not line.startswith(("from", "import"))]
    assert len(statements) <= 10
    shutil.copy(dance, tmp_path / "dance.mp4")
    shutil.copy(dancer_picture, tmp_path / "person.png")
    small = example.replace("SETTINGS)", 'SETTINGS.replace(resolution="64x64", steps=1))')
    code = f"{small}\nimport sys\nassert 'ray' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    assert probe_video(tmp_path / "out.mp4").frames == 8


@pytest.mark.parametrize("library", ["pandas", "duckdb", "datasets"])
def test_two_lines_open_the_pose_tables_without_our_code(library, tmp_path):
    (example,) = (example for example in EXAMPLES if re.search(rf"(import|from) {library}", example))
    assert len([line for line in example.splitlines() if line]) == 2
    storage = Storage(str(tmp_path / "poses"))
    for name in ("a", "b", "c"):
        write_part(storage, tmp_path, name)
    bring(storage, dict.fromkeys("abc", "a"), table_bytes=1)
    assert len(list((tmp_path / "poses" / "poses").iterdir())) > 1
    counts = {
        "pandas": "len(poses) == 15",
        "duckdb": "sorted(poses['frames']) == [5, 5, 5]",
        "datasets": "len(poses) == 15",
    }
    first = {"pandas": "len(poses['scores'][0]) == 133", "datasets": "len(poses[0]['keypoints']) == 266"}
    code = f"{example}assert {counts[library]}\nassert {first.get(library, True)}\n"
    # Isolated from this project, and from caches of other runs.
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_option_is_in_the_table_of_settings():
    for configuration in (Options, PoseOptions, VideoSettings, AnimationSettings):
        for name, field in configuration.__dataclass_fields__.items():
            if "help" in field.metadata:
                assert f"`--{name.replace('_', '-')}`" in README, name


def shown(value: object) -> str:
    """A default as a table shows it."""
    if isinstance(value, tuple):
        return " and ".join(map(str, value)) if isinstance(value[0], int) else ", ".join(map(str, value))
    return "off" if value is False else f"{value:g}" if isinstance(value, float) else str(value)


def plain(cell: str) -> str | float:
    """However a number is written."""
    try:
        return float(re.sub(r"(?<=\d),(?=\d{3})", "", cell))
    except ValueError:
        return cell


@pytest.mark.parametrize(
    ("section", "configurations"),
    [
        ("Of `extract_poses.py`", (PoseOptions,)),
        ("Of `animate_catalog.py`", (Options, VideoSettings, AnimationSettings)),
        ("| option of `select_clips`", (SelectOptions, ClipSettings)),
        ("| option of `inspect_poses`", (InspectOptions,)),
        ("| option of `train`", (TrainOptions,)),
        ("| setting (in a recipe", (TrainingSettings,)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_defaults_in_the_tables_are_the_codes(section, configurations):
    rows = README.split(section)[1].split("\n## ")[0].split("\n| option of")[0].split("\n| setting")[0]
    written = {}
    for names, cell in re.findall(r"^\| (`--[^|]+) \| ([^|]+) \|", rows, re.MULTILINE):
        several = re.findall(r"`--([a-z0-9-]+)`", names)
        # Only where a row has several options are its defaults a list.
        cells = cell.replace("`", "").split(", ") if len(several) > 1 else [cell.replace("`", "")]
        written.update(zip(several, cells, strict=True))
    for configuration in configurations:
        for name, field in configuration.__dataclass_fields__.items():
            if "help" not in field.metadata or field.metadata.get("positional") or field.default in (None, MISSING, ()):
                continue
            expected = shown(field.default)
            if configuration is AnimationSettings and getattr(EMBEDDED, name) != field.default:
                expected += f" [{shown(getattr(EMBEDDED, name))}]"
            said = written[name.replace("_", "-")]
            assert plain(said) == plain(expected), f"{name} is {said} in the README, {expected} in the code"


def test_options_and_columns_of_clips_and_inspection_are_in_their_section():
    section = README.split("## Clips for training")[1].split("\n## ")[0]
    selecting, inspecting = section.split("| option of `inspect_poses` |")
    options = [(selecting, SelectOptions), (selecting, ClipSettings), (inspecting, InspectOptions)]
    for text, configuration in options:
        for name, field in configuration.__dataclass_fields__.items():
            if not field.metadata.get("positional"):
                assert f"`--{name.replace('_', '-')}`" in text, name
    for name in [*CLIP_SCHEMA.names, *REASONS]:
        assert f"`{name}`" in section, name


def test_options_and_settings_of_training_are_in_their_section():
    section = README.split("## Training")[1].split("\n## ")[0]
    for configuration in (TrainOptions, TrainingSettings):
        for name, field in configuration.__dataclass_fields__.items():
            if "help" in field.metadata:
                assert f"`--{name.replace('_', '-')}`" in section, name


def test_files_that_the_readme_names_exist():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
