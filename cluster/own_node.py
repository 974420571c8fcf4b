"""Where an actor goes that a job cannot do without: Ray puts one without resources on any node, to be lost with it."""

from __future__ import annotations

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def own_node() -> NodeAffinitySchedulingStrategy:
    """This process's node and no other: when it is lost, so is the process."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
