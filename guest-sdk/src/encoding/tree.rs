//! MessagePack as a tree, to compare two writings of a value and to name a field in it.

/// A value, and the bytes that it takes.
pub(super) enum Node<'b> {
    Leaf(&'b [u8]),
    Array(Vec<Node<'b>>),
    Map(Vec<Entry<'b>>),
}

/// An entry of a map.
pub(super) struct Entry<'b> {
    key: Node<'b>,
    pub(super) value: Node<'b>,
    /// Place of the key in the bytes.
    start: usize,
    /// End of the value in the bytes.
    end: usize,
}

/// Deepest nesting that is looked at.
const MAX_DEPTH: usize = 128;

/// Largest number of maps that are tried to find the one that lacks a field.
const MOST_MAPS: usize = 100;

/// Reads a whole value; `None` for bytes that are none.
pub(super) fn parse(bytes: &[u8]) -> Option<Node<'_>> {
    let mut reader = Reader { bytes, at: 0 };
    let node = reader.node(0)?;
    (reader.at == bytes.len()).then_some(node)
}

/// Returns a number for the shape of a value: its fields and the kinds of their values, not the
/// values; `None` for bytes that are no value.
pub(super) fn shape(bytes: &[u8]) -> Option<u64> {
    Reader { bytes, at: 0 }.shape(0)
}

/// The start and the factor of the hash FNV-1a.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;
const FACTOR: u64 = 0x0000_0100_0000_01b3;

fn mixed(hash: u64, more: u64) -> u64 {
    (hash ^ more).wrapping_mul(FACTOR)
}

