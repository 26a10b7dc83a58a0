"""What the plugin asks Saleor: the subscription queries of our webhooks, and the same fields again through its API.

A webhook's body holds exactly what its query asks for. The shop keeps the query of the installation until it is changed
there (docs/platforms/saleor.md#installation), so `api` compares it with this. Fields exist from Saleor 3.22 on.
"""

from collections.abc import Mapping

PERMISSIONS = ("MANAGE_USERS", "MANAGE_ORDERS")

_ADDRESS = """
fragment EngageAddress on Address {
  firstName lastName phone streetAddress1 streetAddress2 postalCode city country { code }
}
"""

_USER = """
fragment EngageUser on User {
  id email firstName lastName isActive isConfirmed languageCode dateJoined updatedAt externalReference
  metadata { key value }
  defaultBillingAddress { ...EngageAddress }
  defaultShippingAddress { ...EngageAddress }
  addresses { ...EngageAddress }
}
"""

_ORDER = """
fragment EngageOrder on Order {
  id number externalReference created updatedAt status origin languageCodeEnum userEmail
  user { id email firstName lastName isConfirmed languageCode }
  channel { slug currencyCode }
  metadata { key value }
  isPaid paymentStatus chargeStatus displayGrossPrices voucherCode
  total { currency gross { amount } net { amount } tax { amount } }
  undiscountedTotal { gross { amount } }
  subtotal { gross { amount } }
  shippingPrice { gross { amount } net { amount } tax { amount } }
  shippingTaxRate shippingMethodName
  totalCharged { amount currency }
  totalRefunded { amount }
  discounts { type name valueType value total { amount } }
  giftCards { id }
  billingAddress { ...EngageAddress }
  shippingAddress { ...EngageAddress }
  lines {
    id productSku productName variantName productVariantId quantity taxRate isGift
    unitPrice { currency gross { amount } net { amount } }
    undiscountedUnitPrice { gross { amount } }
    totalPrice { gross { amount } net { amount } tax { amount } }
    unitDiscount { amount } unitDiscountReason voucherCode
    variant { product { productType { kind } } }
  }
  transactions {
    id name createdAt
    chargedAmount { amount } refundedAmount { amount }
    events { id type createdAt amount { amount currency } }
  }
  payments {
    id gateway
    capturedAmount { amount }
    transactions { id kind isSuccess created amount { amount currency } }
  }
  grantedRefunds {
    id createdAt reason shippingCostsIncluded
    amount { amount }
    lines { quantity orderLine { id } }
    transactionEvents { id }
  }
  fulfillments {
    id status
    totalRefundedAmount { amount }
    shippingRefundedAmount { amount }
    lines { quantity orderLine { id } }
  }
}
"""

#: The type of a topic's event, and what is asked of it.
_CUSTOMER_EVENTS = {
    "customer_created": ("CustomerCreated", "user { ...EngageUser }"),
    "customer_updated": ("CustomerUpdated", "user { ...EngageUser }"),
    "customer_metadata_updated": ("CustomerMetadataUpdated", "user { ...EngageUser }"),
    "account_confirmed": ("AccountConfirmed", "user { ...EngageUser }"),
    "account_email_changed": ("AccountEmailChanged", "user { ...EngageUser }"),
    "customer_deleted": ("CustomerDeleted", "user { id }"),
    "account_deleted": ("AccountDeleted", "user { id }"),
}
_ORDER_EVENTS = {
    "order_fully_paid": ("OrderFullyPaid", "order { ...EngageOrder }"),
    "order_confirmed": ("OrderConfirmed", "order { ...EngageOrder }"),
    "order_refunded": ("OrderRefunded", "order { ...EngageOrder }"),
    "order_fully_refunded": ("OrderFullyRefunded", "order { ...EngageOrder }"),
    "order_cancelled": ("OrderCancelled", "order { ...EngageOrder }"),
}
_APP_EVENTS = {"app_deleted": ("AppDeleted", "app { id }")}


def _subscription(name: str, events: Mapping[str, tuple[str, str]], *fragments: str) -> str:
    asked = "\n".join(
        f"    ... on {kind} {{ __typename issuedAt version recipient {{ id }} {fields} }}"
        for kind, fields in events.values()
    )
    return f"subscription {name} {{\n  event {{\n{asked}\n  }}\n}}\n" + "".join(fragments)


#: Our webhooks by name: the topics of each, and its query.
WEBHOOKS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "Engage: customers": (tuple(_CUSTOMER_EVENTS), _subscription("EngageCustomers", _CUSTOMER_EVENTS, _USER, _ADDRESS)),
    "Engage: orders": (tuple(_ORDER_EVENTS), _subscription("EngageOrders", _ORDER_EVENTS, _ORDER, _ADDRESS)),
    "Engage: app": (tuple(_APP_EVENTS), _subscription("EngageApp", _APP_EVENTS)),
}

PROOF = "query EngageProof { app { id identifier } }"

CHECK = "query EngageCheck { app { id identifier isActive permissions { code } } shop { name version } }"

SUBSCRIPTIONS = """
query EngageSubscriptions {
  app { id webhooks { id name targetUrl isActive subscriptionQuery asyncEvents { eventType } } }
}
"""

CREATE_WEBHOOK = """
mutation EngageCreateWebhook($input: WebhookCreateInput!) {
  webhookCreate(input: $input) { webhook { id } errors { field code message } }
}
"""

UPDATE_WEBHOOK = """
mutation EngageUpdateWebhook($id: ID!, $input: WebhookUpdateInput!) {
  webhookUpdate(id: $id, input: $input) { webhook { id } errors { field code message } }
}
"""

CUSTOMERS = (
    """
query EngageCustomerPage($first: Int!, $after: String, $where: CustomerWhereInput) {
  customers(first: $first, after: $after, where: $where, sortBy: { field: LAST_MODIFIED_AT, direction: ASC }) {
    edges { cursor node { ...EngageUser } }
    pageInfo { hasNextPage }
  }
}
"""
    + _USER
    + _ADDRESS
)

ORDERS = (
    """
query EngageOrderPage($first: Int!, $after: String, $where: OrderWhereInput) {
  orders(first: $first, after: $after, where: $where, sortBy: { field: LAST_MODIFIED_AT, direction: ASC }) {
    edges { cursor node { ...EngageOrder } }
    pageInfo { hasNextPage }
  }
}
"""
    + _ORDER
    + _ADDRESS
)
