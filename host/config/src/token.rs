//! The rules for a client's token: the tables `[token]` and `[channels.NAME.token]`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::alphabet;

use wharf_contract::hidden::HIDDEN;

use super::channel::section;
use super::material::{Material, decode};
use super::sources::Sources;

/// The tokens that a channel's clients must bring. The algorithm follows from the key, never from
/// the token itself.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenConfig {
    /// Sets of keys that tokens are checked with: at least one. The table's own is the first, if it
    /// has one; the others are those of the tables `keys.NAME`.
    pub keys: Vec<TokenKeys>,
    /// Largest difference between the clocks of issuer and host. Key `leeway_seconds`.
    pub leeway: Duration,
    /// Query parameter in which a token may be, besides the header `Authorization`. Key
    /// `query_parameter`, which is empty text for none.
    pub query_parameter: Option<String>,
    /// Subprotocol that announces a token: the next one that the client asks for is the token. Key
    /// `subprotocol`, which is empty text for none.
    pub subprotocol: Option<String>,
    /// True if a client without a token is refused. A client with a bad token always is. Key
    /// `required`.
    pub required: bool,
    /// Time after which a key set is fetched again from its address. Key `jwks_refresh_seconds`.
    pub refresh: Duration,
}

/// One set of keys, and the tokens that it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenKeys {
    /// Name of its table; `None` for the keys of the token's own table.
    pub name: Option<String>,
    /// Key, of which there is one: `secret`, `public_key` or `jwks`.
    pub key: TokenKey,
    /// The issuers (`iss`) that are accepted; empty for any. Key `issuer`.
    pub issuers: Vec<String>,
    /// The audiences (`aud`) of which a token must name one; empty for tokens that have none. Key
    /// `audience`.
    pub audiences: Vec<String>,
}

/// The key that tokens are checked with.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenKey {
    /// HS256, with a secret that the issuer has too.
    Secret(TokenSecret),
    /// RS256, ES256 or EdDSA, as the key requires: the path of a PEM file.
    PublicKey(PathBuf),
    /// The same with several keys by their names: the path of a JSON Web Key Set (RFC 7517).
    Jwks(PathBuf),
    /// The same, by the set's address.
    JwksUrl(String),
}

/// A secret that tokens are checked with. Its `Debug` does not show it.
#[derive(Clone, PartialEq)]
pub struct TokenSecret {
    /// Place of the secret.
    pub place: SecretPlace,
    /// Form in which it is written. Key `secret_encoding`.
    pub encoding: SecretEncoding,
}

/// The place where a token's secret is.
#[derive(Clone, PartialEq)]
pub enum SecretPlace {
    /// The configuration, or an environment variable of this name: the secret's bytes.
    Given(Box<[u8]>, Option<String>),
    /// A file, which may change.
    File(PathBuf),
}

/// The form in which a secret is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretEncoding {
    /// The text is the secret. A line feed at the end of a file is not part of it.
    #[default]
    Text,
    /// Base64 (RFC 4648, 4).
    Base64,
    /// Base64 for URLs (RFC 4648, 5).
    Base64Url,
    /// All bytes of a file.
    Bytes,
}

/// The forms and their names.
const ENCODINGS: [(&str, SecretEncoding); 4] = [
    ("text", SecretEncoding::Text),
    ("base64", SecretEncoding::Base64),
    ("base64url", SecretEncoding::Base64Url),
    ("bytes", SecretEncoding::Bytes),
];

impl SecretEncoding {
    /// Returns the form of this name.
    pub(super) fn parse(name: &str) -> Option<SecretEncoding> {
        ENCODINGS.iter().find(|(known, _)| *known == name.trim()).map(|(_, encoding)| *encoding)
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        ENCODINGS.iter().find(|(_, encoding)| *encoding == self).map_or("", |(name, _)| name)
    }

