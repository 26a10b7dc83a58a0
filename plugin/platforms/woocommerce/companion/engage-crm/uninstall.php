<?php
/**
 * Delete the settings, including the secret, with the plugin. Consents are the shopper's answers and stay in the shop.
 */

if (!defined('WP_UNINSTALL_PLUGIN')) {
    exit;
}

delete_option('engage_crm');
