<?php
/**
 * The page /my-account/crm/: a frame whose first request is a form with a token. The token is in the body of that request
 * alone, never in an address.
 */

if (!defined('ABSPATH')) {
    exit;
}

const ENGAGE_CRM_ENDPOINT = 'crm';

function engage_crm_add_endpoint()
{
    add_rewrite_endpoint(ENGAGE_CRM_ENDPOINT, EP_ROOT | EP_PAGES);
}

function engage_crm_query_vars($vars)
{
    $vars[ENGAGE_CRM_ENDPOINT] = ENGAGE_CRM_ENDPOINT;

    return $vars;
}

/** Put the page before the log-out link. */
function engage_crm_menu_items($items)
{
    if (!engage_crm_is_ready()) {
        return $items;
    }
    $settings = engage_crm_settings();
    $last = array();
    if (isset($items['customer-logout'])) {
        $last['customer-logout'] = $items['customer-logout'];
        unset($items['customer-logout']);
    }
    $items[ENGAGE_CRM_ENDPOINT] = $settings['menu_title'];

    return $items + $last;
}

function engage_crm_title()
{
    $settings = engage_crm_settings();

    return $settings['menu_title'];
}

/** Forbid caching: a page with a token in it is for this shopper alone. */
function engage_crm_no_cache()
{
    if (function_exists('is_wc_endpoint_url') && is_wc_endpoint_url(ENGAGE_CRM_ENDPOINT)) {
        nocache_headers();
    }
}

function engage_crm_page()
{
    $user_id = get_current_user_id();
    if ($user_id < 1 || !engage_crm_is_ready()) {
        echo '<p>' . esc_html__('This page is not available right now.', 'engage-crm') . '</p>';

        return;
    }
    $settings = engage_crm_settings();
    $token = engage_crm_token($settings['shopper_secret'], $settings['shop_name'], $user_id, time(), get_user_locale($user_id));
    // phpcs:ignore WordPress.Security.NonceVerification.Recommended -- it only chooses between frame and window
    $in_window = isset($_GET['engage_window']);
    printf(
        '<form id="engage-crm-form" method="post" action="%1$s"%2$s><input type="hidden" name="token" value="%3$s"><noscript><button type="submit">%4$s</button></noscript></form>',
        esc_url($settings['mypages_url'] . 'session'),
        $in_window ? '' : ' target="engage-crm-frame"',
        esc_attr($token),
        esc_html__('Show', 'engage-crm')
    );
    if (!$in_window) {
        printf(
            '<iframe name="engage-crm-frame" title="%1$s" style="width:100%%;min-height:48rem;border:0"></iframe>',
            esc_attr($settings['menu_title'])
        );
        // browsers that block cookies in frames show the log-in page in it
        printf(
            '<p><a href="%1$s">%2$s</a></p>',
            esc_url(add_query_arg('engage_window', '1', wc_get_account_endpoint_url(ENGAGE_CRM_ENDPOINT))),
            esc_html__('Open in the whole window', 'engage-crm')
        );
    }
    echo '<script>document.getElementById("engage-crm-form").submit();</script>';
}

add_action('init', 'engage_crm_add_endpoint');
add_filter('woocommerce_get_query_vars', 'engage_crm_query_vars');
add_filter('woocommerce_account_menu_items', 'engage_crm_menu_items');
add_filter('woocommerce_endpoint_' . ENGAGE_CRM_ENDPOINT . '_title', 'engage_crm_title');
add_action('template_redirect', 'engage_crm_no_cache');
add_action('woocommerce_account_' . ENGAGE_CRM_ENDPOINT . '_endpoint', 'engage_crm_page');
