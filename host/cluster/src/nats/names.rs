//! The names of things on the server: any text becomes tokens of a subject.

/// Most parts of a key that become tokens of their own, so that keys that begin alike can be asked for.
const MAX_PARTS: usize = 8;

/// Returns the one token of a name: letters, digits, `-` and `_` as they are, and `=` with two digits for each other byte.
pub(super) fn token(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("={byte:02X}"));
        }
    }
    token
}

/// Returns the subject of a topic.
pub(super) fn subject_of_topic(prefix: &str, topic: &str) -> String {
    format!("{prefix}.t.{}", token(topic))
}

/// Returns the name of a token; `None` if it is none of [`token`].
pub(super) fn name_of(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'=' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Returns the tokens of a key: one for each part that ends with `:` or `/`, and `~` with the rest.
pub(super) fn tokens(key: &str) -> String {
    let (parts, rest) = parts(key);
    let mut tokens: Vec<String> = parts.into_iter().map(token).collect();
    tokens.push(format!("~{}", token(rest)));
    tokens.join(".")
}

/// Returns the key of tokens.
pub(super) fn key_of(tokens: &str) -> Option<String> {
    let names = tokens.split('.').map(|token| name_of(token.strip_prefix('~').unwrap_or(token)));
    names.collect()
}

/// Returns tokens that all keys with this beginning have, each with a dot behind it.
pub(super) fn tokens_of_prefix(prefix: &str) -> String {
    parts(prefix).0.into_iter().map(|part| token(part) + ".").collect()
}

fn parts(key: &str) -> (Vec<&str>, &str) {
    let mut parts: Vec<&str> = key.splitn(MAX_PARTS, [':', '/']).collect();
    let rest = parts.pop().unwrap_or_default();
    // Each part has its end, which is one byte behind it.
    let mut at = 0;
    let mut whole = Vec::new();
    for part in parts {
        let end = at + part.len() + 1;
        whole.extend(key.get(at..end));
        at = end;
    }
    (whole, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_comes_back(name in ".{0,30}", key in "[a:/é.~=]{0,20}") {
            prop_assert_eq!(name_of(&token(&name)), Some(name.clone()));
            for text in [name, key] {
                let tokens = tokens(&text);
                prop_assert_eq!(key_of(&tokens), Some(text.clone()));
                let is_fit = |c: char| c.is_ascii_alphanumeric() || "-_=~.".contains(c);
                prop_assert!(tokens.chars().all(is_fit), "{}", tokens);
                prop_assert!(tokens.split('.').all(|token| !token.is_empty()), "{}", tokens);
                for end in 0..text.len() {
                    if let Some(beginning) = text.get(..end) {
                        prop_assert!(tokens.starts_with(&tokens_of_prefix(beginning)));
                    }
                }
            }
        }

        #[test]
        fn any_token_is_read_or_refused(token in ".{0,20}") {
            let _ = (name_of(&token), key_of(&token));
        }
    }
}
