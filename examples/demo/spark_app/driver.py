# SPDX-License-Identifier: Apache-2.0
"""The actor that holds the demo's PySpark session; TypeScript creates it and calls its methods.

It owns the session, the JVM behind it and the files under its work folder; ``stop`` ends the first
two. The folder lies in that of the polyray session and goes with it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polyray as ray

from .datasets import Dataset, write_datasets
from .java_home import find_java, make_launcher
from .partition import Job, run_partition
from .training import CONFIGS

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

# A short program: quick compilation and one collector thread start sooner than the server defaults.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"
PARTITIONS = 2

# Column, Spark type: what is kept of a result, in this order.
RESULT_COLUMNS = {
    "dataset": "string",
    "partition": "int",
    "model": "string",
    "correct": "int",
    "total": "int",
    "macro_f1": "double",
    "train_seconds": "double",
    "model_sha256": "string",
    "model_pickle": "string",
}


class SparkDriver:
    """One PySpark session on ``local[2]``; call ``start`` and ``prepare`` first, ``stop`` last."""

    def __init__(self, work_dir: str, address: str, namespace: str, scoring_module: str) -> None:
        self._work_dir = Path(work_dir)
        self._address = address
        self._namespace = namespace
        self._scoring_module = scoring_module
        self._spark: SparkSession | None = None
        self._results: list[dict[str, Any]] = []

    def start(self) -> dict[str, Any]:
        """Finds a Java and starts the session; returns who and what runs."""
        import pyspark
        from pyspark.sql import SparkSession

        java = find_java()
        self._set_environment(make_launcher(java, self._work_dir / "java"))
        builder = SparkSession.builder.master(f"local[{PARTITIONS}]").appName("polyray-demo")
        for key, value in self._settings().items():
            builder = builder.config(key, value)
        self._spark = builder.getOrCreate()
        jvm = self._spark.sparkContext._jvm
        assert jvm is not None
        return {
            "pid": os.getpid(),
            "jvmPid": int(jvm.java.lang.ProcessHandle.current().pid()),
            "python": ".".join(map(str, sys.version_info[:3])),
            "spark": pyspark.__version__,
            "java": java.version,
            "javaOrigin": java.origin,
        }

    def prepare(self) -> list[dict[str, Any]]:
        """Makes the data sets ready; returns what there is to train on."""
        self._datasets = {dataset.name: dataset for dataset in write_datasets(self._work_dir)}
        return [
            {
                "id": dataset.number,
                "name": dataset.name,
                "features": dataset.features,
                "classes": dataset.classes,
            }
            for dataset in self._datasets.values()
        ]

    def configs(self) -> list[str]:
        """The labels of the models; the position is the ``config_id`` in the predictions."""
        return [config.label for config in CONFIGS]

    def train(self, name: str) -> list[dict[str, Any]]:
        """Trains on one data set inside Spark; returns the results without the models."""
        job = Job(self._datasets[name], self._address, self._namespace, self._scoring_module)
        rows = self._read(job.dataset).rdd.mapPartitionsWithIndex(partial(run_partition, job))
        results = rows.collect()
        self._results += results
        return [
            {key: value for key, value in result.items() if key != "model_pickle"}
            for result in results
        ]

    def table(self, pieces: list[Any]) -> pa.Table:
        """One table of all predictions, in one batch, from the pieces left by the executors."""
        import pyarrow as pa

        began = time.perf_counter()
        merged = pa.concat_tables(ray.get(pieces)).combine_chunks()
        configs = [config.label for config in CONFIGS]
        datasets = [
            dataset.name
            for dataset in sorted(self._datasets.values(), key=lambda each: each.number)
        ]
        for column, ids, names in (
            ("dataset", "dataset_id", datasets),
            ("model", "config_id", configs),
        ):
            indices = merged.column(ids).chunk(0)
            merged = merged.append_column(
                column, pa.DictionaryArray.from_arrays(indices, pa.array(names))
            )
        print(f"table of {merged.num_rows} predictions made in {time.perf_counter() - began:.2f} s")
        return merged

    def save(self) -> dict[str, Any]:
        """Writes the results to Parquet by Spark, reads them back, and checks that nothing changed.

        Raises ValueError when a row differs or a model read back is not the one that was trained.
        """
        assert self._spark is not None
        path = str(self._work_dir / "results.parquet")
        written = sorted(
            tuple(result[column] for column in RESULT_COLUMNS) for result in self._results
        )
        schema = ", ".join(f"{column} {kind}" for column, kind in RESULT_COLUMNS.items())
        self._spark.createDataFrame(written, schema).write.mode("overwrite").parquet(path)
        read = sorted(tuple(row) for row in self._spark.read.parquet(path).collect())
        if read != written:
            differing = sum(a != b for a, b in zip(read, written, strict=False)) + abs(
                len(read) - len(written)
            )
            raise ValueError(
                f"{differing} of {len(written)} rows came back different from the Parquet file"
            )
        size = sum(file.stat().st_size for file in Path(path).glob("*.parquet"))
        return {
            "rows": len(read),
            "bytes": size,
            "models": sum(self._check_model(row) for row in read),
        }

    def stop(self) -> None:
        """Ends the session and its JVM, and waits until the JVM is gone."""
        from pyspark import SparkContext

        if self._spark is None:
            return
        self._spark.stop()
        self._spark = None
        gateway, SparkContext._gateway, SparkContext._jvm = SparkContext._gateway, None, None
        if gateway is None:
            return
        gateway.shutdown()
        # The JVM ends at the end of its standard input, as it would at the end of this process.
        gateway.proc.stdin.close()
        gateway.proc.wait(timeout=60)

    def _read(self, dataset: Dataset) -> Any:
        from pyspark.sql import functions as columns

        assert self._spark is not None
        frame = (
            self._spark.read.format("libsvm")
            .option("numFeatures", str(dataset.features))
            .load(dataset.path)
        )
        # The file is one partition, so ids number its lines; the ids then say who gets which row.
        return frame.withColumn("row_id", columns.monotonically_increasing_id()).repartition(
            PARTITIONS, "row_id"
        )

    def _check_model(self, row: tuple[Any, ...]) -> bool:
        result = dict(zip(RESULT_COLUMNS, row, strict=True))
        data = base64.b64decode(result["model_pickle"])
        kind = type(pickle.loads(data)).__name__
        if hashlib.sha256(data).hexdigest() != result["model_sha256"] or not result[
            "model"
        ].startswith(kind):
            raise ValueError(f"{result['dataset']}: read back another model than {result['model']}")
        return True

    def _set_environment(self, java_home: Path) -> None:
        """What the JVM and, through it, Spark's Python workers inherit."""
        package_dir = str(Path(__file__).parent.parent)
        os.environ.update(
            JAVA_HOME=str(java_home),
            SPARK_LOCAL_IP="127.0.0.1",
            SPARK_LAUNCHER_OPTS=JVM_OPTIONS,
            # Without these Spark takes the first python3 on the PATH, which may lack numpy.
            PYSPARK_PYTHON=sys.executable,
            PYSPARK_DRIVER_PYTHON=sys.executable,
            PYTHONPATH=os.pathsep.join(filter(None, [package_dir, os.environ.get("PYTHONPATH")])),
        )
        os.environ.setdefault("POLYRAY_ADDRESS", self._address)
        os.environ.pop(
            "SPARK_HOME", None
        )  # the pyspark that is imported, not another one on the machine

    def _settings(self) -> dict[str, str]:
        log_file = Path(__file__).with_name("log4j2.properties")
        scratch = self._work_dir / "scratch"
        scratch.mkdir(exist_ok=True)
        return {
            "spark.driver.memory": "1g",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.extraJavaOptions": (
                f"{JVM_OPTIONS} -Djava.io.tmpdir={scratch} "
                f"-Dlog4j2.configurationFile={log_file.as_uri()}"
            ),
            "spark.local.dir": str(scratch),
            "spark.sql.warehouse.dir": str(self._work_dir / "warehouse"),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.shuffle.partitions": str(PARTITIONS),
            # Two partitions are two partitions, however small.
            "spark.sql.adaptive.enabled": "false",
            "spark.python.worker.reuse": "true",
        }