enum Head<'b> {
    Leaf(&'b [u8]),
    Array(usize),
    Map(usize),
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    /// Reads a length of so many bytes.
    fn len(&mut self, bytes: usize) -> Option<usize> {
        let len = self.take(bytes)?;
        Some(len.iter().fold(0, |len, byte| (len << 8) | usize::from(*byte)))
    }

    /// Reads the start of a value: the whole of a leaf, or the length of a composed one.
    fn head(&mut self) -> Option<Head<'b>> {
        let start = self.at;
        let marker = *self.take(1)?.first()?;
        let rest = match marker {
            0x80..=0x8f => return Some(Head::Map(usize::from(marker & 0x0f))),
            0xde => return self.len(2).map(Head::Map),
            0xdf => return self.len(4).map(Head::Map),
            0x90..=0x9f => return Some(Head::Array(usize::from(marker & 0x0f))),
            0xdc => return self.len(2).map(Head::Array),
            0xdd => return self.len(4).map(Head::Array),
            0xa0..=0xbf => usize::from(marker & 0x1f),
            0xc4 | 0xd9 => self.len(1)?,
            0xc5 | 0xda => self.len(2)?,
            0xc6 | 0xdb => self.len(4)?,
            0xc7 => self.len(1)? + 1,
            0xc8 => self.len(2)? + 1,
            0xc9 => self.len(4)? + 1,
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 => 2,
            0xca | 0xce | 0xd2 => 4,
            0xcb | 0xcf | 0xd3 => 8,
            0xd4..=0xd8 => (1 << (marker - 0xd4)) + 1,
            // A marker that MessagePack does not use.
            0xc1 => return None,
            _ => 0,
        };
        self.take(rest)?;
        Some(Head::Leaf(&self.bytes[start..self.at]))
    }

    fn node(&mut self, depth: usize) -> Option<Node<'b>> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.head()? {
            Head::Leaf(bytes) => Some(Node::Leaf(bytes)),
            Head::Array(len) => self.array(len, depth),
            Head::Map(len) => self.map(len, depth),
        }
    }

    /// Reads a value into a number for its shape.
    fn shape(&mut self, depth: usize) -> Option<u64> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.head()? {
            Head::Leaf([marker, ..]) => Some(match marker {
                0x00..=0x7f | 0xe0..=0xff | 0xcc..=0xcf | 0xd0..=0xd3 => 1,
                0xca | 0xcb => 2,
                0xc2 | 0xc3 => 3,
                0xa0..=0xbf | 0xd9..=0xdb => 4,
                marker => 0x100 + u64::from(*marker),
            }),
            Head::Leaf([]) => None,
            Head::Array(len) => {
                let (mut shape, mut last) = (mixed(SEED, 5), None);
                for _ in 0..len {
                    let element = self.shape(depth + 1)?;
                    // Many elements of one shape are as one.
                    if last != Some(element) {
                        shape = mixed(shape, element);
                        last = Some(element);
                    }
                }
                Some(shape)
            }
            Head::Map(len) => {
                let mut shape = mixed(SEED, 6);
                for _ in 0..len {
                    let start = self.at;
                    self.shape(depth + 1)?;
                    let key = &self.bytes[start..self.at];
                    shape = key.iter().fold(shape, |shape, byte| mixed(shape, u64::from(*byte)));
                    shape = mixed(shape, self.shape(depth + 1)?);
                }
                Some(shape)
            }
        }
    }

    /// Adds the maps of a value to `found`.
    fn maps(&mut self, path: &[String], found: &mut Vec<Map>) -> Option<()> {
        let start = self.at;
        match self.head().filter(|_| path.len() <= MAX_DEPTH)? {
            Head::Leaf(_) => {}
            Head::Array(len) => {
                for at in 0..len {
                    self.maps(&[path, &[at.to_string()]].concat(), found)?;
                }
            }
            Head::Map(len) => {
                let first = self.at;
                for _ in 0..len {
                    let name = self.node(path.len())?.name();
                    self.maps(&[path, &[name]].concat(), found)?;
                }
                found.push(Map { path: path.to_owned(), len, start, first, end: self.at });
            }
        }
        Some(())
    }

    fn array(&mut self, len: usize, depth: usize) -> Option<Node<'b>> {
        (0..len).map(|_| self.node(depth + 1)).collect::<Option<_>>().map(Node::Array)
    }

    fn map(&mut self, len: usize, depth: usize) -> Option<Node<'b>> {
        let entries = (0..len).map(|_| {
            let start = self.at;
            let (key, value) = (self.node(depth + 1)?, self.node(depth + 1)?);
            Some(Entry { key, value, start, end: self.at })
        });
        entries.collect::<Option<_>>().map(Node::Map)
    }
}

impl Node<'_> {
    /// Returns bytes that are the same for the same value, in whatever order its maps and sets are
    /// written.
    fn canonical(&self) -> Vec<u8> {
        let joined = |marker: u8, mut parts: Vec<Vec<u8>>| {
            parts.sort_unstable();
            let mut bytes = vec![marker];
            for part in parts {
                bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bytes.extend_from_slice(&part);
            }
            bytes
        };
        match self {
            Node::Leaf(bytes) => bytes.to_vec(),
            Node::Array(elements) => joined(0xdd, elements.iter().map(Node::canonical).collect()),
            Node::Map(entries) => {
                let entry = |entry: &Entry<'_>| [entry.key.canonical(), entry.value.canonical()];
                joined(0xdf, entries.iter().map(|of| entry(of).concat()).collect())
            }
        }
    }

    /// Returns true for a number: those of a clock differ from one writing to the next.
    fn is_number(&self) -> bool {
        let Node::Leaf([marker, ..]) = self else { return false };
        matches!(marker, 0x00..=0x7f | 0xe0..=0xff | 0xca..=0xcf | 0xd0..=0xd3)
    }

    /// Returns the place of the first part that another writing of the value lacks or has changed:
    /// the names of the fields, outermost first.
    pub(super) fn first_loss(&self, other: &Node<'_>) -> Option<Vec<String>> {
        match (self, other) {
            (Node::Map(entries), Node::Map(others)) => entries.iter().find_map(|entry| {
                let key = entry.key.canonical();
                let loss = match others.iter().find(|other| other.key.canonical() == key) {
                    None => Some(Vec::new()),
                    Some(other) => entry.value.first_loss(&other.value),
                };
                loss.map(|rest| [vec![entry.name()], rest].concat())
            }),
            (Node::Array(elements), Node::Array(others)) if elements.len() == others.len() => {
                let pairs = elements.iter().zip(others).enumerate();
                let mut losses = pairs.filter_map(|(at, (element, other))| {
                    let rest = element.first_loss(other)?;
                    Some([vec![at.to_string()], rest].concat())
                });
                // A set is written in any order.
                losses.next().filter(|_| self.canonical() != other.canonical())
            }
            _ if self.is_number() && other.is_number() => None,
            _ => (self.canonical() != other.canonical()).then(Vec::new),
        }
    }
}

