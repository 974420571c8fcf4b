"""Two ways to compute: mended, or as the released code does."""

from typing import Literal

Style = Literal["default", "released"]
"""``released`` keeps the released arithmetic wherever mending it would change the numbers; ``default`` mends it."""
