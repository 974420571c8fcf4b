import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import save_file

from model.artifacts import ArtifactError
from model.checkpoint import load_networks
from model.training.export import CHECKPOINT, export, export_vae
from model.training.starting import check_start, starting_networks
from model.weight_files import CheckpointError, fetch_weights
from tests.model.training.networks import small_networks

PARTS = ("unet", "pose_net", "vae", "image_encoder")


def test_what_is_exported_loads_wherever_the_released_weights_do(tmp_path):
    networks = small_networks()
    export(networks, tmp_path)
    loaded = load_networks(fetch_weights(str(tmp_path), str(tmp_path / CHECKPOINT)))
    assert (loaded.sigma_min, loaded.sigma_max) == (0.002, 80.0)
    for part in PARTS:
        own, found = getattr(networks, part).state_dict(), getattr(loaded, part).state_dict()
        assert own.keys() == found.keys()
        for name in own:
            torch.testing.assert_close(found[name], own[name].half().to(found[name].dtype), rtol=0, atol=0)


def test_training_goes_on_from_an_export(tmp_path):
    networks = small_networks()
    export(networks, tmp_path)
    found = starting_networks("released", str(tmp_path), str(tmp_path / CHECKPOINT), None, 0)
    for part in PARTS:
        for name, tensor in getattr(found, part).state_dict().items():
            assert torch.equal(tensor, getattr(networks, part).state_dict()[name].half().to(tensor.dtype)), name


def test_from_svd_the_pose_net_adds_nothing_yet(tmp_path):
    networks = small_networks()
    export(networks, tmp_path)
    save_file(networks.unet.state_dict(), tmp_path / "unet/diffusion_pytorch_model.safetensors")
    found = starting_networks("svd", str(tmp_path), None, None, 0)
    assert torch.equal(found.unet.conv_in.weight, networks.unet.conv_in.weight)
    with torch.no_grad():
        assert not found.pose_net(torch.rand(1, 3, 32, 32)).any()


def test_from_scratch_the_seed_decides_and_weights_are_not_read(tmp_path):
    export(small_networks(), tmp_path)
    first, again, other = (starting_networks("scratch", str(tmp_path), None, None, seed) for seed in (1, 1, 2))
    assert torch.equal(first.unet.conv_in.weight, again.unet.conv_in.weight)
    assert not torch.equal(first.unet.conv_in.weight, other.unet.conv_in.weight)


def test_another_vae_is_taken_whole(tmp_path):
    export(small_networks(), tmp_path / "model")
    other = small_networks(seed=5).vae
    other.register_to_config(scaling_factor=0.5)
    export_vae(other, tmp_path / "vae")
    found = starting_networks("scratch", str(tmp_path / "model"), None, str(tmp_path / "vae"), 1).vae
    assert found.config["scaling_factor"] == 0.5
    assert torch.equal(found.encoder.conv_in.weight, other.encoder.conv_in.weight.half().float())


@pytest.mark.parametrize(
    ("start", "name"),
    [
        ("released", CHECKPOINT),
        ("released", "vae/diffusion_pytorch_model.fp16.safetensors"),
        ("svd", "unet/diffusion_pytorch_model.safetensors"),
        ("svd", "image_encoder/model.fp16.safetensors"),
        ("scratch", "unet/config.json"),
        ("scratch", "other/diffusion_pytorch_model.fp16.safetensors"),
        ("scratch", "other/config.json"),
    ],
)
def test_the_digest_is_of_the_contents_of_what_is_started_from(tmp_path, start, name):
    for seed in (0, 1):
        networks = small_networks(seed)
        networks.vae.register_to_config(scaling_factor=1.0 + seed)
        networks.unet.register_to_config(sample_size=64 + seed)
        export(networks, tmp_path / str(seed))
        save_file(networks.unet.state_dict(), tmp_path / str(seed) / "unet/diffusion_pytorch_model.safetensors")
        export_vae(networks.vae, tmp_path / str(seed) / "other")

    def digest() -> str:
        checkpoint = str(tmp_path / "0" / CHECKPOINT) if start == "released" else None
        vae = str(tmp_path / "0/other") if name.startswith("other") else None
        return starting_networks(start, str(tmp_path / "0"), checkpoint, vae, 0).digest

    first = digest()
    (tmp_path / "0" / CHECKPOINT).touch()
    assert digest() == first
    shutil.copyfile(tmp_path / "1" / name, tmp_path / "0" / name)
    assert digest() != first


@pytest.mark.parametrize(("start", "checkpoint"), [("released", None), ("scratch", "some.pth")])
def test_a_checkpoint_goes_with_released_alone(tmp_path, start, checkpoint):
    with pytest.raises(ValueError, match="a checkpoint goes with 'released' alone"):
        check_start(start, str(tmp_path), checkpoint, None, (16, 16))


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere.pth: no such file"):
        check_start("released", str(tmp_path), str(tmp_path / "nowhere.pth"), None, (16, 16))


def test_pictures_that_do_not_halve_often_enough_are_refused(tmp_path):
    export(small_networks(), tmp_path)
    check_start("scratch", str(tmp_path), None, None, (16, 32))
    with pytest.raises(ValueError, match="width is 18, expected a multiple of 4"):
        check_start("scratch", str(tmp_path), None, None, (16, 18))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("in_channels", 8),
        ("out_channels", 4),
        ("cross_attention_dim", 16),
        ("projection_class_embeddings_input_dim", 24),
    ],
)
def test_networks_that_do_not_fit_together_are_refused(tmp_path, name, expected):
    export(small_networks(), tmp_path)
    path = tmp_path / "unet/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: 7}))
    with pytest.raises(CheckpointError, match=rf"unet/config.json: {name} is 7, expected {expected}"):
        check_start("scratch", str(tmp_path), None, None, (16, 16))


def test_the_vae_that_is_given_is_the_one_that_must_fit(tmp_path):
    export(small_networks(), tmp_path / "model")
    export_vae(AutoencoderKLTemporalDecoder(block_out_channels=[32], latent_channels=6), tmp_path / "vae")
    with pytest.raises(CheckpointError, match="in_channels is 8, expected 12"):
        check_start("scratch", str(tmp_path / "model"), None, str(tmp_path / "vae"), (16, 16))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("unet/config.json", "block_out_channels"),
        ("vae/config.json", "latent_channels"),
        ("image_encoder/config.json", "projection_dim"),
    ],
)
def test_a_configuration_that_lacks_what_is_needed_is_named(tmp_path, path, name):
    export(small_networks(), tmp_path)
    config = json.loads((tmp_path / path).read_text())
    del config[name]
    (tmp_path / path).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"{path}: without {name}"):
        check_start("scratch", str(tmp_path), None, None, (16, 16))
