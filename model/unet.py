"""Stable Video Diffusion's UNet with pose features added after its first convolution, MimicMotion's only change."""

from __future__ import annotations

import logging
from typing import Any

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, XFormersAttnProcessor

log = logging.getLogger(__name__)

ATTENTION_BACKENDS = ("sdpa", "xformers")


class PoseUNet(UNetSpatioTemporalConditionModel):
    """SVD's spatio-temporal UNet, told the pose.

    The parameters and their names are those of diffusers' class, so released and SVD weights load unchanged.
    """

    def forward(self, *args: Any, pose_features: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """As diffusers', plus ``pose_features`` (B*F, C, h, w) added to the output of ``conv_in`` (as released).

        ``None`` is the unconditional pass: not the features of a black image, which are not zero.
        """
        if pose_features is None:
            return super().forward(*args, **kwargs)
        hook = self.conv_in.register_forward_hook(lambda _module, _inputs, output: output + pose_features)
        try:
            return super().forward(*args, **kwargs)
        finally:
            hook.remove()


class SingleTokenAttention:
    """Cross-attention to one token, folded: the softmax over one key is 1, so every query gets the value itself.

    Exact, and saves the queries, the keys and the attention: 3.7% of the released UNet's arithmetic.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if encoder_hidden_states.shape[1] != 1:
            raise ValueError(f"the cross-attention sees {encoder_hidden_states.shape[1]} tokens, expected 1")
        value = attn.to_out[1](attn.to_out[0](attn.to_v(encoder_hidden_states)))
        return (value / attn.rescale_output_factor).expand(-1, hidden_states.shape[1], -1)


def set_attention(unet: PoseUNet, backend: str) -> None:
    """Choose how self-attention is computed: PyTorch's ``sdpa`` or ``xformers``; cross-attention is always folded.

    xformers is for attention within frames. That between frames is short and has a batch element for every place of a
    frame, of which xformers' kernels take 65,535 at most. Without a working xformers (no package, no GPU, built for
    another PyTorch) the choice falls back to SDPA with one logged line.
    Raises ``ValueError`` for another name.
    """
    if backend not in ATTENTION_BACKENDS:
        raise ValueError(f"attention is {backend!r}, expected one of {', '.join(ATTENTION_BACKENDS)}")
    between_frames = AttnProcessor2_0()
    within_frames: AttnProcessor2_0 | XFormersAttnProcessor = between_frames
    if backend == "xformers":
        reason = xformers_fault(unet.device, unet.dtype)
        if reason is None:
            within_frames = XFormersAttnProcessor()
        else:
            log.warning("attention 'xformers' is not usable here (%s); using PyTorch's SDPA", reason)
    folded = SingleTokenAttention()

    def processor(name: str) -> Any:
        if ".attn2." in name:
            return folded
        return between_frames if ".temporal_transformer_blocks." in name else within_frames

    unet.set_attn_processor({name: processor(name) for name in unet.attn_processors})


def xformers_fault(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why xformers' attention cannot be used there, or ``None``."""
    if device.type != "cuda":
        return f"its kernels need a GPU, the device is {device.type}"
    try:
        from xformers.ops import memory_efficient_attention

        # A package that was built for another PyTorch can be imported, but has no kernels.
        query = torch.zeros((1, 16, 1, 64), device=device, dtype=dtype)
        memory_efficient_attention(query, query, query)
    except Exception as error:  # a broken build raises more than ImportError
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None
