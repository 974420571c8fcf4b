"""What is drawn of held-out clips, whatever the networks are like by then."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.training.pictures import animated, reconstructed
from tests.model.training.networks import random_clip, small_networks


def test_a_vae_is_drawn_wherever_the_other_networks_are():
    networks, clip = small_networks(), random_clip(0)
    expected = reconstructed(networks, clip)
    # As in its training on a GPU, where they stay behind.
    networks.unet.to("meta")
    np.testing.assert_array_equal(reconstructed(networks, clip), expected)
    assert np.ptp(expected)


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_networks_that_have_come_apart_are_drawn_black(part):
    networks, clip = small_networks(), random_clip(0)
    with torch.no_grad():
        for parameter in getattr(networks, part).parameters():
            parameter.fill_(torch.nan)
    drawn = animated(networks, clip)
    assert drawn.shape == clip.frames[1:].shape
    assert not drawn.any()
