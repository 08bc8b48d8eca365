//! The members of an object, also of one that is not JSON in all of its parts.

use std::ops::Range;

/// A member of the outermost object.
pub(crate) struct Member<'t> {
    /// Key as it stands in the text, in quotes.
    key: &'t str,
    /// Value as it stands in the text, without blanks around it.
    pub(crate) value: &'t str,
    /// Place of key and value in the text.
    pub(crate) range: Range<usize>,
    /// True if something comes after the value, so that it is whole.
    pub(crate) is_followed: bool,
}

impl Member<'_> {
    /// Returns true if this is the key.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        match self.key.contains('\\') {
            true => serde_json::from_str::<String>(self.key).is_ok_and(|key| key == name),
            false => self.key.get(1..self.key.len() - 1) == Some(name),
        }
    }
}

/// Iterates over the members of the outermost object, and passes what is not JSON in between: a
/// wrong number, half an escape, a bracket that is missing. Text that is no object has no members.
pub(crate) fn members(text: &str) -> impl Iterator<Item = Member<'_>> {
    let blanks = text.bytes().take_while(u8::is_ascii_whitespace).count();
    let at = match text.as_bytes().get(blanks) {
        Some(b'{') => blanks + 1,
        _ => text.len(),
    };
    Members { text, at }
}

struct Members<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Iterator for Members<'t> {
    type Item = Member<'t>;

    fn next(&mut self) -> Option<Member<'t>> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at)? {
                b'}' => self.at = bytes.len(),
                b'"' => {
                    let start = self.at;
                    self.at += string_len(&bytes[start..])?;
                    let key = start..self.at;
                    self.blanks();
                    if bytes.get(self.at) != Some(&b':') {
                        continue;
                    }
                    self.at += 1;
                    self.blanks();
                    let begin = self.at;
                    self.at = value_end(bytes, begin);
                    let value = self.text[begin..self.at].trim_ascii_end();
                    return Some(Member {
                        key: &self.text[key],
                        value,
                        range: start..begin + value.len(),
                        is_followed: begin + value.len() < bytes.len(),
                    });
                }
                b'{' | b'[' => self.at = value_end(bytes, self.at),
                _ => self.at += 1,
            }
        }
    }
}

impl Members<'_> {
    fn blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }
}

/// Returns the length of a string with its quotes; `None` if it does not end.
pub(super) fn string_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Returns the end of a value: the place of the comma or bracket after it.
fn value_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match string_len(&bytes[at..]) {
                Some(len) => {
                    at += len;
                    continue;
                }
                None => return bytes.len(),
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value_of<'t>(name: &str, text: &'t str) -> Option<&'t str> {
        members(text).filter(|member| member.is_named(name)).last().map(|member| member.value)
    }

    #[test]
    fn a_member_is_found_in_whatever_is_an_object() {
        for (text, found) in [
            (r#"{"ref":7}"#, Some("7")),
            (r#" { "a" : 01 , "ref" : "x" , "b" : "\ud83d" } trailing"#, Some(r#""x""#)),
            (r#"{"a":{"ref":1},"b":["ref",{"ref":2}]}"#, None),
            (r#"{"a":[1,2},"ref":7}"#, Some("7")),
            (r#"{"a":"\"ref\":3","r\u0065f":4}"#, Some("4")),
            (r#"{"a":tru,"ref":7,"b":}"#, Some("7")),
            (r#"{"ref":7"#, Some("7")),
            (r#"{"a" "ref":7}"#, Some("7")),
            (r#"{"a":{},{"ref":1},"ref":7}"#, Some("7")),
            (r#"{"a":"x,"ref":7}"#, None),
            (r#"[{"ref":7}]"#, None),
            (r#""ref""#, None),
            ("", None),
        ] {
            assert_eq!(value_of("ref", text), found, "{text}");
        }
    }

    #[test]
    fn a_member_that_the_text_ends_with_may_not_be_whole() {
        let followed = |text: &str| members(text).last().map(|member| member.is_followed);
        assert_eq!(followed(r#"{"ref":3"#), Some(false));
        assert_eq!(followed(r#"{"ref":3 "#), Some(true));
        assert_eq!(followed(r#"{"ref":3}"#), Some(true));
    }

    proptest! {
        #[test]
        fn any_text_has_members_or_none(text: String) {
            for member in members(&text) {
                prop_assert!(text[member.range.clone()].ends_with(member.value));
            }
        }

        #[test]
        fn the_members_of_json_are_found(text in r#"[\{\}\[\]",:a\\ 1]{0,40}"#) {
            if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(&text) {
                for (key, value) in &object {
                    let found = value_of(key, &text).map(serde_json::from_str);
                    let found: serde_json::Value = found.expect("found").expect("JSON");
                    prop_assert_eq!(&found, value);
                }
            }
        }
    }
}
