"""The page that a merchant's developer gets once: webhook address, secrets, and examples to copy in four languages.

A link with a one-time state leads to it; a button uses the state up, so that a mail program's link preview does not use it up.
"""

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

from flask import Blueprint, Response, request
from markupsafe import Markup

from plugin.platforms.base import InstallationService, ShopCredentials

#: Language to the file of its example.
EXAMPLES: Mapping[str, str] = MappingProxyType(
    {"Python": "send.py.txt", "JavaScript (Node.js)": "send.mjs", "PHP": "send.php", "Shell": "send.sh"}
)
MAX_STATE_LENGTH = 128
_STYLE = Markup(
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "pre{overflow:auto;padding:1rem;border:1px solid #8888;border-radius:.5rem}code{overflow-wrap:anywhere}"
)


def example(language: str, webhook_url: str, webhook_secret: str) -> str:
    """Return an example with a shop's address and secret filled in; both are plain text without quotes."""
    text = files("plugin.platforms.standard").joinpath("examples", EXAMPLES[language]).read_text(encoding="utf-8")
    return text.replace("WEBHOOK_URL", webhook_url).replace("WEBHOOK_SECRET", webhook_secret)


def webhook_url(service: InstallationService, shop: ShopCredentials) -> str:
    """Return where a shop's webhooks go."""
    return f"{service.public_url}/webhooks/standard/{shop.name}"


def routes(service: InstallationService) -> Blueprint:
    """Return the blueprint of the page."""
    pages = Blueprint("install-standard", __name__, url_prefix="/install/standard")

    @pages.get("/<state>")
    def ask(state: str) -> Response:  # noqa: ARG001
        return _page(
            "Connect your shop",
            Markup(
                "<p>This link shows the webhook secret of your shop once.</p>"
                '<form method="post"><button>Show address, secret and examples</button></form>'
            ),
        )

    @pages.post("/<state>")
    def show(state: str) -> Response:
        found = service.finish("standard", state) if len(state) <= MAX_STATE_LENGTH else None
        if found is None or request.content_length not in {None, 0}:
            text = "This link was used or has expired. Make a new one: engage-plugin shops install NAME"
            return _page("No such link", Markup("<p>{}</p>").format(text), 404)
        return _page("Connect your shop", _content(service, found[0]))

    return pages


def _content(service: InstallationService, shop: ShopCredentials) -> Markup:
    url, secret = webhook_url(service, shop), shop.webhook_secrets[0]
    rows = [
        ("Webhook address", url),
        ("Webhook secret", secret),
        ("My Pages", f"{service.public_url}/mypages/{shop.name}/"),
        ("Shopper secret, for tokens of logged-in shoppers", shop.shopper_secret),
        ("Schema of the events", f"{service.public_url}/schemas/standard.json"),
    ]
    parts = [Markup("<p>Keep the secrets where your shop keeps its others; this page is not shown again.</p><dl>")]
    parts += [Markup("<dt>{}</dt><dd><code>{}</code></dd>").format(name, value) for name, value in rows]
    parts.append(Markup("</dl>"))
    for language in EXAMPLES:
        code = example(language, url, secret)
        parts.append(Markup("<h2>{}</h2><pre><code>{}</code></pre>").format(language, code))
    return Markup("").join(parts)


def _page(title: str, content: Markup, status: int = 200) -> Response:
    answer = Response(
        Markup(
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            "<title>{0}</title><style>{1}</style><h1>{0}</h1>{2}</html>"
        ).format(title, _STYLE, content),
        status,
        mimetype="text/html",
    )
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return answer
