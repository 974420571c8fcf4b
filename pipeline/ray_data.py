"""Ray Data as the jobs use it: rows that may fail alone, in actors that may die."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import ray
from ray._private.services import find_bootstrap_address
from ray.data import ActorPoolStrategy, DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.node_trackers import ActorLocationTracker

from cluster.main_thread import rest_between_looks

log = logging.getLogger(__name__)

# Workers have another row in hand meanwhile; it is two steps of the scheduler from the end of one to the next.
_PAUSE_SHARE = 1 / 4
_LONGEST_PAUSE_S = 1.0

_ANSWERS_WITHIN_S = 10.0

# What Ray's parts have read from the disk by then is read faster the next time.
_STARTS = 3

# Of a Ray that ends with its job, and has no dashboard, nobody reads metrics and task events. Its processes spend
# 3 % of a core on them.
UNWATCHED = {"enable_metrics_collection": False, "task_events_report_interval_ms": 0, "event_stats": False}
"""Ray's configuration for one that ends with the process that starts it, without a dashboard."""

# With fewer log files than this, 1000 unless it is set, Ray's log monitor looks for new ones ten times a second rather
# than twice, for up to a hundredth of a core.
_LOG_FILES = "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD"
# How often Ray's agent describes all its processes for the dashboard, every 5 s unless it is set.
_AGENT_MS = "REPORTER_UPDATE_INTERVAL_MS"

# Names and namespaces of actors that Ray Data keeps beside the rows, and how often they are to look what they have been
# told. It waits for an answer from the last alone, in its scheduler, while workers have another row in hand.
_TRACKER = "ActorLocationTracker", "ActorLocationTracker"
_IDLE = (
    (("datasets_stats_actor", "_dataset_stats_actor"), 1.0),
    (("AutoscalingCoordinator", "AutoscalingCoordinator"), 1.0),
    (_TRACKER, 0.25),
)
_LOOKS_EVERY_S = 0.25

_of_our_own = False  # whether the Ray that was joined was started here, and ends with this process


def connect(dashboard: bool = False) -> None:
    """Join the Ray cluster that this process was submitted to or that runs here; start a local one otherwise.

    Ray Train asks the ``dashboard`` every second whether its controller lives, and complains where there is none.
    Raises ``RuntimeError`` where ``RAY_ADDRESS`` names a cluster that does not answer, or where no Ray can be started.
    """
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "")
        _see(address)
        if not address and (left := find_bootstrap_address(None)) and not _listens(left):
            # Ray would try for minutes.
            log.warning("the Ray that was started here, at %s, does not answer: starting one for this job alone", left)
            address = "local"
        for left in reversed(range(_STARTS)):
            try:
                with _told_to_end_as_before():
                    _init(address, dashboard)
                return
            except Exception as error:
                # A bare one, where Ray's own parts take more than half a minute to find each other.
                if left and type(error) is Exception:
                    log.warning("Ray has not started (%s): trying again", error)
                    continue
                raise RuntimeError(
                    f"Ray cannot be joined or started ({error}); run again, with less beside it"
                ) from error


@contextmanager
def _told_to_end_as_before() -> Iterator[None]:
    """Keep what this process does at SIGTERM: Ray takes it for a crash, and the process ends with what it holds."""
    ours = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(ours) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)


def _init(address: str, dashboard: bool) -> None:
    global _of_our_own
    _of_our_own = False
    os.environ.setdefault(_LOG_FILES, "0")
    options: dict[str, Any] = {
        "address": address or None,
        "include_dashboard": dashboard,
        "log_to_driver": True,
        "logging_level": logging.WARNING,
    }
    if dashboard or address not in ("", "local"):
        ray.init(**options)
        return
    os.environ.setdefault(_AGENT_MS, "60000")
    try:
        ray.init(_system_config=UNWATCHED, **options)
        _of_our_own = True
    except ValueError:
        if address:
            raise
        # Said where a Ray runs here that can be joined: it has a configuration of its own.
        ray.init(**options)


def _see(address: str) -> None:
    """Whether somebody listens at ``host:port``: Ray itself would try for minutes, and then end the process."""
    try:
        _reach(address)
    except OSError as error:
        raise RuntimeError(
            f"no Ray answers at {address} ({error}); start it there, or mend or unset RAY_ADDRESS: without it a local "
            "Ray is started"
        ) from error


