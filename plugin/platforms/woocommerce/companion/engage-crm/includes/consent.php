<?php
/**
 * Consents: what the shopper ticked, when and where, as meta data of the customer and of the order. WooCommerce's webhooks
 * carry it.
 *
 * A tick is a yes. A box that is not ticked at checkout or registration is no answer, because it was empty from the start;
 * in the account the box shows the current answer, and removing the tick there is a no.
 *
 * A payment may fail and the same order be tried again. Without a tick in the second attempt, the order loses the yes of the first.
 * A customer's yes is sent at once, paid or not; so removing the tick before the payment is a no.
 */

if (!defined('ABSPATH')) {
    exit;
}

const ENGAGE_CRM_CHANNELS = array('email', 'sms');
const ENGAGE_CRM_META_ENDINGS = array('', '_at', '_source');
const ENGAGE_CRM_SHOWN_ENDING = '_shown';
const ENGAGE_CRM_NONCE = 'engage_crm_consent_nonce';
const ENGAGE_CRM_NONCE_ACTION = 'engage_crm_consent';

function engage_crm_consent_key($channel)
{
    return 'engage_consent_' . $channel;
}

/**
 * Return the meta data to store for an answer; empty when there is none or when it has not changed.
 *
 * @param string $before  yes, no, or empty when the shopper was never asked.
 * @param bool   $ticked  Whether the box is ticked now.
 * @param bool   $shown   Whether the box showed the stored answer, so that a missing tick is an answer too.
 * @param int    $now     Seconds since 1970.
 * @param string $source  Where it was given: checkout, registration or account.
 *
 * @return array<string, string> Endings of the meta key, and values.
 */
function engage_crm_answer($before, $ticked, $shown, $now, $source)
{
    if ($ticked) {
        $answer = 'yes';
    } elseif ($shown && $before === 'yes') {
        $answer = 'no';
    } else {
        return array();
    }
    if ($answer === $before) {
        return array();
    }

    return array('' => $answer, '_at' => gmdate('Y-m-d\TH:i:s\Z', $now), '_source' => $source);
}

/** Write an answer to an order or customer, anything with WooCommerce meta data. The caller saves it. */
function engage_crm_keep($holder, $channel, $answer)
{
    foreach ($answer as $ending => $value) {
        $holder->update_meta_data(engage_crm_consent_key($channel) . $ending, $value);
    }
}

/** Remove an answer from an order. The caller saves it. */
function engage_crm_take_off($order, $channel)
{
    foreach (ENGAGE_CRM_META_ENDINGS as $ending) {
        $order->delete_meta_data(engage_crm_consent_key($channel) . $ending);
    }
}

function engage_crm_text_of($channel)
{
    $settings = engage_crm_settings();

    return $settings[$channel . '_text'];
}

/** Return how a logged-in customer answered before: yes, no or empty. */
function engage_crm_known_answer($user_id, $channel)
{
    return $user_id > 0 ? (string) get_user_meta($user_id, engage_crm_consent_key($channel), true) : '';
}

/** Return whether the box of a channel is ticked in the submitted form. Callers check the form's nonce. */
function engage_crm_ticked($channel)
{
    return !empty($_POST[engage_crm_consent_key($channel)]); // phpcs:ignore WordPress.Security.NonceVerification.Missing
}

/**
 * Return whether a customer's yes was given at a checkout and this checkout still shows the box.
 *
 * A customer who has said yes is shown no box, so the yes comes from this page: from an attempt that was not paid.
 */
function engage_crm_said_on_this_page($user_id, $channel)
{
    $key = engage_crm_consent_key($channel);
    $shown = !empty($_POST[$key . ENGAGE_CRM_SHOWN_ENDING]); // phpcs:ignore WordPress.Security.NonceVerification.Missing -- see engage_crm_ticked

    return $shown && $user_id > 0 && get_user_meta($user_id, $key . '_source', true) === 'checkout';
}

/** Print the boxes. With $state they show the stored answers; without it, only boxes not yet answered yes are printed. */
function engage_crm_boxes($state)
{
    $user_id = get_current_user_id();
    $any = false;
    foreach (ENGAGE_CRM_CHANNELS as $channel) {
        $before = engage_crm_known_answer($user_id, $channel);
        if (engage_crm_text_of($channel) === '' || (!$state && $before === 'yes')) {
            continue;
        }
        $any = true;
        printf(
            '<p class="form-row"><label class="woocommerce-form__label woocommerce-form__label-for-checkbox checkbox"><input type="checkbox" class="woocommerce-form__input woocommerce-form__input-checkbox input-checkbox" name="%1$s" value="1"%2$s> <span>%3$s</span></label></p>',
            esc_attr(engage_crm_consent_key($channel)),
            $state && $before === 'yes' ? ' checked' : '',
            esc_html(engage_crm_text_of($channel))
        );
        // a browser sends nothing for a box that is not ticked, as if it had not been shown
        printf('<input type="hidden" name="%s" value="1">', esc_attr(engage_crm_consent_key($channel) . ENGAGE_CRM_SHOWN_ENDING));
    }
    if ($any) {
        wp_nonce_field(ENGAGE_CRM_NONCE_ACTION, ENGAGE_CRM_NONCE, false);
    }
}

