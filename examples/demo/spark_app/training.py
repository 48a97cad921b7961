# SPDX-License-Identifier: Apache-2.0
"""The training tasks of the demo. They run in polyray's Python workers, never in Spark's.

A task gets the rows of one Spark partition by reference (the arrays are views of the shared
segment), fits one model with one set of parameters on all folds but one, and predicts the rows of
that fold. So every row is predicted once, by a model that has not seen it.
"""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import polyray as ray

from .shared_memory import shared_bytes

FOLDS = 3
SCORES = 10  # columns of the scores array: the most classes of any data set


@dataclass(frozen=True)
class Config:
    """One model with one set of parameters. ``number`` is its id in the table of predictions."""

    number: int
    model: str
    params: dict[str, Any]

    @property
    def label(self) -> str:
        """For people: ``SVC(C=10)``."""
        return f"{self.model}({', '.join(f'{k}={v}' for k, v in self.params.items())})"


_GRID: list[tuple[str, dict[str, Any]]] = [
    ("GaussianNB", {"var_smoothing": 1e-9}),
    ("GaussianNB", {"var_smoothing": 1e-3}),
    ("GaussianNB", {"var_smoothing": 0.1}),
    ("SVC", {"C": 1, "gamma": 1e-4}),
    ("SVC", {"C": 1, "gamma": "scale"}),
    ("SVC", {"C": 10, "gamma": "scale"}),
]
CONFIGS = [Config(number, model, params) for number, (model, params) in enumerate(_GRID)]


def fold_of_rows(labels: np.ndarray) -> np.ndarray:
    """The fold of each row, the same for the same labels, with every class in every fold."""
    from sklearn.model_selection import StratifiedKFold

    folds = np.empty(len(labels), dtype=np.int32)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=7)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels)):
        folds[held_out] = number
    return folds


@ray.remote(num_cpus=1)
def fit_fold(
    features: np.ndarray, labels: np.ndarray, folds: np.ndarray, config: Config, fold: int
) -> dict[str, Any]:
    """Fits ``config`` on the rows outside ``fold`` and predicts those inside."""
    began = time.perf_counter()
    held_out = folds == fold
    model = _new_model(config).fit(features[~held_out], labels[~held_out])
    predictions = model.predict(features[held_out]).astype(np.int32)
    return {
        "predictions": predictions,
        "scores": _scores(model, features[held_out]),
        "correct": int((predictions == labels[held_out]).sum()),
        "model": pickle.dumps(model),
        "pid": os.getpid(),
        "shared_bytes": shared_bytes(features),
        "seconds": time.perf_counter() - began,
    }


def _new_model(config: Config) -> Any:
    from sklearn.naive_bayes import GaussianNB
    from sklearn.svm import SVC

    return {"GaussianNB": GaussianNB, "SVC": SVC}[config.model](**config.params)


def _scores(model: Any, rows: np.ndarray) -> np.ndarray:
    """One score a class, the greatest for the likeliest; NaN where there is no such class."""
    raw = (
        model.decision_function(rows)
        if hasattr(model, "decision_function")
        else model.predict_joint_log_proba(rows)
    )
    if raw.ndim == 1:  # a model of two classes gives the score of the second only
        raw = np.stack([-raw, raw], axis=1)
    scores = np.full((len(rows), SCORES), np.nan, dtype=np.float32)
    scores[:, model.classes_.astype(int)] = raw
    return scores