    /// Returns the secret that is written in this form.
    ///
    /// # Errors
    ///
    /// The bytes are not a secret in this form. The sentence says what they are.
    pub fn read(self, written: &[u8]) -> Result<Box<[u8]>, String> {
        let material = Material::of(written);
        let is_raw = self == SecretEncoding::Bytes && material == Material::Der;
        if !material.may_be_secret() && !is_raw {
            let hint = match material.belongs_to() {
                Some(key) => format!("; that is for `{key}`"),
                None if material == Material::Key => {
                    "; of a key of kind `oct`, write `k` with `secret_encoding = \"base64url\"`, and of \
                     others a set with `jwks`"
                        .to_owned()
                }
                None => String::new(),
            };
            return Err(format!("it is {material}, where a secret is expected{hint}"));
        }
        let text = || std::str::from_utf8(written).map_err(|_| self.not_text());
        let secret = match self {
            SecretEncoding::Bytes => written.to_vec(),
            SecretEncoding::Text => {
                let text = text()?;
                let text = text.strip_suffix('\n').unwrap_or(text);
                text.strip_suffix('\r').unwrap_or(text).as_bytes().to_vec()
            }
            SecretEncoding::Base64 => self.decode(text()?, &alphabet::STANDARD)?,
            SecretEncoding::Base64Url => self.decode(text()?, &alphabet::URL_SAFE)?,
        };
        match secret.is_empty() {
            true => Err("it is empty".to_owned()),
            false => Ok(secret.into()),
        }
    }

    fn decode(self, text: &str, alphabet: &alphabet::Alphabet) -> Result<Vec<u8>, String> {
        let secret = decode(text, alphabet).ok_or_else(|| {
            let others = [
                (SecretEncoding::Base64, &alphabet::STANDARD),
                (SecretEncoding::Base64Url, &alphabet::URL_SAFE),
            ];
            let fits = others.iter().find(|(_, alphabet)| decode(text, alphabet).is_some());
            let found = match fits {
                Some((other, _)) => {
                    format!("{}; write `secret_encoding = \"{}\"`", other.name(), other.name())
                }
                None => "text of another form".to_owned(),
            };
            format!("it is not {} but {found}", self.name())
        })?;
        let material = Material::of(&secret);
        match material.is_key() {
            true => Err(format!("it is {material} in base64, where a secret is expected")),
            false => Ok(secret),
        }
    }

    fn not_text(self) -> String {
        format!(
            "it has bytes that are not UTF-8, and `secret_encoding` is \"{}\"; for raw bytes write \"bytes\"",
            self.name()
        )
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            SecretPlace::Given(..) => f.write_str(HIDDEN),
            SecretPlace::File(path) => write!(f, "{HIDDEN} in {}", path.display()),
        }
    }
}