function engage_crm_boxes_without_state()
{
    engage_crm_boxes(false);
}

function engage_crm_boxes_with_state()
{
    engage_crm_boxes(true);
}

/** Return whether the submitted form is one that we printed for this visitor. */
function engage_crm_form_is_ours()
{
    $nonce = isset($_POST[ENGAGE_CRM_NONCE]) ? sanitize_text_field(wp_unslash($_POST[ENGAGE_CRM_NONCE])) : '';

    return $nonce !== '' && wp_verify_nonce($nonce, ENGAGE_CRM_NONCE_ACTION) !== false;
}

/** Return the answers of the submitted form. $state: whether its boxes showed the stored answers. */
function engage_crm_answers($user_id, $state, $source)
{
    $answers = array();
    foreach (ENGAGE_CRM_CHANNELS as $channel) {
        if (engage_crm_text_of($channel) === '') {
            continue;
        }
        $shown = $state || ($source === 'checkout' && engage_crm_said_on_this_page($user_id, $channel));
        $before = engage_crm_known_answer($user_id, $channel);
        $answer = engage_crm_answer($before, engage_crm_ticked($channel), $shown, time(), $source);
        if ($answer !== array()) {
            $answers[$channel] = $answer;
        }
    }

    return $answers;
}

/** Write the answers of a form to a customer; WooCommerce then sends the change to its webhooks. */
function engage_crm_save_to_customer($user_id, $state, $source)
{
    if ($user_id < 1) {
        return;
    }
    $answers = engage_crm_answers($user_id, $state, $source);
    if ($answers === array()) {
        return;
    }
    $customer = new WC_Customer($user_id);
    foreach ($answers as $channel => $answer) {
        engage_crm_keep($customer, $channel, $answer);
    }
    $customer->save();
}

/** Registration: a nonce of ours was made for a visitor without an account and no longer matches; WooCommerce's own protects it. */
function engage_crm_registered($user_id)
{
    if (isset($_POST['woocommerce-register-nonce'])) { // phpcs:ignore WordPress.Security.NonceVerification.Missing -- checked by WooCommerce
        engage_crm_save_to_customer($user_id, false, 'registration');
    }
}

function engage_crm_account_saved($user_id)
{
    if (engage_crm_form_is_ours()) {
        engage_crm_save_to_customer($user_id, true, 'account');
    }
}

/**
 * Checkout: WooCommerce has checked its own nonce before it makes an order, or reuses the one whose payment failed
 * (WC_Checkout::create_order).
 */
function engage_crm_checkout_order($order)
{
    foreach (ENGAGE_CRM_CHANNELS as $channel) {
        if (engage_crm_text_of($channel) !== '' && !engage_crm_ticked($channel)) {
            engage_crm_take_off($order, $channel);
        }
    }
    foreach (engage_crm_answers($order->get_customer_id(), false, 'checkout') as $channel => $answer) {
        engage_crm_keep($order, $channel, $answer);
    }
}

function engage_crm_checkout_customer($customer)
{
    foreach (engage_crm_answers($customer->get_id(), false, 'checkout') as $channel => $answer) {
        engage_crm_keep($customer, $channel, $answer);
    }
}

/** The block checkout has fields of its own (WooCommerce 8.9 and newer). */
function engage_crm_register_block_fields()
{
    if (!function_exists('woocommerce_register_additional_checkout_field')) {
        return;
    }
    foreach (ENGAGE_CRM_CHANNELS as $channel) {
        if (engage_crm_text_of($channel) !== '') {
            woocommerce_register_additional_checkout_field(
                array(
                    'id' => 'engage-crm/consent-' . $channel,
                    'label' => engage_crm_text_of($channel),
                    'location' => 'order',
                    'type' => 'checkbox',
                    'required' => false,
                )
            );
        }
    }
}

/**
 * The block checkout sets its fields each time that the draft of an order changes, with a tick and without.
 *
 * On the order alone: a customer of the session ticks a box before there is an order, and the answer stored with the account stays.
 */
function engage_crm_block_field_set($key, $value, $group, $holder)
{
    foreach (ENGAGE_CRM_CHANNELS as $channel) {
        if ($key !== 'engage-crm/consent-' . $channel || !$holder instanceof WC_Order) {
            continue;
        }
        if ($value) {
            engage_crm_keep($holder, $channel, engage_crm_answer('', true, false, time(), 'checkout'));
        } else {
            engage_crm_take_off($holder, $channel);
        }
    }
}

add_action('woocommerce_register_form', 'engage_crm_boxes_without_state');
add_action('woocommerce_created_customer', 'engage_crm_registered', 20);
add_action('woocommerce_edit_account_form', 'engage_crm_boxes_with_state');
add_action('woocommerce_save_account_details', 'engage_crm_account_saved', 20);
add_action('woocommerce_checkout_before_terms_and_conditions', 'engage_crm_boxes_without_state');
add_action('woocommerce_checkout_create_order', 'engage_crm_checkout_order', 20);
add_action('woocommerce_checkout_update_customer', 'engage_crm_checkout_customer', 20);
add_action('woocommerce_init', 'engage_crm_register_block_fields');
add_action('woocommerce_set_additional_field_value', 'engage_crm_block_field_set', 10, 4);
