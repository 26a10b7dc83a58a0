"""The demo shop: signs webhooks as real shops do, and hands its logged-in shopper over to My Pages."""

import base64
import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
import simplejson
from flask import Flask, render_template_string
from werkzeug.serving import make_server

from plugin.demo.people import ADA, CUSTOMER_ID
from plugin.platforms.standard.signature import decode_secret

TOKEN_LIFE_S = 120
FRONT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Demo shop</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{color-scheme:light dark}body{font:1.1rem/1.6 system-ui,sans-serif;max-width:36rem;margin:12vh auto;padding:0 1rem}
button{font:inherit;padding:.7rem 1.4rem;border:0;border-radius:.5rem;background:#1b5e4b;color:#fff;cursor:pointer}</style>
<h1>Demo shop</h1><p>You are logged in here as {{ name }}. The shop hands you over to My Pages with a signed token.</p>
<form method="post" action="{{ session_url }}"><input type="hidden" name="token" value="{{ token }}">
<button>Open My Pages</button></form><p><small>The token is good for two minutes; reload this page for a new one.</small></p></html>"""


@dataclass(frozen=True, slots=True)
class SignedWebhook:
    """A webhook that is ready to be posted."""

    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class DemoShop:
    """What `shops add` printed for a shop."""

    name: str
    webhook_url: str
    mypages_url: str
    webhook_secret: str = field(repr=False)
    shopper_secret: str = field(repr=False)


def sign_shopify(shop: DemoShop, topic: str, body: dict[str, Any], at: datetime) -> SignedWebhook:
    """Sign a webhook as Shopify does."""
    raw = simplejson.dumps(body).encode()
    digest = hmac.new(shop.webhook_secret.encode(), raw, hashlib.sha256).digest()
    return SignedWebhook(
        raw,
        {
            "Content-Type": "application/json",
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-Sha256": base64.b64encode(digest).decode(),
            "X-Shopify-Shop-Domain": f"{shop.name}.myshopify.com",
            "X-Shopify-Webhook-Id": secrets.token_hex(16),
            "X-Shopify-Triggered-At": at.isoformat().replace("+00:00", "Z"),
            "X-Shopify-API-Version": "2026-07",
        },
    )


def sign_standard(shop: DemoShop, body: dict[str, Any], at: datetime) -> SignedWebhook:
    """Sign a webhook as the Standard Webhooks specification says."""
    raw = simplejson.dumps(body).encode()
    message_id, timestamp = f"msg_{secrets.token_hex(12)}", str(int(at.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + raw
    digest = hmac.new(decode_secret(shop.webhook_secret), signed, hashlib.sha256).digest()
    return SignedWebhook(
        raw,
        {
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        },
    )


def shopper_token(shop: DemoShop, now: datetime) -> str:
    """Return the token that proves to My Pages who the shopper is."""
    claims = {
        "iss": shop.name,
        "aud": "engage-plugin",
        "sub": CUSTOMER_ID,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + TOKEN_LIFE_S,
        "jti": secrets.token_hex(16),
        "email": ADA["email"],
        "email_verified": True,
        "locale": "en-SE",
    }
    return jwt.encode(claims, shop.shopper_secret, algorithm="HS256")


def serve_shop_front(shop: DemoShop, port: int) -> str:
    """Serve the demo shop's page from a thread of this process and return its address."""
    app = Flask(__name__)

    @app.get("/")
    def front() -> str:
        return render_template_string(
            FRONT,
            name=ADA["first_name"],
            session_url=f"{shop.mypages_url}session",
            token=shopper_token(shop, datetime.now(UTC)),
        )

    server = make_server("127.0.0.1", port, app, threaded=True)
    threading.Thread(target=server.serve_forever, name="demo-shop", daemon=True).start()
    return f"http://127.0.0.1:{server.port}/"
