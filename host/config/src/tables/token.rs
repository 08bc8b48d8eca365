//! The tables of token rules: `[token]`, `[channels.NAME.token]`, and `keys.NAME` below them.

use std::path::Path;
use std::sync::Arc;

use super::{GivenValue, SecretValue, Tables};
use crate::ConfigError;
use crate::material::Material;
use crate::origin::Origin;
use crate::sources::Sources;
use crate::token::{
    ChannelToken, GivenSecret, KeyParts, MAX_LEEWAY_SECONDS, REFRESH_RANGE, SecretEncoding,
    TokenKey, TokenMistake, TokenParts,
};

/// The keys of a set of keys, wherever it is.
const SET_KEYS: &[&str] =
    &["secret", "secret_encoding", "public_key", "jwks", "issuer", "audience"];
/// The keys of a table of rules.
const TOKEN_KEYS: &[&str] = &[
    "secret",
    "secret_encoding",
    "public_key",
    "jwks",
    "issuer",
    "audience",
    "keys",
    "leeway_seconds",
    "query_parameter",
    "subprotocol",
    "required",
    "jwks_refresh_seconds",
];

/// The token rules so far.
#[derive(Default)]
pub(super) enum TokenSoFar {
    #[default]
    Nothing,
    Off,
    Parts(Box<TokenParts>),
}

impl TokenSoFar {
    /// Returns the rules of the table with this key, once all sources are read.
    pub(super) fn finish(
        self,
        table: &str,
        sources: &Sources,
    ) -> Result<ChannelToken, ConfigError> {
        match self {
            TokenSoFar::Nothing => Ok(ChannelToken::Inherited),
            TokenSoFar::Off => Ok(ChannelToken::Off),
            TokenSoFar::Parts(parts) => match parts.finish() {
                Ok(token) => Ok(ChannelToken::Own(Arc::new(token))),
                Err(TokenMistake { key, reason }) if key.is_empty() => {
                    let given = sources.under(table).clone();
                    Err(ConfigError::Refused { key: table.to_owned(), given, reason })
                }
                Err(TokenMistake { key, reason }) => {
                    let key = format!("{table}.{key}");
                    let given = match sources.of(&key) {
                        crate::Source::Default => sources.under(&key).clone(),
                        source => source.clone(),
                    };
                    Err(ConfigError::Refused { key, given, reason })
                }
            },
        }
    }
}

