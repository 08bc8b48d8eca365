//! JSON Web Tokens (RFC 7519) with the algorithm HS256, and no other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wharf::serde_json;

use crate::Claims;

#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    /// Extensions that a reader must understand (RFC 7515, 4.1.11): there are none here.
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

/// Shortest secret, in bytes: the size of the hash (RFC 7518, 3.2).
const SHORTEST_SECRET: usize = 32;

/// Checks that a secret is long enough to sign with.
pub fn check_secret(secret: &str) -> wharf::Result {
    if secret.len() < SHORTEST_SECRET {
        wharf::bail!("the secret jwt_secret needs {SHORTEST_SECRET} bytes");
    }
    Ok(())
}

/// Returns the claims of a token that is signed with this secret and valid now.
pub fn check(token: &str, secret: &str) -> Result<Claims, &'static str> {
    let (signed, signature) = token.rsplit_once('.').ok_or("Malformed token")?;
    let (header, claims) = signed.split_once('.').ok_or("Malformed token")?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "Malformed token");
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| "Malformed token")?;
    // The algorithm that the token names is compared and never followed: `none` is not HS256.
    if header.alg != "HS256" {
        return Err("Unsupported algorithm");
    }
    if header.crit.is_some() {
        return Err("Unsupported extension");
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| "Bad secret")?;
    mac.update(signed.as_bytes());
    // Compares in constant time.
    mac.verify_slice(&decode(signature)?).map_err(|_| "Invalid token")?;
    let claims: Claims =
        serde_json::from_slice(&decode(claims)?).map_err(|_| "Claims are missing")?;
    if claims.not_before.is_some_and(|date| time_until(date) > Duration::ZERO) {
        return Err("Token not valid yet");
    }
    match time_until(claims.expires) {
        Duration::ZERO => Err("Token expired"),
        _ => Ok(claims),
    }
}

/// Returns the time until a date in seconds since 1970; zero if it is over.
pub fn time_until(date: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(date).saturating_sub(now)
}
