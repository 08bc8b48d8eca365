//! The names that a new crate can have.

use anyhow::bail;
use wharf_contract::names::MAX_CHANNEL_NAME_BYTES;

use crate::sdk;

/// Words that Rust does not accept as a crate's name, or that are taken by cargo's folders, the
/// libraries that come with Rust or the SDK.
const RESERVED: [&str; 63] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "wharf",
    "where",
    "while",
    "xor",
    "yield",
];

/// Checks that a crate and a channel can have this name.
///
/// # Errors
///
/// They cannot, with a name that is like it and that they can have.
pub(super) fn check_name(name: &str) -> anyhow::Result<()> {
    let is_kebab_case = name.split('-').all(|word| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    });
    if name.contains(['/', '\\']) {
        bail!(
            "the name {name:?} is a path; give the name alone, and the folder by --path: \
             `wharf new hello --path some/folder/hello`"
        );
    }
    if !is_kebab_case || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        let example = kebab_case(name);
        let example = if example.is_empty() { "my-channel" } else { &example };
        bail!(
            "{name:?} cannot be the name: it becomes a crate's and a channel's, which is lower-case \
             words of a to z and 0 to 9 with `-` between them, such as `{example}`"
        );
    }
    if name.len() > MAX_CHANNEL_NAME_BYTES {
        bail!(
            "the name has {} bytes; a channel's has at most {MAX_CHANNEL_NAME_BYTES}",
            name.len()
        );
    }
    if RESERVED.contains(&name) || sdk::has_package(name) {
        bail!(
            "{name:?} cannot be the name: to Rust or to a crate that every plugin uses it means \
             something else; choose another, such as `{name}-channel`"
        );
    }
    Ok(())
}

/// Suggests a valid name: `MyChat` → `my-chat`.
fn kebab_case(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars().take(MAX_CHANNEL_NAME_BYTES) {
        let begins_word = !words.is_empty() && !words.ends_with('-');
        match c {
            'A'..='Z' if begins_word && !words.ends_with(|c: char| c.is_ascii_digit()) => {
                words.push('-');
                words.push(c.to_ascii_lowercase());
            }
            'a'..='z' | 'A'..='Z' => words.push(c.to_ascii_lowercase()),
            '0'..='9' if !words.is_empty() => words.push(c),
            _ if begins_word => words.push('-'),
            _ => {}
        }
    }
    words.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_crates_and_channels_are_taken() {
        for name in ["hello", "my-chat", "a", "room-101", "x2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused_with_one_that_can() {
        for (name, says) in [
            ("", "such as `my-channel`"),
            ("MyChat", "such as `my-chat`"),
            ("my_chat", "such as `my-chat`"),
            ("my--chat", "such as `my-chat`"),
            ("-chat", "such as `chat`"),
            ("101-rooms", "such as `rooms`"),
            ("héllo", "such as `h-llo`"),
            ("x/hello", "--path"),
            ("match", "`match-channel`"),
            ("std", "`std-channel`"),
            ("wharf", "`wharf-channel`"),
            ("serde", "`serde-channel`"),
            ("wit-bindgen", "`wit-bindgen-channel`"),
        ] {
            let error = check_name(name).expect_err(name).to_string();
            assert!(error.contains(says), "{name:?}: {error}");
        }
        let long = "n".repeat(MAX_CHANNEL_NAME_BYTES + 1);
        assert!(check_name(&long).expect_err("too long").to_string().contains("65 bytes"));
    }
}
