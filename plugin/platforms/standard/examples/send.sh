#!/bin/sh
# needs openssl and curl
set -eu
URL='WEBHOOK_URL'
SECRET='WEBHOOK_SECRET'

id='customer-1001-1'
now=$(date +%s)
body='{"type": "customer.created", "timestamp": "'$(date -u +%Y-%m-%dT%H:%M:%SZ)'", "data": {"customer":
  {"id": "1001", "email": "ada@example.com", "email_verified": true, "first_name": "Ada"}}}'
key=$(printf %s "${SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
signature=$(printf %s "$id.$now.$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
curl --fail-with-body --silent --show-error --max-time 10 --data-binary "$body" -H 'Content-Type: application/json' \
  -H "webhook-id: $id" -H "webhook-timestamp: $now" -H "webhook-signature: v1,$signature" "$URL"
