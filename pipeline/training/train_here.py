"""What Ray Train runs on every worker. Its controller imports this file too: nothing here is heavy."""

from __future__ import annotations

import functools
import logging
from typing import Any


def train_here(config: dict[str, Any]) -> None:
    """Train as ``config`` says: ``work``, a pickled ``Work``, ``shard``, as in ``Workers``, and ``refusal``, a name."""
    import ray

    from pipeline.training.refusal import unless_refused

    unless_refused(ray.get_actor(config["refusal"]), functools.partial(_train, config))


def _train(config: dict[str, Any]) -> None:
    # Not above: networks take ten seconds of a core to import, and the controller has no use for them.
    import ray.train

    from pipeline.training.loop import train
    from pipeline.training.parallel import Workers

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    context = ray.train.get_context()
    work = ray.cloudpickle.loads(config["work"])
    train(work, Workers(context.get_world_rank(), context.get_world_size(), config["shard"]))
