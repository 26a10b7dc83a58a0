"""/api over a real database and real HTTP to the sandbox, beside My Pages in one application."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from plugin.api import checkout as checkout_api
from plugin.api import promotions as promotions_api
from plugin.auth.api_auth import ApiAuthenticator
from plugin.platforms.registry import PLATFORMS
from plugin.promotions.bulk_assignment import BulkAssigner
from plugin.promotions.checkout import OFFERS_BUDGET_S, VALIDATE_BUDGET_S, Checkout
from plugin.promotions.service import PromotionService
from plugin.sandbox.testing import RunningSandbox
from plugin.store.orders.promotions import Promotions
from plugin.store.orders.redemptions import Redemptions
from plugin.store.shops.api_tokens import ApiTokens
from plugin.store.shops.handover_tokens import UsedTokens
from plugin.store.shops.shops import RegisteredShop
from support.mypages_harness import Pages


class ShopApi(Pages):
    """What a shop's server and a shopper's browser can ask. pauses: the waits of assigning, none of which is waited."""

    def __init__(self, folder: Path, sandbox: RunningSandbox, *, hurried: bool = False) -> None:
        super().__init__(folder, sandbox)
        self.tokens, self.pauses = ApiTokens(self.database, self.vault), list[float]()
        self.redemptions, self.promotions = Redemptions(self.database), Promotions(self.database)
        self.promotion_service = PromotionService(self.promotions, self.client_for, self.clock)
        self.assigner = BulkAssigner(
            self.promotions,
            self.links,
            self.sync_states,
            self.client_for,
            self.vault.digest_of,
            self.clock,
            self.pauses.append,
        )
        keeper = ApiAuthenticator(self.shops, PLATFORMS.__getitem__, self.tokens, UsedTokens(self.database), self.clock)
        # budgets are wide except in tests of the budgets themselves: the machine may be busy
        budgets = (OFFERS_BUDGET_S, VALIDATE_BUDGET_S) if hurried else (30.0, 30.0)
        self.checkout = Checkout(
            self.links, self.sync_states, self.redemptions, self.cached, self.client_for, self.clock, *budgets
        )
        self.app.register_blueprint(checkout_api.blueprint(self.checkout, keeper, self.shops))
        self.app.register_blueprint(promotions_api.blueprint(self.promotion_service, self.assigner, keeper))
        self.shop = self.add_shop("web-se")
        self.api_token = self.tokens.create(self.shop, self.clock())
        self.web: FlaskClient = self.app.test_client()

    def server(self, customer_id: str | None = "1", token: str | None = None) -> dict[str, str]:
        """Return the headers of the shop's server."""
        headers = {"Authorization": f"Bearer {token or self.api_token}"}
        return headers if customer_id is None else {**headers, "Engage-Customer-Id": customer_id}

    def browser_token(self, customer_id: str = "1", **claims: Any) -> dict[str, str]:
        """Return the headers of a shopper's browser."""
        return {"Authorization": f"Bearer {self.token(self.shop, customer_id, **claims)}"}

    def offers(self, query: str = "currency=SEK", headers: Mapping[str, str] | None = None) -> Any:
        answer = self.web.get(f"/api/checkout/promotions?{query}", headers=headers or self.server())
        assert answer.status_code == 200, answer.text
        return answer.json

    def validate(self, headers: Mapping[str, str] | None = None, **body: Any) -> Any:
        answer = self.try_validate(headers, **body)
        assert answer.status_code == 200, answer.text
        return answer.json

    def try_validate(self, headers: Mapping[str, str] | None = None, **body: Any) -> TestResponse:
        return self.web.post(
            "/api/checkout/validate", json={"currency": "SEK", **body}, headers=headers or self.server()
        )

    def merchant(self, method: str, path: str, body: Any = None) -> TestResponse:
        return self.web.open(
            f"/api/promotions{path}", method=method, json=body, headers={"Authorization": f"Bearer {self.api_token}"}
        )

    def activate(self, promotion_id: str) -> None:
        """Do what a person does in Engage."""
        self._post(f"/sandbox/promotions/{promotion_id}/activate", {})

    def till(self, assignment_id: str) -> None:
        """Let a till redeem a promotion."""
        path = f"/api/v3/promotion-assignments/{assignment_id}/redeem"
        self.post_to_engage(path, {"redemptionChannel": "POS"})

    def intend(self, shop: RegisteredShop, assignment_id: str, order_id: str) -> None:
        self.redemptions.intend(shop, "promotion", assignment_id, None, order_id, 1, self.clock())

    def close(self) -> None:
        self.checkout.pool.shutdown()
        super().close()