impl Entry<'_> {
    /// Returns the key for people.
    pub(super) fn name(&self) -> String {
        self.key.name()
    }
}

impl Node<'_> {
    /// Returns a key for people.
    fn name(&self) -> String {
        match self {
            Node::Leaf([0xa0..=0xbf, text @ ..] | [0xd9, _, text @ ..]) => {
                String::from_utf8_lossy(text).into_owned()
            }
            Node::Leaf([number @ 0x00..=0x7f]) => number.to_string(),
            _ => "…".to_owned(),
        }
    }
}

/// Returns the place of the part for which a value cannot be read: the names of the fields,
/// outermost first. `read` returns the error of reading bytes.
///
/// A part to blame is found by leaving it out: reading then fails for another reason, or not at all.
/// Without a tag it fails for another reason as well, but tags are written first.
pub(super) fn blamed(bytes: &[u8], read: &dyn Fn(&[u8]) -> Option<String>) -> Vec<String> {
    let Some(error) = read(bytes) else { return Vec::new() };
    let (mut path, mut start) = (Vec::new(), 0);
    let Some(mut node) = parse(bytes) else { return path };
    while let Node::Map(entries) = node {
        let len = entries.len();
        let to_blame = entries.into_iter().rev().find(|entry| {
            let without = without(bytes, start, len, entry);
            without.is_some_and(|without| read(&without).as_ref() != Some(&error))
        });
        let Some(entry) = to_blame else { break };
        path.push(entry.name());
        let Node::Leaf(key) = entry.key else { break };
        start = entry.start + key.len();
        node = entry.value;
    }
    path
}

/// A map, and its place.
struct Map {
    path: Vec<String>,
    len: usize,
    /// Places in the bytes: of the map, of its first entry, and of its end.
    start: usize,
    first: usize,
    end: usize,
}

impl Map {
    /// Returns the bytes with an entry of this name more, without a value.
    fn with(&self, bytes: &[u8], name: &str) -> Option<Vec<u8>> {
        let len = u32::try_from(self.len + 1).ok()?.to_be_bytes();
        let name_len = u32::try_from(name.len()).ok()?.to_be_bytes();
        let (before, entries) = (bytes.get(..self.start)?, bytes.get(self.first..self.end)?);
        let key = [&[0xdb], &name_len[..], name.as_bytes()].concat();
        let rest = bytes.get(self.end..)?;
        Some([before, &[0xdf], &len, entries, &key, &[0xc0], rest].concat())
    }
}

/// Returns the place of the part that lacks a field of this name. `read` returns the error of
/// reading bytes.
///
/// The part is found by giving it the field: reading then fails for another reason, or not at all.
/// Other maps that take any key do as well, but end before the part that lacks the field: behind it
/// nothing has been read.
pub(super) fn lacking(
    bytes: &[u8],
    name: &str,
    read: &dyn Fn(&[u8]) -> Option<String>,
) -> Option<Vec<String>> {
    let error = read(bytes)?;
    let mut maps = Vec::new();
    Reader { bytes, at: 0 }.maps(&[], &mut maps)?;
    // Inner ones were found before outer ones, so that the last one ends last.
    let found =
        maps.into_iter().rev().take(MOST_MAPS).find(|map| {
            map.with(bytes, name).is_some_and(|with| read(&with).as_ref() != Some(&error))
        });
    found.map(|map| map.path)
}

