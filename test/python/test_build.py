# SPDX-License-Identifier: Apache-2.0
"""Goal: the installed Python package is this checkout's and of its version.

Method: compare the extension's version with package.json, found through _home.json.
"""

import json
from pathlib import Path

import polyray


def test_the_package_carries_the_version_of_package_json() -> None:
    root = Path(__file__).parents[2]
    assert polyray.__version__ == json.loads((root / "package.json").read_text())["version"]


def test_the_installed_package_knows_its_checkout() -> None:
    root = Path(__file__).parents[2]
    home = json.loads((Path(polyray.__file__).parent / "_home.json").read_text())
    assert Path(home["root"]) == root
    assert Path(home["node"]).exists()