def _listens(address: str) -> bool:
    try:
        _reach(address)
    except OSError:
        return False
    return True


def _reach(address: str) -> None:
    """Raises ``OSError`` where nobody listens at ``host:port``; of an address in another form nothing is known."""
    try:
        place = urlsplit(f"//{address}")
        host, port = place.hostname, place.port
    except ValueError:
        return
    if "://" not in address and host is not None and port is not None:
        socket.create_connection((host, port), timeout=_ANSWERS_WITHIN_S).close()


def configure() -> None:
    """Set this process's Ray Data up for rows that may take hours, or take their worker with them."""
    context = DataContext.get_current()
    # Every row a block of its own: a row that kills its worker takes no other with it, and rows spread over workers.
    context.target_max_block_size = 1
    context.max_errored_blocks = -1
    # One long video is one block, and may take hours.
    context.execution_options.preserve_order = False
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # What it says at other levels is of blocks and operators; the job reports rows itself.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Deprecated without a successor in Ray 2.60: there is no other way to bound the retries of a pool's actors.
    warnings.filterwarnings("ignore", message=".*ray_remote_args", category=DeprecationWarning)


class Pace(ExecutionCallback):
    """Has Ray Data's two loops in this process turn as seldom as rows end.

    Its scheduler looks round ten times a second: it pauses for a quarter of the time since the last row ended. No pause
    while actors start: one that is ready would wait that long for its first row. Who takes the rows looks a hundred
    times a second whether there is one: ``wait`` ends where it will find one.
    """

    _last_end = 0.0
    _executor: Any = None

    @classmethod
    def row_ended(cls) -> None:
        cls._last_end = time.monotonic()

    @classmethod
    def wait(cls) -> None:
        """Until there is a row to take, or will be no more."""
        while cls._executor.is_alive() and not _something_to_take(cls._executor):
            time.sleep(_LOOKS_EVERY_S)

    def before_execution_starts(self, executor: Any) -> None:
        self.row_ended()
        type(self)._executor = executor

    def on_execution_step(self, executor: Any) -> None:
        if any(operator.get_actor_info().pending for operator in executor._topology):
            self.row_ended()
            return
        time.sleep(min(_LONGEST_PAUSE_S, _PAUSE_SHARE * (time.monotonic() - self._last_end)))


def _something_to_take(executor: Any) -> bool:
    _, last = executor._output_node
    return last.output_queue.has_next() or all(operator.has_completed() for operator in executor._topology)


def as_they_end(dataset: ray.data.Dataset) -> Iterator[Any]:
    """The blocks of a dataset, each as soon as it is made."""
    dataset.context.custom_execution_callback_classes = [Pace]
    # Blocks are small, and actors take as many as they may: of memory, which would be shared out at every turn anew,
    # there is enough. That is two fifths of the scheduler's work.
    dataset.context.op_resource_reservation_enabled = False
    _make_tracker()
    # Not by ``iter_batches``, where a thread of Ray Data's takes them. Comes back with the first, which it waits for.
    bundles = dataset.iter_internal_ref_bundles()
    _rest_beside_rows()
    while (bundle := next(bundles, None)) is not None:
        Pace.row_ended()
        for block in bundle.blocks:
            yield ray.get(block.ref)
        Pace.wait()


def _make_tracker() -> None:
    """In a Ray of our own, have the tracker that Ray Data would make, with one thread in place of eight.

    An actor with several leaves its main thread to Ray, and could not have it rest.
    """
    if _of_our_own:
        name, namespace = _TRACKER
        made: Any = ActorLocationTracker
        made.options(name=name, namespace=namespace, lifetime="detached", get_if_exists=True).remote()


def _rest_beside_rows() -> None:
    """In a Ray of our own, have Ray Data's idle actors wake up a few times a second rather than a hundred times."""
    if not _of_our_own:
        return
    for (name, namespace), every_s in _IDLE:
        # There is none where Ray has given up or renamed it.
        with suppress(ValueError):
            ray.get_actor(name, namespace).__ray_call__.remote(rest_between_looks, every_s)


def pool(size: int, at_once: int = 1) -> ActorPoolStrategy:
    """A fixed number of actors, each with ``at_once`` rows in hand; the rest wait for whichever is free first."""
    return ActorPoolStrategy(
        size=size,
        max_tasks_in_flight_per_actor=at_once,
        max_concurrent_calls_per_actor=at_once,
        enable_true_multi_threading=at_once > 1,
    )
