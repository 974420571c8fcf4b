import dataclasses
import gzip
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.released_networks import IMAGE_ENCODER, UNET, VAE
from model.checkpoint import (
    build_image_encoder,
    build_pose_net,
    build_unet,
    build_vae,
    load_networks,
    load_strict,
    read_tensors,
)
from model.settings import DTYPES
from model.training.export import save_checkpoint
from model.weight_files import CheckpointError, WeightFiles


@pytest.fixture
def files(golden) -> WeightFiles:
    return golden.files


def changed_checkpoint(files: WeightFiles, path: Path, **changes: torch.Tensor | None) -> WeightFiles:
    """A copy of the checkpoint with tensors replaced, added, or (``None``) taken away; dots are written ``__``."""
    tensors = read_tensors(files.checkpoint)
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name.replace("__", ".")]
        else:
            tensors[name.replace("__", ".")] = tensor
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return dataclasses.replace(files, checkpoint=path)


@pytest.mark.parametrize("dtype", DTYPES)
def test_released_files_load_in_every_precision(files, dtype):
    networks = load_networks(files, dtype=dtype)
    raw = read_tensors(files.checkpoint)
    for prefix, network in (("unet", networks.unet), ("pose_net", networks.pose_net)):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, raw[f"{prefix}.{name}"].to(getattr(torch, dtype))), name
    assert networks.dtype == getattr(torch, dtype)
    assert networks.device == torch.device("cpu")
    for network in (networks.unet, networks.pose_net, networks.vae, networks.image_encoder):
        assert {parameter.dtype for parameter in network.parameters()} == {getattr(torch, dtype)}
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not network.training


def test_nothing_is_left_without_memory(networks):
    for network in (networks.unet, networks.pose_net, networks.vae, networks.image_encoder):
        assert not any(tensor.is_meta for tensor in [*network.parameters(), *network.buffers()])
    position_ids = networks.image_encoder.get_buffer("vision_model.embeddings.position_ids")
    assert position_ids.tolist() == [list(range(65))]


def test_noise_levels_come_from_the_scheduler(files, networks, tmp_path):
    assert (networks.sigma_min, networks.sigma_max) == (0.002, 700.0)
    path = tmp_path / "scheduler_config.json"
    path.write_text(json.dumps({"prediction_type": "v_prediction", "sigma_min": 0.01, "sigma_max": 80}))
    other = load_networks(dataclasses.replace(files, scheduler_config=path))
    assert (other.sigma_min, other.sigma_max) == (0.01, 80.0)


def test_an_unknown_dtype_is_named(files):
    with pytest.raises(ValueError, match="dtype is 'float8', expected one of float32, float16, bfloat16"):
        load_networks(files, dtype="float8")


