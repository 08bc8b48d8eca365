//! The check of a client's token: a JSON Web Token (RFC 7519), signed by an issuer that the
//! operator trusts.
//!
//! The algorithm follows from the operator's key: HS256 for a secret, RS256 for an RSA key, ES256
//! for a key on the curve P-256, EdDSA for an Ed25519 key. A token's header must agree with it and
//! decides nothing, so that neither `none` nor a public key taken for a secret is ever accepted.
//!
//! - `key`: one key. `key_set`: the keys from one place.
//! - `source`: a place of keys, which is read apart from the checks. `fetch`: a set by its address.
//! - `channels`: the rules of all channels.

mod channels;
mod fetch;
mod key;
mod key_set;
mod source;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::time::Instant;

use wharf_config::{TokenConfig, TokenKeys};
use wharf_contract::token::Identity;
use wharf_hub::token::Token;
use wharf_runtime::ports::{Checking, TokenVerifier, Unacceptable};

pub use channels::ChannelTokenRules;
use key::Key;
use key_set::Found;
use source::KeySource;

/// Longest token, in bytes; longer ones are not looked at.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Longest life of a token. Tokens that live longer are taken to live so long: clocks cannot count
/// forever.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Time for which a client waits for keys that are on their way.
const KEYS_PATIENCE: Duration = Duration::from_secs(3);

/// The algorithms that keys may have.
const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// The rules for the tokens of a channel's clients, ready to be compared with a token.
#[derive(Debug)]
pub struct TokenRules {
    config: Arc<TokenConfig>,
    sets: Vec<IssuerKeys>,
}

/// The keys from one place, and the tokens that they are for.
#[derive(Debug)]
struct IssuerKeys {
    source: Arc<KeySource>,
    issuers: Vec<String>,
    /// The rules for the tokens of each algorithm.
    validations: Vec<Validation>,
}

/// The step at which a token fails. Of several sets of keys, the one that comes furthest has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Issuer,
    Name,
    Algorithm,
    Signature,
    /// There are no keys, one of which might have signed it.
    Keys,
    Claims,
    Expiry,
}

/// The reason why a token is not accepted.
#[derive(Debug)]
struct Failure {
    step: Step,
    why: Unacceptable,
    /// True if another answer is possible once keys are read again.
    lacks_keys: bool,
}

impl Failure {
    fn new(step: Step, why: Unacceptable) -> Failure {
        let lacks_keys = matches!(why, Unacceptable::UnknownKey | Unacceptable::NoKeys);
        Failure { step, why, lacks_keys }
    }

    fn invalid(step: Step, why: &'static str) -> Failure {
        Failure::new(step, Unacceptable::Invalid(why))
    }

    /// Returns the one of two failures that comes further.
    fn or(self, other: Failure) -> Failure {
        let lacks_keys = self.lacks_keys || other.lacks_keys;
        let further = if other.step >= self.step { other } else { self };
        Failure { lacks_keys, ..further }
    }
}

/// The claim that chooses among several sets of keys, before the signature is checked.
#[derive(Deserialize)]
struct ClaimedIssuer {
    iss: Option<Value>,
}

impl TokenRules {
    /// Makes the rules of a table. Its places of keys are put among `sources`, unless they are there.
    fn new(config: Arc<TokenConfig>, table: &str, sources: &mut Vec<Arc<KeySource>>) -> TokenRules {
        let mut sets = Vec::new();
        for keys in &config.keys {
            let source = Arc::new(KeySource::new(&keys.key, &config));
            let known = sources.iter().find(|known| known.is_same(&source)).cloned();
            let source = known.unwrap_or_else(|| {
                sources.push(source.clone());
                source
            });
            source.add_table(&match &keys.name {
                Some(name) => format!("{table}.keys.{name}"),
                None => table.to_owned(),
            });
            let validations = ALGORITHMS.map(|algorithm| validation(&config, keys, algorithm));
            let (issuers, validations) = (keys.issuers.clone(), validations.into());
            sets.push(IssuerKeys { source, issuers, validations });
        }
        TokenRules { config, sets }
    }

    fn decide(&self, token: &str) -> Result<Token, Failure> {
        let not_a_token = || Failure::invalid(Step::Expiry, "it is not a JSON Web Token");
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Failure::invalid(Step::Expiry, "it is too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| not_a_token())?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: extensions that must be understood, and are not.
            let why = "its header asks for an extension (crit)";
            return Err(Failure::invalid(Step::Expiry, why));
        }
        let issuer = match self.sets.len() {
            1 => None,
            _ => claimed_issuer(token),
        };
        let mut failure = Failure::invalid(Step::Issuer, "its issuer (iss) is not one of `issuer`");
        for set in self.sets.iter().filter(|set| set.may_be_of(issuer.as_deref())) {
            match set.check(token, &header).and_then(|signed| self.accept(&signed)) {
                Ok(token) => return Ok(token),
                Err(other) => failure = failure.or(other),
            }
        }
        Err(failure)
    }

    /// Returns the token with these claims, whose signature, issuer, audience and dates are right.
    fn accept(&self, signed: &RawValue) -> Result<Token, Failure> {
        let claims: Map<String, Value> = serde_json::from_str(signed.get())
            .map_err(|_| Failure::invalid(Step::Claims, "it is not a JSON Web Token"))?;
        let expires = claims.get("exp").and_then(seconds).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = (expires + self.config.leeway).saturating_sub(now).min(LONGEST);
        if left.is_zero() {
            return Err(Failure::new(Step::Expiry, Unacceptable::Expired));
        }
        let identity = Identity::of(signed.get());
        let claims = Value::Object(claims).to_string().into();
        Ok(Token { claims, identity, expires: Instant::now() + left })
    }
}

