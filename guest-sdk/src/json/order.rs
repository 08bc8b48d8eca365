//! The order of members.
//!
//! serde reads an enum with `#[serde(tag = …, content = …)]` directly if its tag comes first.
//! Otherwise it keeps the content until it knows the variant, and what it keeps cannot become
//! everything: a map with numbers as keys and a 128-bit number cannot be read then.

/// Returns the text with those members first in each object whose value is a string, as the value
/// of a tag is; `None` if they are in that order already, or the text is not JSON.
pub(super) fn tags_first(text: &str) -> Option<String> {
    let mut writer =
        Writer { text, at: 0, out: String::with_capacity(text.len()), has_changed: false };
    writer.value(0)?;
    writer.has_changed.then_some(writer.out)
}

/// Deepest nesting, which is that of the parser.
const MAX_DEPTH: usize = 128;

struct Writer<'t> {
    text: &'t str,
    at: usize,
    out: String,
    has_changed: bool,
}

impl Writer<'_> {
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.at += blanks;
        rest.get(blanks).copied()
    }

    /// Passes a byte that must come next.
    fn pass(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn copy(&mut self, len: usize) -> Option<()> {
        self.out.push_str(self.text.get(self.at..self.at + len)?);
        self.at += len;
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.peek().filter(|byte| *byte == b'"')?;
        let len = super::members::string_len(&self.text.as_bytes()[self.at..])?;
        self.copy(len)
    }

    /// Copies a value. Returns true if it is a string.
    fn value(&mut self, depth: usize) -> Option<bool> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            b'"' => return self.string().map(|()| true),
            b'{' => self.object(depth)?,
            b'[' => self.array(depth)?,
            _ => {
                let rest = self.text.as_bytes()[self.at..].iter();
                let is_part =
                    |byte: &&u8| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n');
                self.copy(rest.take_while(is_part).count().max(1))?;
            }
        }
        Some(false)
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.pass(b'[')?;
        self.out.push('[');
        if self.peek()? != b']' {
            self.value(depth + 1)?;
            while self.peek()? == b',' {
                self.copy(1)?;
                self.value(depth + 1)?;
            }
        }
        self.pass(b']')?;
        self.out.push(']');
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.pass(b'{')?;
        self.out.push('{');
        let start = self.out.len();
        // The members in the output, each with true if its value is a string.
        let mut members: Vec<(std::ops::Range<usize>, bool)> = Vec::new();
        if self.peek()? != b'}' {
            loop {
                let begin = self.out.len();
                self.string()?;
                self.pass(b':')?;
                self.out.push(':');
                let is_string = self.value(depth + 1)?;
                members.push((begin..self.out.len(), is_string));
                if self.peek()? != b',' {
                    break;
                }
                self.copy(1)?;
            }
        }
        self.pass(b'}')?;
        if !members.is_sorted_by_key(|(_, is_string)| !is_string) {
            members.sort_by_key(|(_, is_string)| !is_string);
            let sorted: Vec<&str> =
                members.iter().map(|(range, _)| &self.out[range.clone()]).collect();
            let sorted = sorted.join(",");
            self.out.truncate(start);
            self.out.push_str(&sorted);
            self.has_changed = true;
        }
        self.out.push('}');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn texts_come_first_and_nothing_else_changes_its_place() {
        for (text, ordered) in [
            (r#"{"a":1,"b":"x"}"#, Some(r#"{"b":"x","a":1}"#)),
            (
                r#" { "a" : [ 1 , { "c" : {} , "d" : "}" } ] } "#,
                Some(r#"{"a":[1,{"d":"}","c":{}}]}"#),
            ),
            (r#"{"b":"\"","c":"y","a":1}"#, None),
            (r#"[1,2]"#, None),
            (r#"{"a":1,"b":"x""#, None),
            (r#"{"a":1 "b":"x"}"#, None),
            ("", None),
        ] {
            assert_eq!(tags_first(text).as_deref(), ordered, "{text}");
        }
        assert_eq!(tags_first(&"[".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_without_a_panic(text: String) {
            let _ = tags_first(&text);
        }

        #[test]
        fn the_value_stays_the_same(keys in proptest::collection::vec("[a-z]{1,3}", 1..6)) {
            let members = keys.iter().enumerate().map(|(at, key)| match at % 3 {
                0 => format!("{key:?}:{{\"x\":1,\"y\":\"ж\"}}"),
                1 => format!("{key:?}:-1.5e3"),
                _ => format!("{key:?}:\"\\u00e9\""),
            });
            // Of members with one name the last counts.
            let mut members: Vec<String> = members.collect();
            members.sort();
            members.dedup_by(|a, b| a.split(':').next() == b.split(':').next());
            let text = format!("{{{}}}", members.join(" , "));
            if let Some(ordered) = tags_first(&text) {
                let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
                prop_assert_eq!(read(&text), read(&ordered));
            }
        }
    }
}
