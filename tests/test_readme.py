"""What the README shows is what runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from jobs.animate_catalog import Options
from jobs.inspect_poses import Options as InspectOptions
from jobs.select_clips import Options as SelectOptions
from model.settings import AnimationSettings
from pipeline.catalog import VideoSettings
from pipeline.clip_table import SCHEMA as CLIP_SCHEMA
from pipeline.clips import REASONS, ClipSettings
from pipeline.video import probe_video

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_animate_a_picture_without_ray(tmp_path, dance, dancer_picture):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    statements = [line for line in example.splitlines() if line.strip() and not line.startswith(("from", "import"))]
    assert len(statements) <= 10
    shutil.copy(dance, tmp_path / "dance.mp4")
    shutil.copy(dancer_picture, tmp_path / "person.png")
    small = example.replace("SETTINGS)", 'SETTINGS.replace(resolution="64x64", steps=1))')
    code = f"{small}\nimport sys\nassert 'ray' not in sys.modules"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=environment)
    assert probe_video(tmp_path / "out.mp4").frames == 8


def test_every_option_is_in_the_table_of_settings():
    for configuration in (Options, VideoSettings, AnimationSettings):
        for name, field in configuration.__dataclass_fields__.items():
            if "help" in field.metadata:
                assert f"`--{name.replace('_', '-')}`" in README, name


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


def test_files_that_the_readme_names_exist():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