impl TokenVerifier for TokenRules {
    fn is_required(&self) -> bool {
        self.config.required
    }

    fn query_parameter(&self) -> Option<&str> {
        self.config.query_parameter.as_deref()
    }

    fn subprotocol(&self) -> Option<&str> {
        self.config.subprotocol.as_deref()
    }

    fn check(&self, token: &str) -> Result<Token, Unacceptable> {
        self.decide(token).map_err(|failure| failure.why)
    }

    fn check_patiently<'a>(&'a self, token: &'a str) -> Checking<'a> {
        Box::pin(async move {
            let failure = match self.decide(token) {
                Ok(token) => return Ok(token),
                Err(failure) => failure,
            };
            if !failure.lacks_keys || failure.step > Step::Keys {
                return Err(failure.why);
            }
            let news: Vec<_> = self.sets.iter().filter_map(|set| set.source.news()).collect();
            if news.is_empty() {
                return Err(failure.why);
            }
            // They may have come between the check and the subscription. If not, this check asks for
            // the key once more.
            if let Ok(token) = self.decide(token) {
                return Ok(token);
            }
            let come = join_all(news.into_iter().map(async |mut rounds| rounds.changed().await));
            let _ = tokio::time::timeout(KEYS_PATIENCE, come).await;
            self.check(token)
        })
    }
}

impl IssuerKeys {
    /// Returns true unless the token says that it is of another issuer.
    fn may_be_of(&self, issuer: Option<&str>) -> bool {
        let Some(issuer) = issuer else {
            return true;
        };
        self.issuers.is_empty() || self.issuers.iter().any(|known| known == issuer)
    }

    /// Returns the claims of a token that one of these keys has signed, and that the rules allow.
    fn check(&self, token: &str, header: &Header) -> Result<Box<RawValue>, Failure> {
        let state = self.source.state();
        let Some(keys) = &state.keys else {
            return Err(Failure::new(Step::Keys, Unacceptable::NoKeys));
        };
        let keys = match keys.find(header.kid.as_deref()) {
            Found::Keys(keys) => keys,
            Found::Unknown => {
                self.source.ask_again();
                return Err(Failure::new(Step::Name, Unacceptable::UnknownKey));
            }
            Found::Unsupported => {
                let why = "its key (kid) is of a kind that is not supported";
                return Err(Failure::invalid(Step::Name, why));
            }
            Found::Unnamed => {
                let why = "it does not say which key it is for (kid)";
                return Err(Failure::invalid(Step::Name, why));
            }
        };
        let mut failure = Failure::invalid(Step::Algorithm, "its algorithm is not that of the key");
        for Key { decoding, algorithm } in keys {
            if *algorithm != header.alg {
                continue;
            }
            let is_its = |validation: &&Validation| validation.algorithms.contains(algorithm);
            let Some(validation) = self.validations.iter().find(is_its) else {
                continue;
            };
            match jsonwebtoken::decode::<Box<RawValue>>(token, decoding, validation) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => failure = why(error.kind()),
            }
        }
        Err(failure)
    }
}

/// Returns the issuer that a token claims to be of, unproven, if that is text.
fn claimed_issuer(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let ClaimedIssuer { iss } = serde_json::from_slice(&claims).ok()?;
    Some(iss?.as_str()?.to_owned())
}

/// Returns the rules that a token is checked against. The expiry is always checked.
fn validation(config: &TokenConfig, keys: &TokenKeys, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = config.leeway.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    if !keys.issuers.is_empty() {
        validation.set_issuer(&keys.issuers);
        required.push("iss");
    }
    if !keys.audiences.is_empty() {
        validation.set_audience(&keys.audiences);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// Returns a date in the form of RFC 7519: seconds since 1970, perhaps with a fraction.
fn seconds(date: &Value) -> Option<Duration> {
    match date.as_u64() {
        Some(seconds) => Some(Duration::from_secs(seconds.min(u64::MAX / 4))),
        None => Duration::try_from_secs_f64(date.as_f64()?).ok(),
    }
}

fn why(kind: &ErrorKind) -> Failure {
    let (step, why) = match kind {
        ErrorKind::ExpiredSignature => {
            return Failure::new(Step::Expiry, Unacceptable::Expired);
        }
        ErrorKind::InvalidSignature => (Step::Signature, "its signature is wrong"),
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            (Step::Algorithm, "its algorithm is not that of the key")
        }
        ErrorKind::ImmatureSignature => (Step::Claims, "it is not valid yet (nbf)"),
        ErrorKind::InvalidIssuer => (Step::Claims, "its issuer (iss) is not one of `issuer`"),
        ErrorKind::InvalidAudience => (Step::Claims, "its audience (aud) is not one of `audience`"),
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "exp" => (Step::Claims, "it has no expiry (exp)"),
            "iss" => (Step::Claims, "it has no issuer (iss)"),
            "aud" => (Step::Claims, "it has no audience (aud)"),
            _ => (Step::Claims, "a claim is missing"),
        },
        ErrorKind::InvalidClaimFormat(_) => (Step::Claims, "a claim has the wrong type"),
        _ => (Step::Signature, "it is not a JSON Web Token"),
    };
    Failure::invalid(step, why)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests;
