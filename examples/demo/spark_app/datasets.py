# SPDX-License-Identifier: Apache-2.0
"""The two data sets of the demo as libsvm files, both real and both already on the machine.

``sample``: sample_libsvm_data.txt, from the pyspark wheel (images of two digits, 692 pixels).
``digits``: scikit-learn's bundled handwritten digits (ten classes, 64 pixels), written out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dataset:
    """A libsvm file. ``number`` is the id of the data set in the table of predictions."""

    number: int
    name: str
    path: str
    features: int
    classes: int


def write_datasets(folder: Path) -> list[Dataset]:
    """Locates the first data set, writes the second to ``folder``, and returns both."""
    import pyspark
    from sklearn.datasets import dump_svmlight_file, load_digits

    sample = Path(pyspark.__file__).parent / "data" / "mllib" / "sample_libsvm_data.txt"
    if not sample.is_file():
        raise FileNotFoundError(
            f"{sample} is missing: this pyspark does not come from the PyPI wheel"
        )
    features, labels = load_digits(return_X_y=True)
    digits = folder / "digits.libsvm"
    # Spark wants the columns numbered from 1.
    dump_svmlight_file(features, labels, str(digits), zero_based=False)
    return [
        Dataset(0, "sample", str(sample), 692, 2),
        Dataset(1, "digits", str(digits), features.shape[1], 10),
    ]