impl TokenSecret {
    /// Returns the secret as it is written in a configuration file; a plain one is hidden.
    fn as_toml(&self) -> toml::Value {
        let reference = |key: &str, value: &str| {
            let value = toml::Value::String(value.to_owned());
            toml::Value::Table([(key.to_owned(), value)].into_iter().collect())
        };
        match &self.place {
            SecretPlace::Given(_, None) => toml::Value::String(HIDDEN.to_owned()),
            SecretPlace::Given(_, Some(variable)) => reference("env", variable),
            SecretPlace::File(path) => reference("file", &path.to_string_lossy()),
        }
    }
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

/// The subprotocol that announces a token, unless another is given.
const SUBPROTOCOL: &str = "bearer";

/// Largest leeway, in seconds.
pub(super) const MAX_LEEWAY_SECONDS: u64 = 600;

/// Time after which a key set is fetched again, in seconds, unless another is given.
const REFRESH_SECONDS: u64 = 300;

/// Bounds of that time.
pub(super) const REFRESH_RANGE: std::ops::RangeInclusive<u64> = 1..=24 * 60 * 60;

/// Largest number of sets of keys in one table. Each may have to be tried for a token.
pub(super) const MAX_KEY_TABLES: usize = 16;

/// The values given for one table so far.
#[derive(Clone, Default)]
pub(super) struct TokenParts {
    /// The keys of the table itself.
    pub own: KeyParts,
    /// The keys of its tables `keys.NAME`.
    pub keys: BTreeMap<String, KeyParts>,
    pub leeway_seconds: u64,
    pub query_parameter: Option<String>,
    pub subprotocol: Option<String>,
    pub required: Option<bool>,
    pub refresh_seconds: Option<u64>,
}

/// The values given for one set of keys so far.
#[derive(Clone, Default)]
pub(super) struct KeyParts {
    pub secret: Option<GivenSecret>,
    pub secret_encoding: Option<SecretEncoding>,
    pub public_key: Option<PathBuf>,
    pub jwks: Option<TokenKey>,
    pub issuers: Option<Vec<String>>,
    pub audiences: Option<Vec<String>>,
}

/// A secret as it was written. Its form may be given by another source.
#[derive(Clone)]
pub(super) enum GivenSecret {
    /// Text of the configuration, or of the environment variable of this name.
    Text(String, Option<String>),
    /// The path of a file.
    File(PathBuf),
}

/// A mistake in a table.
pub(super) struct TokenMistake {
    /// Key below the table; empty for the table itself.
    pub key: String,
    /// The mistake, and the way to correct it.
    pub reason: String,
}

impl TokenMistake {
    fn of_table(reason: impl Into<String>) -> TokenMistake {
        TokenMistake { key: String::new(), reason: reason.into() }
    }

    fn within(self, table: &str) -> TokenMistake {
        let TokenMistake { key, reason } = self;
        let key = if key.is_empty() { table.to_owned() } else { format!("{table}.{key}") };
        TokenMistake { key, reason }
    }
}

impl KeyParts {
    /// Returns true if it has no key, though perhaps rules for those of other tables.
    fn has_no_key(&self) -> bool {
        self.secret.is_none() && self.public_key.is_none() && self.jwks.is_none()
    }

