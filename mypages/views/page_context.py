"""What every template gets, whatever the page shows.

Templates are in `templates/mypages/` and extend `base.html`. Beside the members of `PageContext`, as variables of their
own, each gets the view model of its part (`mypages.views.models`):

    overview.html       overview: Overview
    profile.html        profile: Profile
    transactions.html   purchases: Purchases
    transaction.html    receipt: Receipt            one purchase, also for printing
    promotions.html     promotions: Promotions
    points.html         points: Points
    vouchers.html       vouchers: Vouchers
    message.html        message: Message            no session, no such page, form too old, ...

`link(part, **query)` makes an address within My Pages that keeps base and mode: `link("transactions", page=2)`,
`link("transactions", id="8812")`, `link("overview")`.

Forms are posted to `link("profile")` with the hidden field `csrf` and one field for each `FormField.name`, beside a
hidden field `was.NAME` of its `was`. A preference is a checkbox of value `yes` named like the preference, beside a
hidden field `shown` of value `NAME:WAS` (`{{ p.name }}:{{ p.was }}`). It distinguishes a box without a tick from a
missing box, and a new consent from a tick on an old page. "Reload" is a form posted to `link("reload", back=part)` with
`csrf`. While a template is rendered, `flask.g.mypages_locale` holds the Babel locale, for gettext.
"""

from dataclasses import dataclass

from babel import Locale

from mypages.auth.visit import MessageKind, Mode
from plugin.store.shops.shops import RegisteredShop


@dataclass(frozen=True, slots=True)
class Message:
    """A page that only shows a message. login_url: where the shop logs in, or "". heading and text: the template's."""

    kind: MessageKind
    login_url: str = ""


@dataclass(frozen=True, slots=True)
class PageContext:
    """What every page gets.

    shop: None on the page of an unknown shop. part: overview, profile, transactions, promotions, points, vouchers or
    message. parts: those that the tenant has, in order, for the navigation; empty without a session. csrf: for forms,
    "" where nothing may be posted. base: the beginning of every address, with a slash at its end (`/mypages/web/`, or
    `/apps/engage/` behind Shopify's proxy). assets: the beginning of static files' addresses, with a slash at its end;
    absolute unless mode is PAGE. linked: the shopper has a verified contact. signup_url: where to sign up for the
    programme, or "". logout: whether there is a session that can be ended. reloadable: whether to offer "reload".
    """

    shop: RegisteredShop | None
    title: str
    locale: Locale
    part: str
    parts: tuple[str, ...]
    base: str
    assets: str
    mode: Mode = Mode.PAGE
    csrf: str = ""
    linked: bool = False
    signup_url: str = ""
    logout: bool = False
    reloadable: bool = False
