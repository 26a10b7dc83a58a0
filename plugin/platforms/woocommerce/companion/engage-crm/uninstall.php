<?php
/**
 * Deleting the plugin takes its settings, with the secret. Consents are the shopper's own words and stay with the shop.
 */

if (!defined('WP_UNINSTALL_PLUGIN')) {
    exit;
}

delete_option('engage_crm');
