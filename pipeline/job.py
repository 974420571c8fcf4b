"""A catalog becomes videos: what is done is skipped, what can be is made, what cannot is set aside with a reason."""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray

from cluster.coordinator import create
from cluster.own_node import own_node
from cluster.snapshots import is_snapshot
from model.embedded import weights_of
from model.estimators.selection import EstimatorChoice
from model.weight_files import fetch_weights, latent_grid
from pipeline.catalog import CatalogRow, VideoSettings, read_catalog
from pipeline.inputs import identify
from pipeline.progress import Display, ProgressBoard
from pipeline.progress_line import counted
from pipeline.quarantine import NAME as QUARANTINE
from pipeline.quarantine import Quarantined
from pipeline.quarantine import to_parquet as quarantine_to_parquet
from pipeline.ray_data import configure, connect, pool
from pipeline.records import STATE, fingerprint, is_done, known_digests, read_record
from pipeline.report import MANIFEST, manifest_to_parquet
from pipeline.resources import Resources
from pipeline.storage import Storage
from pipeline.tasks import ModelChoice, ModelUnusable, Task, pack, unpack
from pipeline.threads import attempt

log = logging.getLogger(__name__)

# A row whose worker dies is tried once more, on a new worker; Ray's own default is to try for ever.
_DEATHS = 2


@dataclass(frozen=True)
class Request:
    """What a person asks for."""

    catalog: str
    output: str
    model: ModelChoice
    estimator: EstimatorChoice
    settings: VideoSettings
    workers: int | None = None
    workers_per_gpu: int = 1
    threads: int = 1
    snapshot_every: int = 5


@dataclass
class Plan:
    """The catalog's rows: ``done`` before (id to record), ``tasks`` to make, and ``failed``."""

    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    failed: list[Quarantined] = field(default_factory=list)


@dataclass
class Outcome:
    """What came of a run: records by id, of videos ``made`` now and ``kept`` from before, and ``failed`` rows."""

    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: list[Quarantined] = field(default_factory=list)


def plan(request: Request, storage: Storage) -> Plan:
    """Read the catalog, identify every input once, and see what is done already. Writes nothing.

    Raises ``CatalogError`` for a catalog, ``ArtifactError`` or ``ValueError`` for weights that cannot be used.
    """
    rows, failed = read_catalog(request.catalog, request.settings)
    weights = _weights_digest(request.model)
    # Those who need it are actors: what they raise when they are made reaches nobody but Ray.
    latent_grid(weights_of(request.model.model, request.model.checkpoint)[0])
    estimator = request.estimator.identity()
    result = Plan(failed=failed)

    found = counted(lambda row: read_record(storage, row.id), rows, "records looked up")
    records = dict(zip([row.id for row in rows], found, strict=True))
    known = known_digests(records)
    wanted = {(row.reference, "reference") for row in rows} | {(row.driving, "driving") for row in rows}
    ordered = sorted(wanted)
    identified = counted(lambda entry: attempt(lambda: identify(*entry, known)), ordered, "inputs identified")
    files = dict(zip(ordered, identified, strict=True))

    def place(row: CatalogRow) -> Task | dict[str, Any] | Quarantined:
        reference, driving = files[row.reference, "reference"], files[row.driving, "driving"]
        if isinstance(reference, Exception):
            return Quarantined.of(reference, "inputs", row.id, row.line, row.row)
        if isinstance(driving, Exception):
            return Quarantined.of(driving, "inputs", row.id, row.line, row.row)
        mark = fingerprint(reference.sha256, driving.sha256, row.settings, weights, estimator, request.model.dtype)
        record = records[row.id]
        if record is not None and is_done(storage, record, mark):
            return record
        return Task(row, reference, driving, mark)

    for row, placed in zip(rows, counted(place, rows, "results looked up"), strict=True):
        if isinstance(placed, Task):
            result.tasks.append(placed)
        elif isinstance(placed, Quarantined):
            result.failed.append(placed)
        else:
            result.done[row.id] = placed
    return result


def run(request: Request) -> Outcome:
    """Make what the catalog asks for, and write the manifest and the quarantine.

    Raises what ``plan`` raises, ``StorageError`` for an output that cannot be used, and ``ModelUnusable`` when the
    networks cannot be loaded.
    """
    storage = Storage(request.output)
    with storage.claimed() as claim:
        planned = plan(request, storage)
        outcome = Outcome(kept=planned.done, failed=list(planned.failed))
        log.info(
            "%d to make, %d already made, %d cannot be", len(planned.tasks), len(planned.done), len(planned.failed)
        )
        if planned.tasks:
            for result in _make(request, planned.tasks, storage):
                claim.check()
                if isinstance(result, Quarantined):
                    outcome.failed.append(result)
                else:
                    outcome.made[result["id"]] = result
        outcome.failed.sort(key=lambda entry: entry.line)
        storage.write(MANIFEST, manifest_to_parquet({**outcome.kept, **outcome.made}))
        storage.write(QUARANTINE, quarantine_to_parquet(outcome.failed))
        _clear_state(storage, {entry.id for entry in outcome.failed})
        return outcome