impl Tables<'_> {
    pub(super) fn read_token(
        &self,
        given: &GivenValue<'_>,
        token: &mut TokenSoFar,
        sources: &mut Sources,
    ) -> Result<(), ConfigError> {
        if given.switch() == Some(false) {
            *token = TokenSoFar::Off;
            sources.note(&given.key, given.source);
            return Ok(());
        }
        let mut parts = match std::mem::take(token) {
            TokenSoFar::Parts(parts) => parts,
            TokenSoFar::Nothing | TokenSoFar::Off => Box::default(),
        };
        for (name, value) in given.table("a table, or `false` for none")? {
            let inner = given.inner(name, value);
            match name.as_str() {
                "keys" => {
                    for (name, value) in
                        inner.table("a table of tables, one for each set of keys")?
                    {
                        let keys = inner.named(name, value)?;
                        let parts = parts.keys.entry(name.clone()).or_default();
                        for (name, value) in keys.table("a table")? {
                            if !self.read_key(&keys.inner(name, value), name, parts, sources)? {
                                return Err(keys.inner(name, value).unknown(name, SET_KEYS));
                            }
                        }
                    }
                    continue;
                }
                "leeway_seconds" => {
                    parts.leeway_seconds = inner.seconds(0..=MAX_LEEWAY_SECONDS)?;
                }
                "jwks_refresh_seconds" => {
                    parts.refresh_seconds = Some(inner.seconds(REFRESH_RANGE)?)
                }
                "query_parameter" => parts.query_parameter = Some(inner.text()?),
                "subprotocol" => {
                    let name = inner.text()?;
                    let is_token =
                        |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
                    if !name.bytes().all(is_token) {
                        let reason = "it must be a subprotocol's name: letters, digits, `.`, `-` and the \
                                      like, or \"\" for none";
                        return Err(inner.refused(reason.to_owned()));
                    }
                    parts.subprotocol = Some(name);
                }
                "required" => {
                    let refused = || inner.refused("it must be `true` or `false`".to_owned());
                    parts.required = Some(inner.switch().ok_or_else(refused)?);
                }
                _ => {
                    if !self.read_key(&inner, name, &mut parts.own, sources)? {
                        return Err(inner.unknown(name, TOKEN_KEYS));
                    }
                }
            }
            sources.note(&inner.key, inner.source);
        }
        *token = TokenSoFar::Parts(parts);
        Ok(())
    }

    /// Reads a value of a set of keys. Returns false if there is no such key.
    fn read_key(
        &self,
        given: &GivenValue<'_>,
        name: &str,
        parts: &mut KeyParts,
        sources: &mut Sources,
    ) -> Result<bool, ConfigError> {
        let texts = || {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            given.list("text, or a list of texts", text)
        };
        match name {
            "secret" => parts.secret = Some(self.token_secret(given)?),
            "secret_encoding" => {
                let encoding = given.value.as_str().and_then(SecretEncoding::parse);
                let reason = "it must be `text`, `base64`, `base64url` or `bytes`";
                let refused = || given.refused(reason.to_owned());
                parts.secret_encoding = Some(encoding.ok_or_else(refused)?);
            }
            "public_key" => {
                parts.public_key = Some(self.beside(given.source, Path::new(given.path()?)));
            }
            "jwks" => {
                let place = given.path()?;
                parts.jwks = Some(match place.split_once("://") {
                    Some(_) => TokenKey::JwksUrl(given.url(place)?),
                    None => TokenKey::Jwks(self.beside(given.source, Path::new(place))),
                });
            }
            "issuer" => parts.issuers = Some(texts()?),
            "audience" => parts.audiences = Some(texts()?),
            _ => return Ok(false),
        }
        sources.note(&given.key, given.source);
        Ok(true)
    }

    /// Returns a secret of tokens as it was written. A file of one is read later, and again when it
    /// changes.
    fn token_secret(&self, given: &GivenValue<'_>) -> Result<GivenSecret, ConfigError> {
        let (text, variable) = match given.secret_place()? {
            SecretValue::File(path) => {
                return Ok(GivenSecret::File(self.beside(given.source, Path::new(path))));
            }
            SecretValue::Text(text) => (text.to_owned(), None),
            SecretValue::Variable(variable) => {
                (self.in_variable(given, variable)?, Some(variable.to_owned()))
            }
        };
        given.check_secret(&text)?;
        Ok(GivenSecret::Text(text, variable))
    }
}

impl<'a> GivenValue<'a> {
    /// Returns a number of seconds.
    fn seconds(&self, range: std::ops::RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let seconds = self.text()?.trim().parse().ok();
        seconds.filter(|seconds| range.contains(seconds)).ok_or_else(|| {
            self.refused(format!("it must be {} to {} seconds", range.start(), range.end()))
        })
    }

    /// Returns the path of a file of keys. Keys themselves are mistaken for it.
    fn path(&self) -> Result<&'a str, ConfigError> {
        let text = self.value.as_str().filter(|path| !path.is_empty() && !path.contains('\0'));
        let path = text.ok_or_else(|| self.refused("it must be a path".to_owned()))?;
        let material = Material::of(path.as_bytes());
        match material.is_key() {
            true => Err(self.refused(format!(
                "it is {material} itself; write it to a file, and the file's path here"
            ))),
            false => Ok(path),
        }
    }

    /// Returns the address of a key set.
    fn url(&self, text: &str) -> Result<String, ConfigError> {
        let refused = |reason: &str| self.refused(reason.to_owned());
        let url: http::Uri = text.parse().map_err(|_| refused("it is not a valid address"))?;
        if !matches!(url.scheme_str(), Some("https" | "http")) {
            return Err(refused("it must be a path, or begin with `https://` (or `http://`)"));
        }
        let authority = url.authority().map(http::uri::Authority::as_str);
        let authority =
            authority.filter(|authority| !authority.contains('@') && !text.contains('#'));
        let Some(authority) = authority else {
            return Err(refused("an address of keys has a host, no user and no `#`"));
        };
        let is_near = || Origin::of_host("http", authority).is_some_and(|host| host.is_loopback());
        if url.scheme_str() == Some("http") && !is_near() {
            return Err(refused(
                "keys that are fetched without encryption can be replaced on the way: use \
                 `https://`; `http://` is for addresses of this machine",
            ));
        }
        Ok(text.to_owned())
    }
}
