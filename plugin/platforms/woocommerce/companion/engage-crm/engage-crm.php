<?php
/**
 * Plugin Name: Engage CRM for WooCommerce
 * Description: Shows a customer's pages of Voyado Engage in My account, and keeps consents with their time and source.
 * Version: 0.1.0
 * Requires at least: 6.0
 * Requires PHP: 7.4
 * Requires Plugins: woocommerce
 * License: MIT
 * Text Domain: engage-crm
 *
 * Everything that leaves this plugin goes through WooCommerce's own webhooks and through one form in the shopper's
 * browser. It makes no calls of its own.
 */

if (!defined('ABSPATH')) {
    exit;
}

define('ENGAGE_CRM_FILE', __FILE__);

require_once __DIR__ . '/includes/token.php';
require_once __DIR__ . '/includes/settings.php';
require_once __DIR__ . '/includes/my-account.php';
require_once __DIR__ . '/includes/consent.php';
require_once __DIR__ . '/includes/orders.php';

/** The address /my-account/crm/ exists only after WordPress has rewritten its rules. */
function engage_crm_activate()
{
    engage_crm_add_endpoint();
    flush_rewrite_rules();
}

/** Remove the address again. Settings are deleted with the plugin; consents stay with the customers. */
function engage_crm_deactivate()
{
    flush_rewrite_rules();
}

/** Declare support for WooCommerce's order storage (orders are read through its API alone) and for the block checkout. */
function engage_crm_declare_compatibility()
{
    $features = '\Automattic\WooCommerce\Utilities\FeaturesUtil';
    if (class_exists($features)) {
        $features::declare_compatibility('custom_order_tables', ENGAGE_CRM_FILE, true);
        $features::declare_compatibility('cart_checkout_blocks', ENGAGE_CRM_FILE, true);
    }
}

register_activation_hook(ENGAGE_CRM_FILE, 'engage_crm_activate');
register_deactivation_hook(ENGAGE_CRM_FILE, 'engage_crm_deactivate');
add_action('before_woocommerce_init', 'engage_crm_declare_compatibility');
