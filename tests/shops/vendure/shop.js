'use strict';
// A Vendure shop on loopback for the end-to-end test, with a bridge that signs its events as Standard Webhooks.
// SHOP_PORT, SHOP_FOLDER (database and assets), WEBHOOK_URL, WEBHOOK_SECRET (whsec_...).
process.env.VENDURE_DISABLE_TELEMETRY = 'true';
require('reflect-metadata');
const path = require('path');
const fs = require('fs');
const { Inject } = require('@nestjs/common');
const vendure = require('@vendure/core');
const { populate } = require('@vendure/core/cli');
const { send } = require('./webhooks');
const events = require('./events');

const PORT = Number(process.env.SHOP_PORT);
const DATABASE = path.join(process.env.SHOP_FOLDER, 'shop.sqlite');
const ORDER_RELATIONS = ['lines', 'lines.productVariant', 'customer', 'customer.user', 'payments', 'payments.refunds',
  'payments.refunds.lines', 'shippingLines', 'shippingLines.shippingMethod', 'surcharges'];

// Entities inside events can be circular, so they are read again by id.
class Bridge {
  constructor(bus, orders, customers) {
    this.bus = bus;
    this.orders = orders;
    this.customers = customers;
  }

  onApplicationBootstrap() {
    this.on(vendure.CustomerEvent, async event => {
      if (event.type === 'deleted') {
        return send('customer.deleted', { customer: { id: String(event.entity.id) } });
      }
      const customer = await this.customers.findOne(event.ctx, event.entity.id, ['user', 'addresses', 'addresses.country']);
      if (!customer || !customer.user) return undefined; // a guest: their order tells of them
      const topic = event.type === 'created' ? 'customer.created' : 'customer.updated';
      return send(topic, { customer: events.customer(customer), consents: events.consents(event.input) });
    });
    this.on(vendure.OrderStateTransitionEvent, async event => {
      const order = await this.orders.findOne(event.ctx, event.order.id, ORDER_RELATIONS);
      if (event.toState === 'PaymentSettled') return send('order.paid', { order: events.order(order) });
      if (event.toState === 'Cancelled') return send('order.cancelled', { order: { id: order.code } });
      return undefined;
    });
    this.on(vendure.RefundStateTransitionEvent, async event => {
      if (event.toState !== 'Settled') return undefined;
      const order = await this.orders.findOne(event.ctx, event.order.id, ORDER_RELATIONS);
      return send('order.refunded', { refund: events.refund(order, event.refund.id) });
    });
  }

  on(type, tell) {
    this.bus.ofType(type).subscribe(event => tell(event).catch(error => console.error('bridge:', error.stack)));
  }
}
Inject(vendure.EventBus)(Bridge, undefined, 0);
Inject(vendure.OrderService)(Bridge, undefined, 1);
Inject(vendure.CustomerService)(Bridge, undefined, 2);
vendure.VendurePlugin({ imports: [vendure.PluginCommonModule], compatibility: '^3.0.0' })(Bridge);

const config = {
  apiOptions: { port: PORT, hostname: '127.0.0.1', adminApiPath: 'admin-api', shopApiPath: 'shop-api' },
  authOptions: {
    tokenMethod: ['bearer', 'cookie'],
    requireVerification: false,
    superadminCredentials: { identifier: 'superadmin', password: 'superadmin' },
    cookieOptions: { secret: 'of tests' },
  },
  dbConnectionOptions: { type: 'better-sqlite3', database: DATABASE, synchronize: true, logging: false },
  paymentOptions: { paymentMethodHandlers: [vendure.dummyPaymentHandler] },
  customFields: {
    Customer: [
      { name: 'birthDate', type: 'datetime', nullable: true },
      { name: 'acceptsEmail', type: 'boolean', nullable: true },
    ],
  },
  logger: new vendure.DefaultLogger({ level: vendure.LogLevel.Warn }),
  plugins: [Bridge, vendure.DefaultJobQueuePlugin],
};

const initialData = {
  defaultLanguage: vendure.LanguageCode.en,
  defaultZone: 'Europe',
  countries: [{ name: 'Sweden', code: 'SE', zone: 'Europe' }],
  taxRates: [{ name: 'Standard Tax', percentage: 25 }],
  shippingMethods: [{ name: 'Parcel', price: 4900 }],
  paymentMethods: [{
    name: 'Card',
    handler: { code: vendure.dummyPaymentHandler.code, arguments: [{ name: 'automaticSettle', value: 'true' }] },
  }],
  collections: [],
};

(async () => {
  const fresh = !fs.existsSync(DATABASE);
  await (fresh
    ? populate(() => vendure.bootstrap(config), initialData, path.join(__dirname, 'products.csv'))
    : vendure.bootstrap(config));
  console.log('READY');
})().catch(error => {
  console.error(error);
  process.exit(1);
});
