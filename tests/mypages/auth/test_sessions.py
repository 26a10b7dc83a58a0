"""Hand-over tokens and sessions."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from sqlalchemy import text
from support.mypages_harness import Pages

from plugin.sandbox.testing import RunningSandbox


def test_a_valid_token_starts_a_session_in_a_protected_cookie(pages: Any) -> None:
    shop = pages.add_shop("web")
    answer = pages.browser().post("/mypages/web/session", data={"token": pages.token(shop)})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/mypages/web/")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("engage-session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_over_https_the_cookie_is_bound_to_the_host(tmp_path: Path, sandbox: RunningSandbox) -> None:
    pages = Pages(tmp_path, sandbox, secure=True)
    shop = pages.add_shop("web")
    cookie = pages.browser().post("/mypages/web/session", data={"token": pages.token(shop)}).headers["Set-Cookie"]
    assert cookie.startswith("__Host-engage-session=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    pages.close()


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1, "iat": 0},
        {"exp": 99999999999},
        {"iat": 99999999999, "exp": 99999999999 + 60},
        {"iss": "other"},
        {"aud": "somebody-else"},
        {"sub": None},
        {"jti": None},
        {"iat": None},
        {"exp": None},
        {"sub": ""},
        {"sub": "x" * 129},
        {"iat": "now"},
    ],
)
def test_a_token_with_wrong_claims_is_refused(pages: Any, claims: dict[str, Any]) -> None:
    shop = pages.add_shop("web")
    token = pages.token(shop, claims.pop("sub"), **claims) if "sub" in claims else pages.token(shop, **claims)
    answer = pages.browser().post("/mypages/web/session", data={"token": token})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_a_token_works_once(pages: Any) -> None:
    shop = pages.add_shop("web")
    token = pages.token(shop)
    assert pages.browser().post("/mypages/web/session", data={"token": token}).status_code == 303
    assert pages.browser().post("/mypages/web/session", data={"token": token}).status_code == 401


def test_a_token_of_another_shop_is_refused(pages: Any) -> None:
    pages.add_shop("web")
    other = pages.add_shop("other")
    for claims in ({}, {"iss": "web"}):
        answer = pages.browser().post("/mypages/web/session", data={"token": pages.token(other, **claims)})
        assert answer.status_code == 401


def test_tokens_with_another_algorithm_are_refused(pages: Any) -> None:
    shop = pages.add_shop("web")
    claims = jwt.decode(pages.token(shop), options={"verify_signature": False})
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tokens = [
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims, rsa_key, algorithm="RS256"),
        jwt.encode(claims, shop.shopper_secret * 2, algorithm="HS512"),
        "",
        "rubbish",
        "a.b.c",
        "x" * 10_000,
    ]
    for token in tokens:
        assert pages.browser().post("/mypages/web/session", data={"token": token}).status_code == 401


def test_a_session_is_not_valid_at_another_shop(pages: Any) -> None:
    shop = pages.add_shop("web")
    pages.add_shop("other")
    browser = pages.logged_in(shop)
    assert browser.get("/mypages/web/").status_code == 200
    assert browser.get("/mypages/other/").status_code == 401


def test_a_session_ends_after_half_an_hour_without_a_visit(pages: Any) -> None:
    browser = pages.logged_in(pages.add_shop("web"))
    pages.clock.ahead = timedelta(minutes=29)
    assert browser.get("/mypages/web/").status_code == 200
    pages.clock.ahead = timedelta(minutes=58)
    assert browser.get("/mypages/web/").status_code == 200
    pages.clock.ahead = timedelta(minutes=89)
    assert browser.get("/mypages/web/").status_code == 401


def test_a_forged_cookie_is_refused(pages: Any) -> None:
    pages.add_shop("web")
    browser = pages.browser()
    for value in ("", "rubbish", "gAAAAAB" + "A" * 100, "å"):
        browser.set_cookie("engage-session", value)
        assert browser.get("/mypages/web/").status_code == 401


def test_logging_out_ends_the_session(pages: Any) -> None:
    browser = pages.logged_in(pages.add_shop("web"))
    assert browser.post("/mypages/web/logout").status_code == 303
    assert browser.get("/mypages/web/").status_code == 401


def test_without_a_session_the_page_links_to_the_login(pages: Any) -> None:
    pages.add_shop("web", login_url="https://shop.example/login")
    answer = pages.browser().get("/mypages/web/")
    assert answer.status_code == 401
    assert "https://shop.example/login" in answer.text
    assert pages.browser().get("/mypages/nobody/").status_code == 404


def test_without_the_database_a_session_request_gets_503(pages: Any) -> None:
    shop = pages.add_shop("web")
    token = pages.token(shop)
    with pages.database.transaction() as session:
        session.execute(text("ALTER TABLE used_tokens RENAME TO elsewhere"))
    answer = pages.browser().post("/mypages/web/session", data={"token": token})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    with pages.database.transaction() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO used_tokens"))
    assert pages.browser().post("/mypages/web/session", data={"token": token}).status_code == 303
