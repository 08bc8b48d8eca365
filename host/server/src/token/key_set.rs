//! The keys from one place: a single one, or a JSON Web Key Set (RFC 7517) with keys by their names.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use wharf_config::{Material, SecretEncoding};

use super::key::{Key, NEEDED};

/// Largest number of keys of one set.
const MAX_KEYS: usize = 256;

/// The form of the bytes in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A secret for HS256, written in this form.
    Secret(SecretEncoding),
    /// A public key in PEM, or a certificate.
    Pem,
    /// A JSON Web Key Set.
    Jwks,
}

/// The keys from one place.
pub(super) enum KeySet {
    /// A key that has no name.
    One(Box<Key>),
    /// Keys by their names (`kid`).
    Named(Vec<NamedKey>),
}

/// A key of a set.
pub(super) struct NamedKey {
    name: Option<String>,
    /// The key, or the name of a kind that is not for tokens which are checked here.
    key: Result<Key, String>,
}

/// The keys of a set that a token may be signed with.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Keys(Vec<&'a Key>),
    /// The set has a key of that name, but of a kind that is not supported.
    Unsupported,
    Unknown,
    /// The token names no key, and there are several.
    Unnamed,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.algorithm)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({})", self.len())
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads the keys in these bytes.
    ///
    /// # Errors
    ///
    /// There is no key that could be used. The sentence says what was found.
    pub fn read(bytes: &[u8], form: Form) -> Result<KeySet, String> {
        match form {
            Form::Secret(encoding) => {
                encoding.read(bytes).map(|secret| KeySet::One(Box::new(Key::secret(&secret))))
            }
            Form::Pem => Key::of_pem(bytes).map(|key| KeySet::One(Box::new(key))),
            Form::Jwks => KeySet::of_jwks(bytes),
        }
    }

    fn of_jwks(bytes: &[u8]) -> Result<KeySet, String> {
        let material = Material::of(bytes);
        if material != Material::KeySet {
            let hint = match material.belongs_to() {
                Some(key) => format!("; `{key}` is for that"),
                None if material == Material::Key => {
                    "; put it into a set: `{\"keys\": [ … ]}`".to_owned()
                }
                None => String::new(),
            };
            return Err(format!("it is not a JSON Web Key Set but {material}{hint}"));
        }
        let set: JwkSet = serde_json::from_slice(bytes)
            .map_err(|error| format!("it is not a JSON Web Key Set: {error}"))?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!("it has more than {MAX_KEYS} keys"));
        }
        let mut keys: Vec<NamedKey> = Vec::new();
        for value in set.keys.iter().filter(|value| is_for_signatures(value)) {
            let name = value.get("kid").and_then(Value::as_str).map(str::to_owned);
            let key = Key::of_jwk(value);
            // Keys of one name may be alternatives with different algorithms (RFC 7517, 4.5).
            let algorithm = |key: &Result<Key, String>| key.as_ref().ok().map(|key| key.algorithm);
            let is_same = |known: &NamedKey| {
                known.name == name && key.is_ok() && algorithm(&known.key) == algorithm(&key)
            };
            if keys.iter().any(is_same) {
                return Err("two of its keys have the same name (kid), or none".to_owned());
            }
            keys.push(NamedKey { name, key });
        }
        let set = KeySet::Named(keys);
        match (set.len(), set.left_out()) {
            (0, None) => Err(format!("it has no {NEEDED}")),
            (0, Some(found)) => Err(format!("it has no {NEEDED}, but {found}")),
            _ => Ok(set),
        }
    }

    /// Returns the number of keys that can be used.
    pub fn len(&self) -> usize {
        match self {
            KeySet::One(_) => 1,
            KeySet::Named(keys) => keys.iter().filter(|named| named.key.is_ok()).count(),
        }
    }

    /// Returns the kinds of the keys that cannot be used, with their numbers, if there are any.
    pub fn left_out(&self) -> Option<String> {
        let KeySet::Named(keys) = self else {
            return None;
        };
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for kind in keys.iter().filter_map(|named| named.key.as_ref().err()) {
            *kinds.entry(kind).or_default() += 1;
        }
        let words: Vec<String> =
            kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        (!words.is_empty()).then(|| format!("keys that are not supported: {}", words.join(", ")))
    }

    /// Returns the keys of that name. A token without a name can only be meant for a single key.
    pub fn find(&self, name: Option<&str>) -> Found<'_> {
        let keys = match self {
            KeySet::One(key) => return Found::Keys(vec![key]),
            KeySet::Named(keys) => keys,
        };
        let usable = keys.iter().filter_map(|named| Some((named, named.key.as_ref().ok()?)));
        let Some(name) = name else {
            let mut usable = usable.map(|(_, key)| key);
            return match (usable.next(), usable.next()) {
                (Some(key), None) => Found::Keys(vec![key]),
                _ => Found::Unnamed,
            };
        };
        let is_it = |named: &NamedKey| named.name.as_deref() == Some(name);
        let found: Vec<&Key> =
            usable.filter(|(named, _)| is_it(named)).map(|(_, key)| key).collect();
        match found.is_empty() {
            false => Found::Keys(found),
            true if keys.iter().any(is_it) => Found::Unsupported,
            true => Found::Unknown,
        }
    }
}

/// Returns true unless a key of a set says that it is for another purpose, such as encryption.
fn is_for_signatures(value: &Value) -> bool {
    let purpose = value.get("use").and_then(Value::as_str);
    let operations = value.get("key_ops").and_then(Value::as_array);
    purpose.is_none_or(|purpose| purpose == "sig")
        && operations.is_none_or(|operations| operations.iter().any(|its| its == "verify"))
}
