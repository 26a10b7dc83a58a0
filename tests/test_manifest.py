"""The manifest: one source, checked, absolute when served."""

import json
import tomllib
from pathlib import Path

import pytest

from plugin.errors import ConfigurationError
from plugin.installation.manifest import PLACES, load_manifest
from plugin.platforms.registry import PLATFORMS

ROOT = PLACES[0].parent


def test_manifest_names_every_event_and_platform_and_the_packages_version() -> None:
    manifest = load_manifest(PLATFORMS)
    with (ROOT / "pyproject.toml").open("rb") as file:
        assert manifest.version == tomllib.load(file)["project"]["version"]


def test_addresses_are_absolute_when_it_is_served() -> None:
    whole = load_manifest(PLATFORMS).absolute("https://plugin.example")
    assert whole["appUrl"] == "https://plugin.example/install/saleor/"
    assert all(page["url"].startswith("https://plugin.example/mypages/") for page in whole["pages"])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": ""}, "version"),
        ({"platforms": ["shopify"]}, "standard"),
        ({"events": []}, "events"),
        ({"events": [{"event": "Nonsense"}]}, "Nonsense"),
        ({"pages": [{"name": "x", "path": "x"}]}, "path"),
    ],
)
def test_faulty_manifest_stops_the_start(tmp_path: Path, change: dict[str, object], fault: str) -> None:
    content = {**json.loads(PLACES[0].read_text()), **change}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=fault):
        load_manifest(PLATFORMS, (path,))


def test_missing_or_broken_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        load_manifest(PLATFORMS, (tmp_path / "none.json",))
    broken = tmp_path / "manifest.json"
    broken.write_text("{")
    with pytest.raises(ConfigurationError, match="not JSON"):
        load_manifest(PLATFORMS, (broken,))