/// Returns the bytes without an entry of the map with `len` entries at `start`.
fn without(bytes: &[u8], start: usize, len: usize, entry: &Entry<'_>) -> Option<Vec<u8>> {
    let header = match bytes.get(start)? {
        0x80..=0x8f => 1,
        0xde => 3,
        _ => 5,
    };
    let mut changed = bytes[..start].to_vec();
    changed.push(0xdf);
    changed.extend_from_slice(&u32::try_from(len - 1).ok()?.to_be_bytes());
    changed.extend_from_slice(&bytes[start + header..entry.start]);
    changed.extend_from_slice(&bytes[entry.end..]);
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Serialize;

    fn bytes(value: &impl Serialize) -> Vec<u8> {
        rmp_serde::to_vec_named(value).expect("it can be encoded")
    }

    fn loss(one: &serde_json::Value, other: &serde_json::Value) -> Option<String> {
        let (one, other) = (bytes(one), bytes(other));
        let (one, other) = (parse(&one).expect("a value"), parse(&other).expect("a value"));
        one.first_loss(&other).map(|path| path.join("."))
    }

    #[test]
    fn a_loss_is_named_by_its_place() {
        let json = |text: &str| serde_json::from_str(text).expect("JSON");
        let whole = json(r#"{"a": 1, "b": {"c": "x", "d": [{"e": true}]}}"#);
        for (other, place) in [
            (r#"{"a": 1, "b": {"c": "x", "d": [{"e": true}]}}"#, None),
            (r#"{"b": {"d": [{"e": true}], "c": "x"}, "a": 1}"#, None),
            (r#"{"a": 2, "b": {"c": "x", "d": [{"e": true}]}}"#, None),
            (r#"{"a": 1, "b": {"d": [{"e": true}]}}"#, Some("b.c")),
            (r#"{"a": null, "b": {"c": "x", "d": [{"e": true}]}}"#, Some("a")),
            (r#"{"a": 1, "b": {"c": "x", "d": [{"e": false}]}}"#, Some("b.d.0.e")),
            (r#"{"a": 1, "b": {"c": "x", "d": []}}"#, Some("b.d")),
        ] {
            assert_eq!(loss(&whole, &json(other)).as_deref(), place, "{other}");
        }
        let set = json(r#"["a", "b", "c"]"#);
        assert_eq!(loss(&set, &json(r#"["c", "a", "b"]"#)), None);
    }

    #[test]
    fn values_of_one_shape_differ_in_nothing_that_a_type_reads_otherwise() {
        let shape = |text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
            shape(&bytes(&value)).expect("a value")
        };
        let one = shape(r#"{"a": 1, "b": ["x", "y"], "c": null}"#);
        assert_eq!(one, shape(r#"{"a": 70000, "b": ["z"], "c": null}"#));
        for other in [
            r#"{"a": 1.5, "b": ["x"], "c": null}"#,
            r#"{"a": 1, "b": ["x"], "c": false}"#,
            r#"{"a": 1, "b": ["x", 1], "c": null}"#,
            r#"{"a": 1, "b": ["x"], "d": null}"#,
            r#"{"a": 1, "b": ["x"]}"#,
        ] {
            assert_ne!(one, shape(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_a_panic(bytes: Vec<u8>) {
            let _ = shape(&bytes);
            if let Some(node) = parse(&bytes) {
                prop_assert_eq!(node.first_loss(&node), None);
            }
            let read = |bytes: &[u8]| (bytes.len() > 3).then(|| "too long".to_owned());
            blamed(&bytes, &read);
            lacking(&bytes, "x", &read);
        }
    }
}
