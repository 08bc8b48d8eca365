//! The valid tokens of a test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;
use wharf_contract::token::Identity;
use wharf_hub::token::Token;
use wharf_runtime::ports::{Clock, TokenVerifier, TokenVerifiers, Unacceptable};

use super::clock::MovedClock;

/// Time to live of tokens without an expiry, which is longer than any test.
const LONG: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The rules for tokens, from the first one on. Before that, tokens are not checked.
#[derive(Debug)]
pub(in crate::test_host) struct ScriptedTokens(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    clock: Arc<MovedClock>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// True if a client came with claims.
    has_claims: bool,
    /// Valid tokens, with their claims.
    tokens: BTreeMap<String, String>,
}

impl ScriptedTokens {
    pub(super) fn new(clock: Arc<MovedClock>) -> ScriptedTokens {
        ScriptedTokens(Arc::new(Rules { clock, known: Mutex::default() }))
    }

    /// Makes this token valid.
    pub(in crate::test_host) fn accept(&self, token: String, claims: String) {
        self.0.known.lock().tokens.insert(token, claims);
    }

    /// Returns the token of a client that comes with these claims. Must be called where the
    /// runtime's clock is known.
    pub(in crate::test_host) fn of_client(&self, claims: &str) -> Token {
        self.0.known.lock().has_claims = true;
        self.0.token(claims)
    }
}

impl TokenVerifiers for ScriptedTokens {
    fn of_channel(&self, _: &str) -> Option<Arc<dyn TokenVerifier>> {
        let known = self.0.known.lock();
        let has_rules = known.has_claims || !known.tokens.is_empty();
        has_rules.then(|| self.0.clone() as Arc<dyn TokenVerifier>)
    }
}

impl TokenVerifier for Rules {
    fn is_required(&self) -> bool {
        false
    }

    fn query_parameter(&self) -> Option<&str> {
        None
    }

    fn check(&self, token: &str) -> Result<Token, Unacceptable> {
        let known = self.known.lock();
        let claims = known.tokens.get(token);
        claims
            .map(|claims| self.token(claims))
            .ok_or(Unacceptable::Invalid("the test has not said so (TestHost::accept_token)"))
    }
}

impl Rules {
    fn token(&self, claims: &str) -> Token {
        let known: Value = serde_json::from_str(claims).unwrap_or_default();
        let expiry = known.get("exp").and_then(Value::as_f64);
        let expiry = expiry.and_then(|at| Duration::try_from_secs_f64(at).ok());
        let left = expiry.map_or(LONG, |at| at.saturating_sub(self.clock.wall()).min(LONG));
        Token {
            claims: claims.into(),
            identity: Identity::of(claims),
            expires: Instant::now() + left,
        }
    }
}
