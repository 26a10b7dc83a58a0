"""`manifest.json`: the one source of name, version, events, permissions and pages."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from plugin import events
from plugin.errors import ConfigurationError
from plugin.platforms.saleor.manifest import webhooks as saleor_webhooks

NEEDED = ("id", "name", "version", "about", "author", "permissions", "events", "platforms", "pages")
ADDRESSES = ("appUrl", "homepageUrl", "supportUrl", "tokenTargetUrl")
PLACES = (Path(__file__).parents[2] / "manifest.json", Path(sys.prefix) / "share/engage-plugin/manifest.json")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The checked manifest."""

    version: str
    content: Mapping[str, Any]

    def absolute(self, public_url: str) -> dict[str, Any]:
        """Return the manifest with absolute addresses; it is a valid Saleor manifest too (docs/platforms/saleor.md#installation)."""
        whole = dict(self.content)
        for name in ADDRESSES:
            if name in whole:
                whole[name] = public_url + whole[name]
        for name in ("pages", "schemas"):
            whole[name] = [{**entry, "url": public_url + entry["path"]} for entry in whole.get(name, [])]
        whole["webhooks"] = saleor_webhooks(public_url)
        return whole


def load_manifest(platforms: Mapping[str, object], paths: tuple[Path, ...] = PLACES) -> Manifest:
    """Read and check the manifest. Raises ConfigurationError with every fault."""
    path = next((place for place in paths if place.is_file()), None)
    if path is None:
        raise ConfigurationError(["manifest.json is missing beside the package: install the plugin again."])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError([f"{path.name} is not JSON: {error}"]) from error
    faults = [f"manifest.json: {name} is missing" for name in NEEDED if not content.get(name)]
    if not faults:
        faults = _compare(content, platforms)
    if faults:
        raise ConfigurationError(faults)
    return Manifest(content["version"], content)


def _compare(content: Mapping[str, Any], platforms: Mapping[str, object]) -> list[str]:
    faults = []
    ours = {event.__name__ for event in get_args(events.Event)}
    named = {entry.get("event") for entry in content["events"]}
    faults += [f"manifest.json: the event {name} is unknown" for name in sorted(named - ours)]
    faults += [f"manifest.json: the event {name} is not listed" for name in sorted(ours - named)]
    listed = set(content["platforms"])
    faults += [f"manifest.json: the platform {name} is not registered" for name in sorted(listed - platforms.keys())]
    faults += [f"manifest.json: the platform {name} is not listed" for name in sorted(platforms.keys() - listed)]
    faults += [
        f"manifest.json: the path {entry.get('path')!r} must begin with /"
        for entry in [*content["pages"], *content.get("schemas", [])]
        if not str(entry.get("path", "")).startswith("/")
    ]
    return faults
