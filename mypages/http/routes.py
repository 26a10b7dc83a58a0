"""The addresses of My Pages."""

import json
from collections.abc import Mapping
from typing import Any, cast

from flask import Blueprint, Flask, Response

from mypages.http import openapi
from mypages.http.controller import MyPagesController
from mypages.http.dependencies import PageDependencies
from mypages.http.responses import with_cors
from mypages.views import language, theme

#: A route of ours answers the preflight requests of browsers.
_OPTIONS: Mapping[str, Any] = {"provide_automatic_options": False}
PARTS = "any(profile, promotions, points, vouchers, transactions)"


def blueprint(dependencies: PageDependencies) -> Blueprint:
    """Return the blueprint of My Pages."""
    routes = Blueprint(
        "mypages", __name__, url_prefix="/mypages", template_folder="../templates", static_folder="../static"
    )
    controller = MyPagesController(dependencies)
    theme.add_route(routes, controller.settings_of)
    routes.record_once(lambda state: language.install(cast("Flask", state.app)))

    @routes.post("/<shop>/session", **_OPTIONS)
    def start_session(shop: str) -> Response:
        return controller.start_session(shop)

    @routes.post("/<shop>/logout")
    def logout(shop: str) -> Response:
        return controller.logout(shop)

    @routes.get("/<shop>/", defaults={"part": "overview"}, **_OPTIONS)
    @routes.get(f"/<shop>/<{PARTS}:part>", **_OPTIONS)
    @routes.get("/<shop>/<any(transactions):part>/<path:purchase_id>", **_OPTIONS)
    def page(shop: str, part: str, purchase_id: str = "") -> Response:
        return controller.serve(shop, lambda page: page.show(part, purchase_id))

    @routes.post("/<shop>/<any(profile, reload):action>", **_OPTIONS)
    def act(shop: str, action: str) -> Response:
        return controller.serve(shop, lambda page: page.act(action))

    @routes.get("/proxy/<platform>/", defaults={"part": "overview"}, strict_slashes=False)
    @routes.get(f"/proxy/<platform>/<{PARTS}:part>")
    @routes.get("/proxy/<platform>/<any(transactions):part>/<path:purchase_id>")
    def proxied_page(platform: str, part: str, purchase_id: str = "") -> Response:
        return controller.serve_proxied(platform, lambda page: page.show(part, purchase_id))

    @routes.post("/proxy/<platform>/<any(profile, reload):action>")
    def proxied_act(platform: str, action: str) -> Response:
        return controller.serve_proxied(platform, lambda page: page.act(action))

    @routes.route("/<shop>/", methods=["OPTIONS"], defaults={"rest": ""})
    @routes.route("/<shop>/<path:rest>", methods=["OPTIONS"])
    def preflight(shop: str, rest: str) -> Response:  # noqa: ARG001
        return with_cors(Response(status=204))

    @routes.get("/openapi.json")
    def description() -> Response:
        return with_cors(Response(json.dumps(openapi.description()), mimetype="application/json"))

    return routes
