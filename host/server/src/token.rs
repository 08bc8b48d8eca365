//! The check of a client's token: a JSON Web Token (RFC 7519), signed by an issuer that the
//! operator trusts.
//!
//! The algorithm follows from the operator's key: HS256 for a secret, RS256 for an RSA key, ES256
//! for a key on the curve P-256. A token's header must agree with it and decides nothing, so that
//! neither `none` nor a public key taken for a secret is ever accepted.

mod channels;
mod keys;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use serde_json::{Map, Value};
use tokio::time::Instant;

use wharf_config::TokenConfig;
use wharf_hub::token::Token;
use wharf_runtime::ports::{TokenVerifier, Unacceptable};

pub use channels::ChannelTokenRules;
pub use keys::KeyError;
use keys::Keys;

/// Longest token, in bytes; longer ones are not looked at.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Longest life of a token. Tokens that live longer are taken to live so long: clocks cannot count
/// forever.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The rules for the tokens of a channel's clients, ready to be compared with a token.
#[derive(Debug)]
pub struct TokenRules {
    config: Arc<TokenConfig>,
    keys: Keys,
}

impl TokenRules {
    /// Reads the keys.
    ///
    /// # Errors
    ///
    /// A key's file cannot be used.
    pub fn new(config: Arc<TokenConfig>) -> Result<TokenRules, KeyError> {
        Ok(TokenRules { keys: Keys::read(&config)?, config })
    }
}

impl TokenVerifier for TokenRules {
    fn is_required(&self) -> bool {
        self.config.required
    }

    fn query_parameter(&self) -> Option<&str> {
        self.config.query_parameter.as_deref()
    }

    fn check(&self, token: &str) -> Result<Token, Unacceptable> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Unacceptable::Invalid("it is too long"));
        }
        let not_a_token = |_| Unacceptable::Invalid("it is not a JSON Web Token");
        let header = jsonwebtoken::decode_header(token).map_err(not_a_token)?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: extensions that must be understood, and are not.
            return Err(Unacceptable::Invalid("its header asks for an extension (crit)"));
        }
        let key = self.keys.find(header.kid.as_deref())?;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &key.validation);
        let claims = decoded.map_err(|error| why(error.kind()))?.claims;
        let expires = claims.get("exp").and_then(seconds).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = (expires + self.config.leeway).saturating_sub(now).min(LONGEST);
        if left.is_zero() {
            return Err(Unacceptable::Expired);
        }
        let subject = claims.get("sub").and_then(Value::as_str).map(Box::from);
        let claims = Value::Object(claims).to_string().into();
        Ok(Token { claims, subject, expires: Instant::now() + left })
    }
}

/// Returns a date in the form of RFC 7519: seconds since 1970, perhaps with a fraction.
fn seconds(date: &Value) -> Option<Duration> {
    match date.as_u64() {
        Some(seconds) => Some(Duration::from_secs(seconds.min(u64::MAX / 4))),
        None => Duration::try_from_secs_f64(date.as_f64()?).ok(),
    }
}

fn why(kind: &ErrorKind) -> Unacceptable {
    Unacceptable::Invalid(match kind {
        ErrorKind::ExpiredSignature => return Unacceptable::Expired,
        ErrorKind::ImmatureSignature => "it is not valid yet (nbf)",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "its algorithm is not that of the key"
        }
        ErrorKind::InvalidIssuer => "its issuer (iss) is not one of `issuer`",
        ErrorKind::InvalidAudience => "its audience (aud) is not one of `audience`",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "exp" => "it has no expiry (exp)",
            "iss" => "it has no issuer (iss)",
            "aud" => "it has no audience (aud)",
            _ => "a claim is missing",
        },
        ErrorKind::InvalidClaimFormat(_) => "a claim has the wrong type",
        _ => "it is not a JSON Web Token",
    })
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests;
