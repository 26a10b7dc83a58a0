"""The composition root of the web application: builds it from the services of one process."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING

from plugin.services import Services, is_available

if (
    TYPE_CHECKING
):  # the modules are imported in the functions: a command starts fast, and a worker loads nothing of the web
    from flask import Flask, Response


__all__ = ["Services", "create_app"]


def create_app(services: Services) -> Flask:
    """Return the web application. Raises ConfigurationError when the manifest is faulty."""
    from flask import Flask

    from mypages.http.routes import blueprint as mypages_blueprint
    from plugin.api import checkout as checkout_api
    from plugin.api import promotions as promotions_api
    from plugin.platforms.registry import PLATFORMS
    from webhooks.receiving.endpoint import blueprint as webhooks_blueprint

    settings = services.settings
    app = Flask("plugin")
    # a little above the webhooks' own limit, which answers with a better message
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes + 1024
    app.register_blueprint(webhooks_blueprint(services.webhook_receiver))
    app.register_blueprint(mypages_blueprint(services.my_pages))
    app.register_blueprint(checkout_api.blueprint(services.checkout, services.api_authenticator, services.stores.shops))
    app.register_blueprint(
        promotions_api.blueprint(services.promotion_service, services.bulk_assigner, services.api_authenticator)
    )
    for platform in PLATFORMS.values():
        routes = platform.install_routes(services.installation_service)
        if routes is not None:
            app.register_blueprint(routes)
    _add_plain_routes(app, services)
    return app


def _add_plain_routes(app: Flask, services: Services) -> None:
    from flask import Response, jsonify
    from werkzeug.exceptions import HTTPException

    from plugin.platforms.standard.schema import schema as standard_schema

    manifest = services.manifest.absolute(services.settings.public_url)

    @app.get("/")
    def index() -> Response:
        return Response(
            f"{manifest['name']} {manifest['version']}\nThis address serves a shop's webhooks and My Pages.\n",
            mimetype="text/plain",
        )

    @app.get("/manifest.json")
    def manifest_json() -> Response:
        return jsonify(manifest)

    @app.get("/schemas/standard.json")
    def standard_json() -> Response:
        answer = jsonify(standard_schema())
        answer.mimetype = "application/schema+json"
        return answer

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        checks = {"database": is_available(services.database.check), "redis": is_available(services.redis.ping)}
        return jsonify(checks), 200 if all(checks.values()) else 503

    @app.get("/metrics")
    def metrics() -> tuple[Response, int]:
        if not _may_read_metrics(services.settings.metrics_token):
            return jsonify({"message": "Ask from this machine, or with the bearer METRICS_TOKEN."}), 401
        return Response(services.metrics.render(), mimetype="text/plain; version=0.0.4"), 200

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        return jsonify({"message": error.description or error.name}), error.code or 500


def _may_read_metrics(token: str | None) -> bool:
    from flask import request

    given = request.headers.get("Authorization", "").encode()
    if token is not None and hmac.compare_digest(given, f"Bearer {token}".encode()):
        return True
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False  # a proxy on this machine forwards the request of another
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
