<?php
const URL = 'WEBHOOK_URL';
const SECRET = 'WEBHOOK_SECRET';

function send(string $eventId, array $body): string
{
    $raw = json_encode($body, JSON_THROW_ON_ERROR);
    $now = (string) time();
    $key = base64_decode(substr(SECRET, strlen('whsec_')), true);
    $signature = base64_encode(hash_hmac('sha256', "$eventId.$now.$raw", $key, true));
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => [
            'Content-Type: application/json',
            "webhook-id: $eventId",
            "webhook-timestamp: $now",
            "webhook-signature: v1,$signature",
        ],
        'content' => $raw,
        'timeout' => 10,
    ]]);
    $answer = file_get_contents(URL, false, $context);
    if ($answer === false) {
        throw new RuntimeException('the webhook was not taken; send it again later with the same id');
    }
    return $answer;
}

$customer = ['id' => '1001', 'email' => 'ada@example.com', 'email_verified' => true, 'first_name' => 'Ada'];
echo send('customer-1001-1', ['type' => 'customer.created', 'timestamp' => gmdate('c'), 'data' => ['customer' => $customer]]);
