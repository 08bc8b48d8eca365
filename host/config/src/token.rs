//! The rules for a client's token: the tables `[token]` and `[channels.NAME.token]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Secret;

/// The tokens that a channel's clients must bring. The algorithm follows from the key, never from
/// the token itself.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenConfig {
    /// Key that tokens are checked with, of which there is one: `secret`, `public_key` or `jwks`.
    pub key: TokenKey,
    /// The issuers (`iss`) that are accepted; empty for any. Key `issuer`.
    pub issuers: Vec<String>,
    /// The audiences (`aud`) of which a token must name one; empty for tokens that have none. Key
    /// `audience`.
    pub audiences: Vec<String>,
    /// Largest difference between the clocks of issuer and host. Key `leeway_seconds`.
    pub leeway: Duration,
    /// Query parameter in which a token may be, besides the header `Authorization`. Key
    /// `query_parameter`, which is empty text for none.
    pub query_parameter: Option<String>,
    /// True if a client without a token is refused. A client with a bad token always is. Key
    /// `required`.
    pub required: bool,
}

/// The key that tokens are checked with.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenKey {
    /// HS256, with a secret that the issuer has too.
    Secret(Secret),
    /// RS256 or ES256, as the key requires: the path of a PEM file.
    PublicKey(PathBuf),
    /// RS256 or ES256 with several keys by their names: the path of a JSON Web Key Set (RFC 7517).
    Jwks(PathBuf),
}

/// The token rules in one channel's table.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ChannelToken {
    /// No rules: the table `[token]` holds, if there is one.
    #[default]
    Inherited,
    /// `token = false`: tokens are ignored.
    Off,
    /// Its own rules, in place of `[token]`.
    Own(Arc<TokenConfig>),
}

/// The query parameter in which a token is looked for, unless another is given.
const QUERY_PARAMETER: &str = "token";

/// Largest leeway, in seconds.
pub(super) const MAX_LEEWAY_SECONDS: u64 = 600;

/// The values given for one table so far.
#[derive(Clone, Default)]
pub(super) struct TokenParts {
    pub secret: Option<Secret>,
    pub public_key: Option<PathBuf>,
    pub jwks: Option<PathBuf>,
    pub issuers: Vec<String>,
    pub audiences: Vec<String>,
    pub leeway_seconds: u64,
    pub query_parameter: Option<String>,
    pub required: Option<bool>,
}

impl TokenParts {
    /// Returns the complete rules, or the mistake in them.
    pub(super) fn finish(self) -> Result<TokenConfig, String> {
        let key = match (self.secret, self.public_key, self.jwks) {
            (Some(secret), None, None) => TokenKey::Secret(secret),
            (None, Some(path), None) => TokenKey::PublicKey(path),
            (None, None, Some(path)) => TokenKey::Jwks(path),
            _ => return Err("give one of `secret`, `public_key` and `jwks`".to_owned()),
        };
        let parameter = self.query_parameter.unwrap_or_else(|| QUERY_PARAMETER.to_owned());
        Ok(TokenConfig {
            key,
            issuers: self.issuers,
            audiences: self.audiences,
            leeway: Duration::from_secs(self.leeway_seconds),
            query_parameter: Some(parameter).filter(|parameter| !parameter.is_empty()),
            required: self.required.unwrap_or(true),
        })
    }
}

impl TokenConfig {
    /// Returns the lines of its table.
    pub(super) fn lines(&self) -> Vec<(String, toml::Value)> {
        let text = |text: &str| toml::Value::String(text.to_owned());
        let list = |items: &[String]| toml::Value::Array(items.iter().map(|i| text(i)).collect());
        let key = match &self.key {
            TokenKey::Secret(secret) => ("secret", secret.as_toml()),
            TokenKey::PublicKey(path) => ("public_key", text(&path.to_string_lossy())),
            TokenKey::Jwks(path) => ("jwks", text(&path.to_string_lossy())),
        };
        let leeway = i64::try_from(self.leeway.as_secs()).unwrap_or(i64::MAX);
        let lines = [
            key,
            ("issuer", list(&self.issuers)),
            ("audience", list(&self.audiences)),
            ("leeway_seconds", toml::Value::Integer(leeway)),
            ("query_parameter", text(self.query_parameter.as_deref().unwrap_or_default())),
            ("required", toml::Value::Boolean(self.required)),
        ];
        lines.map(|(key, value)| (key.to_owned(), value)).into()
    }
}
