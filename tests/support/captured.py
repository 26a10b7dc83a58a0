"""Bodies that real shops delivered, and signatures of vendors; where each comes from: tests/fixtures/captured/README.md."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugin.platforms.base import Platform

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURED = FIXTURES / "captured"


@dataclass(frozen=True)
class CapturedWebhook:
    """One delivery. headers: with lower-case names; none where the body alone was captured."""

    name: str
    topic: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def bare_webhooks(platform: Platform, folder: Path) -> list[CapturedWebhook]:
    """Return the bodies of a folder in which each file is a body and its name begins with a topic of the platform."""
    topics = {re.sub(r"[/.]", "-", topic): topic for topic in {*platform.topics, *platform.ignored_topics}}
    found = []
    for path in sorted(folder.glob("*.json")):
        name = re.sub(r"^\d+-", "", path.stem).replace(".", "-")
        topic = next((topics[one] for one in topics if name.startswith(f"{one}-")), None)
        if topic is not None:
            found.append(CapturedWebhook(path.stem, topic, path.read_bytes()))
    return found


def whole_webhooks(folder: str) -> list[CapturedWebhook]:
    """Return the deliveries of a folder whose files hold headers too; other requests of the shop are left out."""
    found = [captured_request(f"{folder}/{path.stem}") for path in sorted((CAPTURED / folder).glob("[0-9]*.json"))]
    return [one for one in found if one.topic]


def captured_request(name: str) -> CapturedWebhook:
    """Return a request that was captured with its headers, a webhook or not."""
    path = CAPTURED / f"{name}.json"
    content = json.loads(path.read_bytes())
    headers = {name.lower(): value for name, value in content["headers"].items()}
    return CapturedWebhook(path.stem, headers.get("saleor-event", ""), content["raw_body"].encode(), headers)


def vector(name: str) -> dict[str, Any]:
    """Return a signature of a vendor or of a real shop, and what it is of."""
    found: dict[str, Any] = json.loads((FIXTURES / "signature-vectors.json").read_bytes())[name]
    return found


def more_payloads(folder: str) -> list[Path]:
    """Return the further bodies that PAYLOADS_DIR holds of a platform; none where it is not set."""
    root = os.environ.get("PAYLOADS_DIR")
    return sorted(Path(root, folder).glob("*.json")) if root else []


def found_shopify_webhooks() -> list[CapturedWebhook]:
    """Return the webhooks of Shopify that PAYLOADS_DIR holds: bare bodies, and bodies wrapped with headers and topic."""
    found = []
    for path in more_payloads("shopify"):
        content = json.loads(path.read_bytes())
        resource, _, verb = path.stem.partition("-")
        if set(content) != {"headers", "body", "topic"}:
            content = {"headers": {}, "body": content, "topic": f"{resource}/{verb.split('-')[0]}"}
        body = json.dumps(content["body"]).encode()
        found.append(CapturedWebhook(path.stem, content["topic"], body, content["headers"]))
    return found
