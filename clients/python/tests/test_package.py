"""What the package contains for others."""

from __future__ import annotations

import tomllib
from pathlib import Path

HERE = Path(__file__).parents[1]


def test_the_package_has_the_texts_of_its_licences() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    found = {path.name for one in project["license-files"] for path in HERE.glob(one)}
    assert found == {"LICENSE-MIT", "LICENSE-APACHE"}
    assert all("opyright" in (HERE / name).read_text() for name in found)
    assert project["license"] == "MIT OR Apache-2.0"