def _clear_state(storage: Storage, failed: set[str]) -> None:
    """Remove the snapshots of rows that are made or asked for no more. One that failed may go on from its own.

    What else is called so stays: a training run keeps its states under the same name.
    """
    names = list(storage.sizes(STATE))
    own = [name for name in names if is_snapshot(name.removeprefix(f"{STATE}/"))]
    if own == names and not failed:
        storage.remove_folder(STATE)
        return
    for name in own:
        if name.split("/")[1] not in failed:
            storage.remove(name)


def _make(request: Request, tasks: Sequence[Task], storage: Storage) -> Iterator[dict[str, Any] | Quarantined]:
    connect()
    board = f"mimicmotion-progress-{uuid.uuid4().hex}"
    handle: Any = ray.remote(ProgressBoard).options(name=board, num_cpus=0, scheduling_strategy=own_node()).remote()
    unfinished = {task.row.id: task for task in tasks}
    groups: dict[tuple[str, float], list[Task]] = defaultdict(list)
    for task in tasks:
        groups[task.driving.sha256, task.row.settings.fps].append(task)
    together = list(groups.values())
    with Display(handle, len(tasks)).shown() as display:
        while together:
            for outcome in _pass(request, together, storage, board):
                row_id = outcome.id if isinstance(outcome, Quarantined) else outcome["id"]
                del unfinished[row_id]
                failed = isinstance(outcome, Quarantined)
                display.count(failed)
                log.info("%s: %s", row_id, outcome.message if isinstance(outcome, Quarantined) else "made")
                yield outcome
            # A picture that kills its worker takes with it whatever else is driven by the same video.
            together = [[task] for group in together if len(group) > 1 for task in group if task.row.id in unfinished]
    for task in unfinished.values():
        error = RuntimeError(
            f"{task.row.id}: its worker died whenever it was tried, of a crash in native code or for want of memory; "
            "Ray's logs say which"
        )
        yield Quarantined.of(error, "worker", task.row.id, task.row.line, task.row.row, attempts=_DEATHS)


def _pass(
    request: Request, groups: Sequence[Sequence[Task]], storage: Storage, board: str
) -> Iterator[dict[str, Any] | Quarantined]:
    """The outcomes of those rows that come to an end, group by group: the poses of one driving video serve them all."""
    dataset, coordinator = _dataset(request, groups, storage, board)
    with _ended(coordinator):
        # Without a batch size and prefetching each row is seen when it is finished, not when the next one is.
        for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
            (outcome,) = map(unpack, batch["packed"])
            if isinstance(outcome, Quarantined) and outcome.stage == "model":
                raise ModelUnusable(outcome.message)
            yield outcome


@contextmanager
def _ended(coordinator: Any) -> Iterator[None]:
    """Its workers hold cores or GPUs that the next job in this process would wait for."""
    try:
        yield
    finally:
        ray.kill(coordinator)


def _dataset(
    request: Request, groups: Sequence[Sequence[Task]], storage: Storage, board: str
) -> tuple[ray.data.Dataset, ray.actor.ActorHandle]:
    """The rows' outcomes, and the coordinator of the workers that make them."""
    # Here and not above: a run with nothing to make need not wait for them.
    from pipeline.animate_stage import AnimateRows
    from pipeline.pose_stage import EstimatePoses

    configure()
    resources = Resources.of(
        request.model.device,
        request.estimator.name,
        request.workers,
        request.workers_per_gpu,
        request.threads,
        sum(map(len, groups)),
        len(groups),
    )
    coordinator = create(partial(request.model.engine, request.threads), resources.workers)
    mortal: dict[str, Any] = {"max_restarts": -1, "max_task_retries": _DEATHS - 1}
    dataset: ray.data.Dataset = ray.data.from_items(
        [pack(list(group)) for group in groups], override_num_blocks=len(groups)
    )
    dataset = dataset.map_batches(
        EstimatePoses,
        batch_size=1,
        fn_constructor_args=(
            request.estimator,
            request.model.device,
            request.model.dtype == "float16",
            resources.pose_threads,
            storage,
            board,
        ),
        compute=pool(resources.pose_workers),
        num_cpus=resources.pose_cpus,
        num_gpus=resources.pose_gpus,
        **mortal,
    ).map(
        AnimateRows,  # type: ignore[arg-type]
        fn_constructor_args=(
            request.model,
            _weights_digest(request.model),
            coordinator,
            request.snapshot_every,
            storage,
            board,
        ),
        compute=pool(resources.videos),
        num_cpus=resources.video_cpus,
        **mortal,
    )
    return dataset, coordinator


def _weights_digest(model: ModelChoice) -> str:
    return fetch_weights(*weights_of(model.model, model.checkpoint)).digest()
