import json
import shutil
from pathlib import Path

import pytest

from model.artifacts import ArtifactError
from model.weight_files import CheckpointError, fetch_weights, latent_grid, read_config


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "not a JSON file"), (b"\xff\xfe", "not a JSON file"), (b"[1]", "found a list")]
)
def test_a_configuration_that_is_none_is_refused(tmp_path, content, message):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_config(path)


def copied(golden, folder: Path) -> tuple[str, str]:
    shutil.copytree(golden.folder / "base", folder / "base")
    shutil.copy(golden.folder / "MimicMotion_tiny.pth", folder)
    return str(folder / "base"), str(folder / "MimicMotion_tiny.pth")


def test_digest_is_that_of_the_contents_of_every_file(golden, tmp_path):
    base, checkpoint = copied(golden, tmp_path)
    found = fetch_weights(base, checkpoint)
    assert found.digest() == golden.files.digest()
    digests = {golden.files.digest()}
    for path in vars(found).values():
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        digests.add(found.digest())
        path.write_bytes(content)
    assert len(digests) == 1 + len(vars(found))


def test_half_precision_files_are_taken_before_full_ones(golden, tmp_path):
    base, checkpoint = copied(golden, tmp_path)
    half = tmp_path / "base/vae/diffusion_pytorch_model.fp16.safetensors"
    full = shutil.copy(half, tmp_path / "base/vae/diffusion_pytorch_model.safetensors")
    assert fetch_weights(base, checkpoint).vae == half
    half.unlink()
    assert fetch_weights(base, checkpoint).vae == full


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vae/diffusion_pytorch_model.fp16.safetensors", r"base/vae: neither .*fp16\.safetensors nor .*SVD folder"),
        ("unet/config.json", r"unet/config\.json: no such file"),
        ("scheduler/scheduler_config.json", r"scheduler_config\.json: no such file"),
    ],
)
def test_a_missing_file_is_named(golden, tmp_path, name, message):
    base, checkpoint = copied(golden, tmp_path)
    (tmp_path / "base" / name).unlink()
    with pytest.raises(ArtifactError, match=message):
        fetch_weights(base, checkpoint)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [("vae", "block_out_channels", None), ("unet", "block_out_channels", "big"), ("vae", "latent_channels", "4")],
)
def test_a_configuration_that_says_nothing_of_latents_is_refused(golden, tmp_path, part, name, value):
    base, _ = copied(golden, tmp_path)
    assert latent_grid(base).factor > 1
    path = tmp_path / "base" / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(CheckpointError, match=rf"base: block_out_channels of vae/config.json .*{value}.*SVD folder"):
        latent_grid(base)
