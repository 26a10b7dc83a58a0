<?php
/**
 * Settings: WooCommerce > Engage CRM. The secret is written and never shown again.
 */

if (!defined('ABSPATH')) {
    exit;
}

const ENGAGE_CRM_OPTION = 'engage_crm';

/** Return the settings, each with a text. */
function engage_crm_settings()
{
    $stored = get_option(ENGAGE_CRM_OPTION, array());
    $standard = array(
        'mypages_url' => '',
        'shop_name' => '',
        'shopper_secret' => '',
        'menu_title' => __('My benefits', 'engage-crm'),
        'email_text' => '',
        'sms_text' => '',
    );
    $settings = array_merge($standard, is_array($stored) ? $stored : array());
    if (defined('ENGAGE_CRM_SHOPPER_SECRET')) {
        $settings['shopper_secret'] = (string) constant('ENGAGE_CRM_SHOPPER_SECRET');
    }

    return $settings;
}

/** Return whether the page in My account can be shown. */
function engage_crm_is_ready()
{
    $settings = engage_crm_settings();

    return $settings['mypages_url'] !== '' && $settings['shop_name'] !== '' && strlen($settings['shopper_secret']) >= 32;
}

function engage_crm_menu()
{
    add_submenu_page(
        'woocommerce',
        __('Engage CRM', 'engage-crm'),
        __('Engage CRM', 'engage-crm'),
        'manage_woocommerce',
        'engage-crm',
        'engage_crm_settings_page'
    );
}

function engage_crm_register_settings()
{
    register_setting(ENGAGE_CRM_OPTION, ENGAGE_CRM_OPTION, array('sanitize_callback' => 'engage_crm_sanitize'));
}

/** Return the capability that saves the settings; without this filter WordPress requires an administrator. */
function engage_crm_settings_capability()
{
    return 'manage_woocommerce';
}

/** Store valid values, report invalid ones, and retain the stored secret when none is given. */
function engage_crm_sanitize($given)
{
    $before = get_option(ENGAGE_CRM_OPTION, array());
    $before = is_array($before) ? $before : array();
    $given = is_array($given) ? $given : array();
    $kept = array();
    foreach (array('shop_name', 'menu_title', 'email_text', 'sms_text') as $name) {
        $kept[$name] = isset($given[$name]) ? sanitize_text_field($given[$name]) : '';
    }
    $url = isset($given['mypages_url']) ? esc_url_raw(trim($given['mypages_url']), array('https', 'http')) : '';
    if ($url !== '' && !engage_crm_is_safe_address($url)) {
        add_settings_error(ENGAGE_CRM_OPTION, 'mypages_url', __('The address of My Pages must begin with https://.', 'engage-crm'));
        $url = isset($before['mypages_url']) ? $before['mypages_url'] : '';
    }
    $kept['mypages_url'] = $url === '' ? '' : trailingslashit($url);
    if ($kept['shop_name'] === '' && preg_match('#/mypages/([a-z0-9-]+)/$#', $kept['mypages_url'], $found) === 1) {
        $kept['shop_name'] = $found[1];
    }
    $secret = isset($given['shopper_secret']) ? trim($given['shopper_secret']) : '';
    if ($secret !== '' && strlen($secret) < 32) {
        add_settings_error(ENGAGE_CRM_OPTION, 'shopper_secret', __('The shopper secret is too short to be one.', 'engage-crm'));
        $secret = '';
    }
    $former = isset($before['shopper_secret']) ? $before['shopper_secret'] : '';
    $kept['shopper_secret'] = $secret !== '' ? $secret : $former;

    return $kept;
}

/** Return whether an address may be used; plain http is allowed for a trial on one machine only. */
function engage_crm_is_safe_address($url)
{
    $scheme = wp_parse_url($url, PHP_URL_SCHEME);
    $host = wp_parse_url($url, PHP_URL_HOST);

    return $scheme === 'https' || ($scheme === 'http' && in_array($host, array('127.0.0.1', 'localhost', '[::1]'), true));
}

function engage_crm_settings_page()
{
    if (!current_user_can('manage_woocommerce')) {
        return;
    }
    $settings = engage_crm_settings();
    $fields = array(
        'mypages_url' => array(__('Address of My Pages', 'engage-crm'), 'url', __('The mypages_url that `engage-plugin shops show NAME` prints.', 'engage-crm')),
        'shop_name' => array(__('Shop NAME', 'engage-crm'), 'text', __('The shop\'s NAME in the plugin; read from the address when empty.', 'engage-crm')),
        'shopper_secret' => array(__('Shopper secret', 'engage-crm'), 'password', __('`engage-plugin shops show NAME --secrets` prints it. Leave empty to keep the stored one.', 'engage-crm')),
        'menu_title' => array(__('Title in My account', 'engage-crm'), 'text', ''),
        'email_text' => array(__('Consent to e-mail', 'engage-crm'), 'text', __('The sentence beside the checkbox. No checkbox while it is empty.', 'engage-crm')),
        'sms_text' => array(__('Consent to SMS', 'engage-crm'), 'text', __('The sentence beside the checkbox. No checkbox while it is empty.', 'engage-crm')),
    );
    echo '<div class="wrap"><h1>' . esc_html__('Engage CRM', 'engage-crm') . '</h1><form method="post" action="options.php">';
    settings_fields(ENGAGE_CRM_OPTION);
    settings_errors(ENGAGE_CRM_OPTION);
    echo '<table class="form-table" role="presentation">';
    foreach ($fields as $name => $field) {
        $id = 'engage-crm-' . $name;
        $value = $name === 'shopper_secret' ? '' : $settings[$name];
        printf(
            '<tr><th scope="row"><label for="%1$s">%2$s</label></th><td><input class="regular-text" id="%1$s" type="%3$s" name="%4$s" value="%5$s" autocomplete="off"><p class="description">%6$s</p></td></tr>',
            esc_attr($id),
            esc_html($field[0]),
            esc_attr($field[1]),
            esc_attr(ENGAGE_CRM_OPTION . '[' . $name . ']'),
            esc_attr($value),
            esc_html($field[2])
        );
    }
    echo '</table>';
    submit_button();
    echo '</form></div>';
}

add_action('admin_menu', 'engage_crm_menu', 60);
add_action('admin_init', 'engage_crm_register_settings');
add_filter('option_page_capability_' . ENGAGE_CRM_OPTION, 'engage_crm_settings_capability');