@pytest.mark.parametrize(
    ("suffix", "change", "message"),
    [
        ("pth", {"unet__conv_in__weight": None}, r"unet\.\*.*missing conv_in\.weight"),
        ("safetensors", {"pose_net__scale": None}, r"pose_net\.\*.*missing scale"),
        ("safetensors", {"unet__extra__weight": torch.zeros(2)}, r"unet\.\*.*surplus extra\.weight"),
        ("pth", {"pose_net__extra": torch.zeros(2)}, r"pose_net\.\*.*surplus extra"),
        ("pth", {"vae__extra": torch.zeros(2)}, r"surplus vae\.extra.*expected tensors under unet\. and pose_net\."),
        ("pth", {"unet__conv_in__bias": torch.zeros(31)}, r"misshapen conv_in\.bias is \(31,\), expected \(32,\)"),
        ("pth", {"pose_net__scale": torch.ones(1, dtype=torch.int8)}, r"not of floating point: scale is int8"),
        ("safetensors", {"pose_net__scale": torch.zeros(())}, r"misshapen scale is \(\), expected \(1,\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_with_its_file(files, tmp_path, suffix, change, message):
    path = tmp_path / f"changed.{suffix}"
    with pytest.raises(CheckpointError, match=message) as caught:
        load_networks(changed_checkpoint(files, path, **change))
    assert str(path) in str(caught.value)


def test_all_faults_are_told_at_once(files, tmp_path):
    changed = changed_checkpoint(
        files, tmp_path / "x.pth", unet__conv_in__weight=None, unet__a=torch.ones(1), unet__conv_in__bias=torch.ones(1)
    )
    with pytest.raises(CheckpointError, match=r"missing conv_in\.weight; surplus a; misshapen conv_in\.bias"):
        load_networks(changed)


@pytest.mark.parametrize("part", ["vae", "image_encoder"])
def test_faults_of_the_other_networks_are_told_too(files, tmp_path, part):
    tensors = load_file(getattr(files, part))
    gone = sorted(tensors)[0]
    del tensors[gone]
    path = tmp_path / "part.safetensors"
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=f"missing {gone}") as caught:
        load_networks(dataclasses.replace(files, **{part: path}))
    assert str(path) in str(caught.value)


def test_position_ids_of_an_old_transformers_are_no_surplus(files, tmp_path):
    tensors = load_file(files.image_encoder)
    tensors["vision_model.embeddings.position_ids"] = torch.arange(65)[None]
    path = tmp_path / "old.safetensors"
    save_file(tensors, path)
    load_networks(dataclasses.replace(files, image_encoder=path))


class Trap:
    """Unpickled, it makes a folder: a stand-in for any code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path):
    path, made = tmp_path / "trap.pth", tmp_path / "made"
    torch.save({"unet.conv_in.weight": torch.zeros(1), "unet.x": Trap(made)}, path)
    with pytest.raises(CheckpointError, match="refused") as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    # PyTorch's own message says how it would be run.
    assert "weights_only" not in str(caught.value)
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists(), "the trap is not one"


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"<html>Not found</html>"])
def test_a_file_that_holds_no_weights_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read as weights") as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_cut_short_is_named(files, tmp_path, suffix):
    whole = changed_checkpoint(files, tmp_path / f"whole.{suffix}").checkpoint
    path = tmp_path / f"half.{suffix}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(CheckpointError, match="cannot be read as weights") as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [[torch.zeros(1)], {"state_dict": {"unet.x": torch.zeros(1)}}, {"unet.x": 1.0}, {0: torch.zeros(1)}]
)
def test_anything_but_a_flat_dict_of_tensors_is_refused(tmp_path, content):
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="flat dict of tensors"):
        read_tensors(path)


@pytest.mark.parametrize("found", ["epsilon", None])
def test_a_scheduler_of_another_prediction_type_is_refused(files, tmp_path, found):
    path = tmp_path / "scheduler_config.json"
    path.write_text(json.dumps({"prediction_type": found}))
    with pytest.raises(CheckpointError, match=f"prediction_type is {found!r}, expected 'v_prediction'") as caught:
        load_networks(dataclasses.replace(files, scheduler_config=path))
    assert str(path) in str(caught.value)


def test_what_is_saved_loads_equal_in_half_precision(files, networks, tmp_path):
    path = tmp_path / "saved.safetensors"
    save_checkpoint(networks.unet, networks.pose_net, path)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    again = load_networks(dataclasses.replace(files, checkpoint=path))
    for name in ("unet", "pose_net"):
        before, after = (getattr(one, name).state_dict() for one in (networks, again))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("name", "build", "tensors", "parameters"),
    [
        ("unet", lambda: build_unet(UNET), 1428, 1_524_623_082),
        ("vae", lambda: build_vae(VAE), 374, 97_742_847),
        ("image_encoder", lambda: build_image_encoder(IMAGE_ENCODER), 520, 632_076_800),
        ("pose_net", lambda: build_pose_net(320), 19, 205_557),
    ],
    ids=["unet", "vae", "image_encoder", "pose_net"],
)
def test_full_size_names_and_shapes_are_the_released_ones_and_need_no_memory(golden, name, build, tensors, parameters):
    with gzip.open(golden.folder / "full_size_state_dict_shapes.json.gz", "rt") as file:
        released = json.load(file)[name]
    network = build()
    # torch.Tensor([...]), which diffusers uses for single numbers, takes no heed of the device.
    assert sum(tensor.numel() for tensor in network.state_dict().values() if not tensor.is_meta) < 100
    assert {key: list(tensor.shape) for key, tensor in network.state_dict().items()} == released
    assert len(released) == tensors
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    load_strict(network, {key: torch.empty(shape, device="meta") for key, shape in released.items()}, name)
    assert all(parameter.is_meta for parameter in network.parameters())


def test_digest_of_the_files_is_that_of_the_networks(files, networks):
    assert networks.digest == files.digest()
