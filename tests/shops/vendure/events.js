'use strict';
// Vendure's entities in the words of the Standard platform. Vendure counts money in minor units.

const major = (minor, currency) => {
  const digits = new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits;
  const sign = minor < 0 ? '-' : '';
  const text = String(Math.abs(minor)).padStart(digits + 1, '0');
  return digits ? `${sign}${text.slice(0, -digits)}.${text.slice(-digits)}` : sign + text;
};
const present = fields => Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== ''));

function person(customer) {
  return { email: customer.emailAddress, first_name: customer.firstName, last_name: customer.lastName, phone: customer.phoneNumber };
}

function customer(found) {
  const address = (found.addresses || []).find(one => one.defaultShippingAddress) || (found.addresses || [])[0];
  const birthDate = found.customFields && found.customFields.birthDate;
  return present({
    id: String(found.id),
    ...person(found),
    email_verified: Boolean(found.user && found.user.verified),
    birth_date: birthDate ? new Date(birthDate).toISOString().slice(0, 10) : undefined,
    updated_at: new Date(found.updatedAt).toISOString(),
    address: address && present({
      street: address.streetLine1, zip_code: address.postalCode, city: address.city, country_code: address.country && address.country.code,
    }),
  });
}

// only what the shopper was asked and answered in this very change
function consents(input) {
  const answer = input && input.customFields && input.customFields.acceptsEmail;
  if (typeof answer !== 'boolean') return [];
  return [{ channel: 'email', value: answer, at: new Date().toISOString(), source: 'account' }];
}

function line(found, currency) {
  const gross = found.proratedLinePriceWithTax;
  return {
    id: String(found.id),
    sku: found.productVariant.sku,
    name: found.productVariant.name,
    quantity: found.quantity,
    gross_paid: major(gross, currency),
    tax_amount: major(gross - found.proratedLinePrice, currency),
    tax_percent: String(found.taxRate),
  };
}

function order(found) {
  const currency = found.currencyCode;
  const shipping = found.shippingLines.map(one => ({
    id: `shipping-${one.id}`, kind: 'shipping', name: one.shippingMethod ? one.shippingMethod.name : 'Shipping', quantity: 1,
    gross_paid: major(one.discountedPriceWithTax, currency),
    tax_amount: major(one.discountedPriceWithTax - one.discountedPrice, currency),
  }));
  const address = found.shippingAddress || {};
  const account = found.customer && found.customer.user;
  return {
    id: found.code,
    number: found.code,
    paid_at: new Date(found.orderPlacedAt || Date.now()).toISOString(),
    currency,
    total: major(found.totalWithTax, currency),
    customer: present({
      ...(account ? { id: String(found.customer.id), email_verified: Boolean(account.verified) } : {}),
      ...person(found.customer),
      address: present({
        street: address.streetLine1, zip_code: address.postalCode, city: address.city, country_code: address.countryCode,
      }),
    }),
    lines: [...found.lines.filter(one => one.quantity > 0).map(one => line(one, currency)), ...shipping],
    payments: found.payments.filter(one => one.state === 'Settled').map(one => ({ type: one.method, amount: major(one.amount, currency) })),
  };
}

function refund(found, refundId) {
  const currency = found.currencyCode;
  const refunds = found.payments.flatMap(one => one.refunds || []);
  const given = refunds.find(one => String(one.id) === String(refundId));
  const lines = (given.lines || []).map(one => {
    const bought = found.lines.find(candidate => String(candidate.id) === String(one.orderLineId));
    const gross = bought.proratedUnitPriceWithTax * one.quantity;
    return {
      id: String(bought.id), sku: bought.productVariant.sku, name: bought.productVariant.name, quantity: one.quantity,
      gross_paid: major(gross, currency), tax_amount: major(gross - bought.proratedUnitPrice * one.quantity, currency),
    };
  });
  return { id: String(given.id), order_id: found.code, currency, total: major(given.total, currency), lines, refunded_at: new Date().toISOString() };
}

module.exports = { customer, consents, order, refund };
