"""The network inside the package: where it lies, and what settings suit it.

Small, of the released architecture and in the released layout, trained on rendered figures (``figures/CARD.md``).
"""

from __future__ import annotations

from pathlib import Path

from model.settings import AnimationSettings

EMBEDDED = "embedded"
"""Its name, where a model is asked for."""

FOLDER = Path(__file__).parent / "figures"

SETTINGS = AnimationSettings(
    resolution="64x96", window=6, overlap=2, steps=5, guidance="1", decode_chunk=6, decode_overlap=2
)
"""As it was trained: pictures of that size, windows of that length."""


def weights_of(model: str, checkpoint: str | None) -> tuple[str, str]:
    """The SVD folder and the MimicMotion checkpoint of a model that is asked for by its name or its folder.

    Raises ``ValueError`` for one without the other.
    """
    if model == EMBEDDED:
        if checkpoint is not None:
            raise ValueError(f"checkpoint {checkpoint} belongs to an SVD folder; name that with --model")
        return str(FOLDER), str(FOLDER / "mimicmotion.safetensors")
    if checkpoint is None:
        raise ValueError(f"model {model} needs a MimicMotion checkpoint; name one with --checkpoint")
    return model, checkpoint
