"""What a decoder says, heard in the test's own process."""

from typing import Any

import numpy as np

from pipeline.decoding.protocol import FRAME


class Heard:
    """In place of a ``Channel``."""

    def __init__(self) -> None:
        self.pictures: list[np.ndarray] = []

    def send(self, kind: bytes, payload: Any = b"") -> None:
        if kind == FRAME:
            self.pictures.append(payload)

    def tick(self) -> None:
        pass
