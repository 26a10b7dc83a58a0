'use strict';
// Standard Webhooks over plain node: one signed POST an event, sent again with the same id until it is taken.
const crypto = require('crypto');
const http = require('http');

const ADDRESS = new URL(process.env.WEBHOOK_URL);
const KEY = Buffer.from(process.env.WEBHOOK_SECRET.replace(/^whsec_/, ''), 'base64');
const PAUSES_MS = [200, 1000, 5000, 15000];

function post(id, body) {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = crypto.createHmac('sha256', KEY).update(`${id}.${timestamp}.`).update(body).digest('base64');
  const headers = {
    'content-type': 'application/json',
    'content-length': body.length,
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': `v1,${signature}`,
  };
  const options = { host: ADDRESS.hostname, port: ADDRESS.port, path: ADDRESS.pathname, method: 'POST', headers };
  return new Promise((resolve, reject) => {
    const request = http.request(options, response => {
      response.resume();
      response.on('end', () => (response.statusCode < 300 ? resolve() : reject(new Error(`answered ${response.statusCode}`))));
    });
    request.setTimeout(10000, () => request.destroy(new Error('no answer')));
    request.on('error', reject);
    request.end(body);
  });
}

async function send(type, data) {
  const id = `msg_${crypto.randomUUID()}`;
  const body = Buffer.from(JSON.stringify({ type, timestamp: new Date().toISOString(), data }));
  for (const pause of [...PAUSES_MS, null]) {
    try {
      return await post(id, body);
    } catch (error) {
      if (pause === null) throw error;
      await new Promise(resolve => setTimeout(resolve, pause));
    }
  }
  return undefined;
}

module.exports = { send };
