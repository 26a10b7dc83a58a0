<?php
/**
 * The token that identifies the shopper: a JWT, signed with HS256 and the shop's shopper secret. No WordPress in here.
 */

if (!defined('ABSPATH')) {
    exit;
}

/** Seconds for which a token can start a session. The plugin accepts at most 120, and each token once. */
const ENGAGE_CRM_TOKEN_LIFE = 90;

/**
 * Make a token.
 *
 * @param string      $secret      The shopper secret, as `engage-plugin shops show NAME --secrets` prints it.
 * @param string      $shop        The shop's NAME in the plugin.
 * @param string|int  $customer_id The user's id in WordPress, the same that webhooks name.
 * @param int         $now         Seconds since 1970.
 * @param string|null $locale      A WordPress locale such as sv_SE, or null.
 *
 * @return string
 */
function engage_crm_token($secret, $shop, $customer_id, $now, $locale = null)
{
    $claims = array(
        'iss' => (string) $shop,
        'aud' => 'engage-plugin',
        'sub' => (string) $customer_id,
        'iat' => (int) $now,
        'exp' => (int) $now + ENGAGE_CRM_TOKEN_LIFE,
        'jti' => bin2hex(random_bytes(16)),
    );
    $language = $locale === null ? '' : engage_crm_language($locale);
    if ($language !== '') {
        $claims['locale'] = $language;
    }
    $signed = engage_crm_base64url(json_encode(array('alg' => 'HS256', 'typ' => 'JWT')))
        . '.' . engage_crm_base64url(json_encode($claims, JSON_UNESCAPED_SLASHES));

    return $signed . '.' . engage_crm_base64url(hash_hmac('sha256', $signed, (string) $secret, true));
}

/** Turn WordPress's sv_SE or de_DE_formal into sv-SE or de-DE; empty when it is neither. */
function engage_crm_language($locale)
{
    if (preg_match('/^([a-z]{2,3})(?:_([A-Z]{2}))?(?:_.*)?$/', (string) $locale, $found) !== 1) {
        return '';
    }

    return empty($found[2]) ? $found[1] : $found[1] . '-' . $found[2];
}

/** Encode as base64url without padding, as JWT requires (RFC 7515). */
function engage_crm_base64url($bytes)
{
    return rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
}