    fn key(self) -> Result<TokenKey, TokenMistake> {
        let encoding = self.secret_encoding;
        let key = match (self.secret, self.public_key, self.jwks) {
            (Some(secret), None, None) => {
                let encoding = encoding.unwrap_or_default();
                let place = secret
                    .read(encoding)
                    .map_err(|reason| TokenMistake { key: "secret".to_owned(), reason })?;
                return Ok(TokenKey::Secret(TokenSecret { place, encoding }));
            }
            (None, Some(path), None) => TokenKey::PublicKey(path),
            (None, None, Some(jwks)) => jwks,
            _ => {
                return Err(TokenMistake::of_table(
                    "give one of `secret`, `public_key` and `jwks`",
                ));
            }
        };
        match encoding {
            Some(_) => Err(TokenMistake {
                key: "secret_encoding".to_owned(),
                reason: "it is for a `secret`, and there is none".to_owned(),
            }),
            None => Ok(key),
        }
    }
}

impl GivenSecret {
    fn read(self, encoding: SecretEncoding) -> Result<SecretPlace, String> {
        match self {
            GivenSecret::File(path) => Ok(SecretPlace::File(path)),
            GivenSecret::Text(..) if encoding == SecretEncoding::Bytes => {
                Err("`secret_encoding = \"bytes\"` is for a file: `{ file = \"PATH\" }`".to_owned())
            }
            // The text of a variable or of TOML is the secret to its last character.
            GivenSecret::Text(text, variable) if encoding == SecretEncoding::Text => {
                encoding.read(text.as_bytes())?;
                Ok(SecretPlace::Given(text.into_bytes().into(), variable))
            }
            GivenSecret::Text(text, variable) => {
                Ok(SecretPlace::Given(encoding.read(text.as_bytes())?, variable))
            }
        }
    }
}

impl TokenParts {
    /// Returns the complete rules, or the mistake in them.
    pub(super) fn finish(self) -> Result<TokenConfig, TokenMistake> {
        let issuers = self.own.issuers.clone().unwrap_or_default();
        let audiences = self.own.audiences.clone().unwrap_or_default();
        let mut keys = Vec::new();
        if !self.own.has_no_key() || self.keys.is_empty() {
            let (issuers, audiences) = (issuers.clone(), audiences.clone());
            keys.push(TokenKeys { name: None, key: self.own.key()?, issuers, audiences });
        }
        if self.keys.len() > MAX_KEY_TABLES {
            return Err(TokenMistake {
                key: "keys".to_owned(),
                reason: format!("it has more than {MAX_KEY_TABLES} tables"),
            });
        }
        for (name, parts) in self.keys {
            let issuers = parts.issuers.clone().unwrap_or_else(|| issuers.clone());
            let audiences = parts.audiences.clone().unwrap_or_else(|| audiences.clone());
            let key = parts.key().map_err(|mistake| mistake.within(&format!("keys.{name}")))?;
            keys.push(TokenKeys { name: Some(name), key, issuers, audiences });
        }
        let parameter = self.query_parameter.unwrap_or_else(|| QUERY_PARAMETER.to_owned());
        let subprotocol = self.subprotocol.unwrap_or_else(|| SUBPROTOCOL.to_owned());
        Ok(TokenConfig {
            keys,
            leeway: Duration::from_secs(self.leeway_seconds),
            query_parameter: Some(parameter).filter(|parameter| !parameter.is_empty()),
            subprotocol: Some(subprotocol).filter(|subprotocol| !subprotocol.is_empty()),
            required: self.required.unwrap_or(true),
            refresh: Duration::from_secs(self.refresh_seconds.unwrap_or(REFRESH_SECONDS)),
        })
    }
}

impl TokenConfig {
    /// Returns its tables as they are written in a `wharf.toml`, with the source of each value.
    pub(super) fn effective(&self, table: &str, sources: &Sources) -> String {
        let (own, named): (Vec<_>, Vec<_>) = self.keys.iter().partition(|keys| keys.name.is_none());
        let text = |text: Option<&str>| toml::Value::String(text.unwrap_or_default().to_owned());
        let seconds = |time: Duration| {
            toml::Value::Integer(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
        };
        let rules = [
            ("leeway_seconds", seconds(self.leeway)),
            ("query_parameter", text(self.query_parameter.as_deref())),
            ("subprotocol", text(self.subprotocol.as_deref())),
            ("required", toml::Value::Boolean(self.required)),
            ("jwks_refresh_seconds", seconds(self.refresh)),
        ];
        let own = own.into_iter().flat_map(TokenKeys::lines);
        let rules = rules.into_iter().map(|(key, value)| (key.to_owned(), value));
        let mut shown = section(table, own.chain(rules).collect(), sources);
        for keys in named {
            let name = keys.name.as_deref().unwrap_or_default();
            shown.push_str(&section(&format!("{table}.keys.{name}"), keys.lines(), sources));
        }
        shown
    }
}

impl TokenKeys {
    fn lines(&self) -> Vec<(String, toml::Value)> {
        let text = |text: &str| toml::Value::String(text.to_owned());
        let list = |items: &[String]| toml::Value::Array(items.iter().map(|i| text(i)).collect());
        let mut lines = vec![match &self.key {
            TokenKey::Secret(secret) => ("secret", secret.as_toml()),
            TokenKey::PublicKey(path) => ("public_key", text(&path.to_string_lossy())),
            TokenKey::Jwks(path) => ("jwks", text(&path.to_string_lossy())),
            TokenKey::JwksUrl(url) => ("jwks", text(url)),
        }];
        if let TokenKey::Secret(secret) = &self.key {
            lines.push(("secret_encoding", text(secret.encoding.name())));
        }
        lines.push(("issuer", list(&self.issuers)));
        lines.push(("audience", list(&self.audiences)));
        lines.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
