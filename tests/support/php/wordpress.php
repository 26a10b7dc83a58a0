<?php
/** As much of WordPress and WooCommerce as the companion plugin calls, so that its code runs without them. */

error_reporting(E_ALL);
set_error_handler(function ($level, $text, $file, $line) {
    throw new ErrorException($text, 0, $level, $file, $line);
});

define('ABSPATH', __DIR__);
define('EP_ROOT', 64);
define('EP_PAGES', 4096);

$hooks = array();
$options = array();
$user_meta = array();
$user_id = 0;
$called = array();

function add_action($name, $callback, $priority = 10, $count = 1)
{
    global $hooks;
    $hooks[$name][] = array($callback, $count);
}
function add_filter($name, $callback, $priority = 10, $count = 1)
{
    add_action($name, $callback, $priority, $count);
}
function do_action($name, ...$given)
{
    global $hooks;
    foreach (isset($hooks[$name]) ? $hooks[$name] : array() as $hook) {
        call_user_func_array($hook[0], array_slice($given, 0, $hook[1]));
    }
}
function apply_filters($name, $value, ...$given)
{
    global $hooks;
    foreach (isset($hooks[$name]) ? $hooks[$name] : array() as $hook) {
        $value = call_user_func_array($hook[0], array_slice(array_merge(array($value), $given), 0, $hook[1]));
    }

    return $value;
}
function register_activation_hook($file, $callback) { add_action('activate', $callback); }
function register_deactivation_hook($file, $callback) { add_action('deactivate', $callback); }
function add_rewrite_endpoint($name, $places) { global $called; $called[] = "endpoint $name $places"; }
function flush_rewrite_rules() { global $called; $called[] = 'flush'; }
function nocache_headers() { global $called; $called[] = 'nocache'; }
function get_option($name, $standard = false) { global $options; return isset($options[$name]) ? $options[$name] : $standard; }
function get_user_meta($id, $key, $single) { global $user_meta; return isset($user_meta[$id][$key]) ? $user_meta[$id][$key] : ''; }
function get_current_user_id() { global $user_id; return $user_id; }
function get_user_locale($id) { return 'sv_SE'; }
function current_user_can($right) { return $right === 'manage_woocommerce'; }
function __($text, $domain) { return $text; }
function esc_html__($text, $domain) { return esc_html($text); }
function esc_html($text) { return htmlspecialchars((string) $text, ENT_QUOTES); }
function esc_attr($text) { return htmlspecialchars((string) $text, ENT_QUOTES); }
function esc_url($url) { return htmlspecialchars(esc_url_raw($url), ENT_QUOTES); }
function esc_url_raw($url, $schemes = array('http', 'https')) { return in_array(parse_url($url, PHP_URL_SCHEME), $schemes, true) ? $url : ''; }
function wp_parse_url($url, $part) { return parse_url($url, $part); }
function trailingslashit($url) { return rtrim($url, '/') . '/'; }
function sanitize_text_field($text) { return trim(preg_replace('/\s+/', ' ', strip_tags($text))); }
function wp_unslash($text) { return stripslashes($text); }
function wp_nonce_field($action, $name, $referer) { echo '<input type="hidden" name="' . $name . '" value="nonce of ' . $action . '">'; }
function wp_verify_nonce($nonce, $action) { return $nonce === "nonce of $action" ? 1 : false; }
function add_settings_error($group, $name, $text) { global $called; $called[] = $text; }
function settings_fields($group) { echo "<input type='hidden' name='option_page' value='$group'>"; }
function settings_errors($group) {}
function submit_button() { echo '<button>Save</button>'; }
function add_query_arg($name, $value, $url) { return $url . (strpos($url, '?') === false ? '?' : '&') . "$name=$value"; }
function wc_get_account_endpoint_url($name) { return "https://shop.example/my-account/$name/"; }
function wc_get_price_decimals() { return 2; }
function wc_format_decimal($number, $decimals) { return number_format((float) $number, $decimals, '.', ''); }
function is_wc_endpoint_url($name) { return $name === 'crm'; }

class Meta_Holder
{
    public $id;
    public $meta = array();
    public $saved = 0;

    public function __construct($id = 0) { $this->id = $id; }
    public function get_id() { return $this->id; }
    public function get_customer_id() { return $this->id; }
    public function update_meta_data($key, $value) { $this->meta[$key] = $value; }
    public function add_meta_data($key, $value) { $this->meta[$key] = $value; }
    public function delete_meta_data($key) { unset($this->meta[$key]); }
    public function get_meta($key) { return isset($this->meta[$key]) ? $this->meta[$key] : ''; }
    public function save() { $this->saved++; }
}

class WC_Order extends Meta_Holder {}

class WC_Customer extends Meta_Holder
{
    public function save()
    {
        global $user_meta;
        $user_meta[$this->id] = array_merge(isset($user_meta[$this->id]) ? $user_meta[$this->id] : array(), $this->meta);
    }
}

require dirname(__DIR__, 3) . '/plugin/platforms/woocommerce/companion/engage-crm/engage-crm.php';
