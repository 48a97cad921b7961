# SPDX-License-Identifier: Apache-2.0
"""What runs inside Spark's Python workers, once for each partition of a data set.

The process, started by Spark, joins the running polyray node, puts its rows into the store, has
them trained on by polyray's workers, and calls TypeScript: the actors ``progress`` and
``leaderboard`` (found by name) and the function ``macroF1``. The predictions stay in the store:
only a reference to them goes to the leaderboard.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polyray as ray

from .training import CONFIGS, FOLDS, SCORES, Config, fit_fold, fold_of_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from .datasets import Dataset


@dataclass(frozen=True)
class Job:
    """What every partition is told. ``scoring_module`` is the file that exports ``macroF1``."""

    dataset: Dataset
    address: str
    namespace: str
    scoring_module: str


@dataclass(frozen=True)
class _Rows:
    ids: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    folds: np.ndarray


def run_partition(job: Job, index: int, rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Trains every configuration on the partition; yields a result for each, in plain values."""
    _join(job)
    progress = ray.get_actor("progress")
    leaderboard = ray.get_actor("leaderboard")
    where = {"dataset": job.dataset.name, "partition": index, "pid": os.getpid()}
    progress.begin.remote({**where, "tasks": len(CONFIGS) * FOLDS})
    data = _collect(rows)

    fits = _train(data, lambda: progress.step.remote(where))
    macro_f1 = ray.js_function(job.scoring_module, "macroF1")
    for config in CONFIGS:
        result = _result(job.dataset, config, index, data, fits[config.number])
        predictions = _predictions(data, fits[config.number])
        # A whole number of JavaScript arrives as int; Spark wants the column to hold floats only.
        result["macro_f1"] = float(ray.get(macro_f1.remote(data.labels, predictions)))
        _compare_with_sklearn(result, data.labels, predictions)
        leaderboard.add.remote(
            {key: result[key] for key in ("dataset", "model", "correct", "total")}
        )
        yield result
    # A reference inside a list stays a reference; the wait makes sure that the actor holds it
    # before this process, which may end at any time, lets go of its own.
    piece = ray.put(_table(job.dataset, index, data, fits))
    ray.get(leaderboard.keep.remote([piece]))
    ray.get(progress.end.remote(where))


def _join(job: Job) -> None:
    """Joins the node, unless this process, which Spark reuses, has joined already."""
    if not ray.is_initialized():
        ray.init(
            address=os.environ.get("POLYRAY_ADDRESS", job.address),
            namespace=job.namespace,
            log_to_driver=False,
        )


def _collect(rows: Iterable[Any]) -> _Rows:
    """Spark's rows as arrays, in the order of their ids: Spark's own order is not promised."""
    kept = sorted(
        ((row.row_id, int(row.label), row.features.toArray()) for row in rows),
        key=lambda row: row[0],
    )
    labels = np.array([label for _, label, _ in kept], dtype=np.int32)
    return _Rows(
        ids=np.array([row_id for row_id, _, _ in kept], dtype=np.int32),
        labels=labels,
        features=np.stack([features for _, _, features in kept]),
        folds=fold_of_rows(labels),
    )


def _train(data: _Rows, on_done: Any) -> dict[int, list[dict[str, Any]]]:
    """Runs every (configuration, fold) as a remote task over one shared copy of the rows."""
    features = ray.put(data.features)
    labels = ray.put(data.labels)
    folds = ray.put(data.folds)
    refs = {
        config.number: [
            fit_fold.remote(features, labels, folds, config, fold) for fold in range(FOLDS)
        ]
        for config in CONFIGS
    }
    pending = [ref for of_config in refs.values() for ref in of_config]
    while pending:
        done, pending = ray.wait(pending, num_returns=1)
        for _ in done:
            on_done()
    return {number: ray.get(of_config) for number, of_config in refs.items()}


def _predictions(data: _Rows, fits: list[dict[str, Any]]) -> np.ndarray:
    predictions = np.empty(len(data.ids), dtype=np.int32)
    for fold, fit in enumerate(fits):
        predictions[data.folds == fold] = fit["predictions"]
    return predictions


def _compare_with_sklearn(
    result: dict[str, Any], labels: np.ndarray, predictions: np.ndarray
) -> None:
    """Raises ValueError when TypeScript's macro F1 is not scikit-learn's."""
    from sklearn.metrics import f1_score

    expected = float(f1_score(labels, predictions, average="macro"))
    if abs(result["macro_f1"] - expected) > 1e-9:
        raise ValueError(
            f"{result['model']}: macro F1 is {result['macro_f1']} in TypeScript, here {expected}"
        )


def _result(
    dataset: Dataset, config: Config, index: int, data: _Rows, fits: list[dict[str, Any]]
) -> dict[str, Any]:
    """One configuration's row of the Parquet file, with the model of its best fold."""
    best = max(fits, key=lambda fit: fit["correct"])
    return {
        "dataset": dataset.name,
        "partition": index,
        "model": config.label,
        "correct": sum(fit["correct"] for fit in fits),
        "total": len(data.ids),
        "train_seconds": sum(fit["seconds"] for fit in fits),
        "shared_bytes": sum(fit["shared_bytes"] for fit in fits),
        "shared_reads": sum(fit["shared_bytes"] > 0 for fit in fits),
        "spark_pid": os.getpid(),
        "worker_pids": sorted({fit["pid"] for fit in fits}),
        "model_pickle": base64.b64encode(best["model"]).decode("ascii"),
        "model_sha256": hashlib.sha256(best["model"]).hexdigest(),
    }


def _table(
    dataset: Dataset, index: int, data: _Rows, fits: dict[int, list[dict[str, Any]]]
) -> pa.Table:
    """The partition's predictions as one Arrow table: every row under every configuration."""
    import pyarrow as pa

    count = len(data.ids)
    tables = []
    for config in CONFIGS:
        scores = np.empty((count, SCORES), dtype=np.float32)
        worker_pids = np.empty(count, dtype=np.int32)
        for fold, fit in enumerate(fits[config.number]):
            held_out = data.folds == fold
            scores[held_out] = fit["scores"]
            worker_pids[held_out] = fit["pid"]
        columns: dict[str, Any] = {
            "dataset_id": np.full(count, dataset.number, dtype=np.int32),
            "config_id": np.full(count, config.number, dtype=np.int32),
            "row_id": data.ids,
            "partition": np.full(count, index, dtype=np.int32),
            "fold": data.folds,
            "label": data.labels,
            "prediction": _predictions(data, fits[config.number]),
            "scores": pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), SCORES),
            "spark_pid": np.full(count, os.getpid(), dtype=np.int32),
            "worker_pid": worker_pids,
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)
