<?php
/**
 * Orders: the lines of refunds in the webhook's own body, and Engage's ids from a coupon's meta data.
 */

if (!defined('ABSPATH')) {
    exit;
}

const ENGAGE_CRM_ID_FIELDS = array('engage_promotion_assignment_id', 'engage_voucher_number');

/**
 * Add the lines of an order's refunds to the body of our webhooks. WooCommerce itself lists a refund with its amount alone.
 *
 * The filter is in WooCommerce's class-wc-webhook.php; other receivers' bodies are left as they are.
 */
function engage_crm_webhook_payload($payload, $resource, $resource_id, $webhook_id)
{
    if ($resource !== 'order' || !is_array($payload) || empty($payload['refunds']) || !engage_crm_is_our_webhook($webhook_id)) {
        return $payload;
    }
    $order = wc_get_order($resource_id);
    if (!$order) {
        return $payload;
    }
    $payload['engage_refunds'] = array();
    foreach ($order->get_refunds() as $refund) {
        $created = $refund->get_date_created();
        $payload['engage_refunds'][] = array(
            'id' => $refund->get_id(),
            'date_created_gmt' => $created ? gmdate('Y-m-d\TH:i:s', $created->getTimestamp()) : null,
            'amount' => wc_format_decimal($refund->get_amount(), wc_get_price_decimals()),
            'line_items' => engage_crm_refunded($refund, 'line_item'),
            'shipping_lines' => engage_crm_refunded($refund, 'shipping'),
            'fee_lines' => engage_crm_refunded($refund, 'fee'),
        );
    }

    return $payload;
}

/** Return the lines of a refund, with negative amounts and quantities as the REST API writes them. */
function engage_crm_refunded($refund, $type)
{
    $lines = array();
    foreach ($refund->get_items($type) as $item) {
        $lines[] = array(
            'id' => $item->get_id(),
            'quantity' => $item->get_quantity(),
            'total' => wc_format_decimal($item->get_total(), wc_get_price_decimals()),
            'total_tax' => wc_format_decimal($item->get_total_tax(), wc_get_price_decimals()),
            'meta_data' => array(array('key' => '_refunded_item_id', 'value' => $item->get_meta('_refunded_item_id'))),
        );
    }

    return $lines;
}

/** Return whether a webhook is ours: one delivered to the host of My Pages. */
function engage_crm_is_our_webhook($webhook_id)
{
    $settings = engage_crm_settings();
    $webhook = function_exists('wc_get_webhook') ? wc_get_webhook($webhook_id) : null;
    $ours = wp_parse_url($settings['mypages_url'], PHP_URL_HOST);

    return $webhook && $ours && wp_parse_url($webhook->get_delivery_url(), PHP_URL_HOST) === $ours;
}

/**
 * Copy Engage's ids from a coupon to its line in the order: the id of a promotion assignment, the number of a voucher.
 *
 * Not to the order: WooCommerce reuses an order for several payment attempts and makes its lines again (create_order_coupon_lines
 * in class-wc-checkout.php, for both checkouts), so the line vanishes with the coupon, while the order's meta data would stay.
 */
function engage_crm_coupon_used($item, $code, $coupon)
{
    foreach (ENGAGE_CRM_ID_FIELDS as $name) {
        $value = $coupon->get_meta($name);
        if (is_string($value) && $value !== '') {
            $item->update_meta_data($name, $value);
        }
    }
}

function engage_crm_coupon_fields($coupon_id, $coupon)
{
    $labels = array(
        'engage_promotion_assignment_id' => __('Engage promotion assignment id', 'engage-crm'),
        'engage_voucher_number' => __('Engage voucher number', 'engage-crm'),
    );
    foreach ($labels as $name => $label) {
        woocommerce_wp_text_input(array('id' => $name, 'label' => $label, 'value' => $coupon->get_meta($name)));
    }
}

/** WooCommerce has checked nonce and capability before it saves a coupon. */
function engage_crm_coupon_saved($coupon_id, $coupon)
{
    foreach (ENGAGE_CRM_ID_FIELDS as $name) {
        // phpcs:ignore WordPress.Security.NonceVerification.Missing -- see above
        if (isset($_POST[$name])) {
            $coupon->update_meta_data($name, sanitize_text_field(wp_unslash($_POST[$name]))); // phpcs:ignore WordPress.Security.NonceVerification.Missing
        }
    }
    $coupon->save_meta_data();
}

add_filter('woocommerce_webhook_payload', 'engage_crm_webhook_payload', 10, 4);
add_action('woocommerce_checkout_create_order_coupon_item', 'engage_crm_coupon_used', 10, 3);
add_action('woocommerce_coupon_options', 'engage_crm_coupon_fields', 10, 2);
add_action('woocommerce_coupon_options_save', 'engage_crm_coupon_saved', 10, 2);
