# SPDX-License-Identifier: Apache-2.0
"""What the TypeScript driver beside this file calls."""

import numpy as np


def sum_matrix(matrix: np.ndarray) -> float:
    """The sum of a matrix."""
    return float(np.sum(matrix))


class Ledger:
    """Keeps amounts by name."""

    def __init__(self) -> None:
        self.amounts: dict[str, float] = {}

    def add(self, name: str, amount: float) -> float:
        """Add to one of them."""
        self.amounts[name] = self.amounts.get(name, 0) + amount
        return self.amounts[name]
