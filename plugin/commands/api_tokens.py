"""`engage-plugin api-tokens`: tokens with which a shop's own servers authenticate at /api."""

from dataclasses import asdict

import click

from plugin.commands.common import json_option, open_services, report_errors, show, table


@click.group("api-tokens")
def api_tokens() -> None:
    """Create, list and revoke API tokens of a shop."""


@api_tokens.command("create")
@click.argument("shop")
@report_errors
def create_token(shop: str) -> None:
    """Create a further token of a shop and show it, this once. Example: engage-plugin api-tokens create web-se"""
    with open_services() as services:
        token = services.api_tokens.create(services.stores.shops.get(shop), services.clock())
        show({"shop": shop, "api_token": token, "use": "Authorization: Bearer API_TOKEN, from your servers only"})


@api_tokens.command("list")
@click.argument("shop")
@json_option
@report_errors
def list_tokens(shop: str, as_json: bool) -> None:
    """List a shop's tokens by their last characters. Example: engage-plugin api-tokens list web-se"""
    with open_services() as services:
        tokens = services.api_tokens.all_of(services.stores.shops.get(shop))
        if as_json:
            show([asdict(row) for row in tokens])
            return
        rows = [[row.id, f"…{row.hint}", row.created_at, row.revoked_at or "valid"] for row in tokens]
        table("API tokens", ["id", "ends with", "made", "revoked"], rows)


@api_tokens.command("revoke")
@click.argument("shop")
@click.argument("token_id", type=int)
@report_errors
def revoke_token(shop: str, token_id: int) -> None:
    """Revoke a token at once. Example: engage-plugin api-tokens revoke web-se 3"""
    with open_services() as services:
        services.api_tokens.revoke(services.stores.shops.get(shop), token_id, services.clock())
        click.echo(f"token {token_id} is no longer valid")
