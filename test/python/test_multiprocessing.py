# SPDX-License-Identifier: Apache-2.0
"""Goal: the pool of polyray.util.multiprocessing behaves as multiprocessing.Pool does on Ray, and
joblib runs over it.

Method: one pool for most checks, against one runtime.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from typing import Any

import polyray as ray
import pytest
from polyray.util.multiprocessing import Pool, TimeoutError

pytestmark = pytest.mark.usefixtures("runtime")


def square(value: int) -> int:
    return value * value


def fails_at_three(value: int) -> int:
    if value == 3:
        raise ValueError("three")
    return value


def _set(value: int) -> None:
    os.environ["POOL_INIT"] = str(value)


def initialised(_: int) -> str | None:
    return os.environ.get("POOL_INIT")


@pytest.fixture(scope="module")
def pool(runtime: ray.RayContext) -> Iterator[Pool]:
    with Pool(2, initializer=_set, initargs=(7,)) as made:
        yield made


def test_calls_and_maps_give_results_in_order(pool: Pool) -> None:
    assert pool.apply(square, (3,)) == 9
    assert pool.apply(dict, (), {"a": 1}) == {"a": 1}
    assert pool.map(square, range(10)) == [i * i for i in range(10)]
    assert pool.map(square, (i for i in range(5)), chunksize=2) == [0, 1, 4, 9, 16]
    assert pool.map(square, []) == []
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    assert pool.starmap_async(pow, [(2, 3)]).get() == [8]
    assert pool.map(initialised, range(2)) == ["7", "7"]


def test_errors_and_callbacks(pool: Pool) -> None:
    with pytest.raises(ValueError, match="three"):
        pool.map(fails_at_three, range(5))
    with pytest.raises(ValueError, match="three"):
        pool.apply(fails_at_three, (3,))
    given: list[Any] = []
    result = pool.map_async(square, [1, 2, 3], callback=given.append)
    result.wait(30)
    assert (result.ready(), result.successful(), given) == (True, True, [[1, 4, 9]])
    result = pool.apply_async(square, (4,), callback=given.append)
    result.wait(30)
    assert given[-1] == 16
    result = pool.apply_async(
        fails_at_three, (3,), callback=given.append, error_callback=given.append
    )
    result.wait(30)
    assert not result.successful()
    assert isinstance(given[-1], Exception)
    assert str(given[-1]) == "three"
    late = pool.apply_async(time.sleep, (0.3,))
    with pytest.raises(TimeoutError):
        late.get(timeout=0.02)
    with pytest.raises(ValueError, match="not ready"):
        late.successful()


def test_imap_keeps_the_order_and_imap_unordered_does_not_wait(pool: Pool) -> None:
    assert list(pool.imap(square, range(7), chunksize=2)) == [i * i for i in range(7)]
    assert sorted(pool.imap_unordered(square, (i for i in range(7)))) == [i * i for i in range(7)]
    found = list(pool.imap(fails_at_three, range(5)))
    assert [isinstance(item, Exception) for item in found] == [False, False, False, True, False]
    late = pool.imap(time.sleep, [0.3])
    with pytest.raises(TimeoutError):
        late.next(timeout=0.02)
    assert list(late) == [None]
    first = next(pool.imap_unordered(time.sleep, [0.3, 0.0]))
    assert first is None


def test_a_pool_ends_once_and_says_so(runtime: ray.RayContext) -> None:
    pool = Pool(2)
    result = pool.map_async(square, range(20))
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    pool.close()
    pool.join()
    assert result.get() == [i * i for i in range(20)]
    for call in (lambda: pool.apply(square, (1,)), lambda: pool.imap(square, [1]), pool.__enter__):
        with pytest.raises(ValueError, match="Pool not running"):
            call()
    with pytest.raises(NotImplementedError, match="cannot be passed"):
        pickle.dumps(pool)
    with pytest.raises(ValueError, match="only 2 CPUs"):
        Pool(50)
    with pytest.raises(ValueError, match=">0"):
        Pool(0)


def test_processes_are_replaced_after_their_tasks() -> None:
    pool = Pool(1, maxtasksperchild=1, ray_remote_args={"num_cpus": 1})
    assert len({pool.apply(os.getpid) for _ in range(3)}) == 3
    pool.terminate()


def test_joblib_runs_in_the_pool() -> None:
    joblib = pytest.importorskip("joblib")
    import numpy as np
    from polyray.util.joblib import register_ray

    register_ray()
    shared = np.ones(50_000)

    def part(values: Any, factor: int) -> tuple[float, int]:
        return float(values.sum()) * factor, os.getpid()

    for name in ("ray", "polyray"):
        with joblib.parallel_backend(name):
            found = joblib.Parallel(n_jobs=2)(joblib.delayed(part)(shared, i) for i in range(8))
        assert [value for value, _ in found] == [50_000.0 * i for i in range(8)]
        assert os.getpid() not in {pid for _, pid in found}
    with joblib.parallel_backend("ray", n_jobs=-1), pytest.raises(ValueError, match="three"):
        joblib.Parallel()(joblib.delayed(fails_at_three)(i) for i in range(5))
    with joblib.parallel_backend("ray", n_jobs=1):
        assert joblib.Parallel()(joblib.delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_scikit_learn_searches_in_the_pool() -> None:
    pytest.importorskip("sklearn")
    import joblib
    from polyray.util.joblib import register_ray
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    register_ray()
    search = GridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=2, n_jobs=2)
    with joblib.parallel_backend("ray"):
        search.fit(*load_iris(return_X_y=True))
    assert search.best_score_ > 0.9
