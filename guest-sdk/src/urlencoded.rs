//! Query strings as HTML forms write them: pairs joined by `&`, `+` for a space, `%` escapes.

use std::borrow::Cow;

/// Returns the decoded pairs of a query string. Any query string is accepted: a `%` without two
/// digits stands for itself, and bytes that are not UTF-8 become U+FFFD.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let (byte, left) = match rest {
            [b'+', ..] => (b' ', others),
            [b'%', high, low, behind @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, behind),
                _ => (b'%', others),
            },
            _ => (*first, others),
        };
        decoded.push(byte);
        rest = left;
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(query: &str) -> Vec<(String, String)> {
        pairs(query).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn spaces_are_plus_or_percent_20() {
        assert_eq!(decoded("a=x+y&b=x%20y"), [pair("a", "x y"), pair("b", "x y")]);
    }

    #[test]
    fn names_are_decoded_like_values() {
        assert_eq!(decoded("r%C3%B4le=caf%c3%a9"), [pair("rôle", "café")]);
    }

    #[test]
    fn a_value_keeps_its_equals_signs() {
        assert_eq!(decoded("token=abc=="), [pair("token", "abc==")]);
    }

    #[test]
    fn empty_pairs_are_passed_over_and_bare_names_are_empty() {
        assert_eq!(decoded(""), []);
        assert_eq!(decoded("&&debug&"), [pair("debug", "")]);
    }

    #[test]
    fn broken_escapes_stand_for_themselves() {
        assert_eq!(
            decoded("a=100%&b=%4&c=%zz&d=%+f"),
            [pair("a", "100%"), pair("b", "%4"), pair("c", "%zz"), pair("d", "% f"),]
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_become_the_replacement_character() {
        assert_eq!(decoded("a=%ff"), [pair("a", "\u{fffd}")]);
    }
}
