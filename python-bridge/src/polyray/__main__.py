# SPDX-License-Identifier: Apache-2.0
"""The command `polyray`, also `python -m polyray`: hands over to the one in Node.js."""

from __future__ import annotations

import os
import sys

from polyray.exceptions import RayError
from polyray.sessions import cli_path, node_executable


def main() -> None:
    """Run the command line; does not return."""
    try:
        node, script = node_executable(), cli_path()
    except RayError as error:
        sys.stderr.write(f"polyray: {error}\n")
        sys.exit(1)
    os.execv(node, [node, script, *sys.argv[1:]])


if __name__ == "__main__":
    main()
