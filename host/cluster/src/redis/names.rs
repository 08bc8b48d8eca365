//! The names of things on the server.

/// Tags of the parts. Their slots are as far apart as can be, so that the parts are spread evenly over any number of
/// servers.
pub(super) const TAGS: [u8; 32] = [
    10, 117, 25, 7, 61, 76, 54, 43, 11, 116, 24, 6, 60, 77, 55, 42, 12, 115, 27, 5, 63, 74, 56, 41,
    13, 114, 26, 4, 62, 75, 57, 40,
];

/// A part of all names: those whose keys are on the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part(u8);

impl Part {
    /// Returns the part of a name.
    pub(super) fn of(name: &str) -> Part {
        // The function FNV-1a. It must never change: the names of all that is stored rest on it.
        let hash = name
            .bytes()
            .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let folded = hash ^ (hash >> 16);
        let at = usize::try_from(folded % 32).unwrap_or(0);
        Part(TAGS.get(at).copied().unwrap_or(0))
    }

    /// Returns all parts.
    pub(super) fn all() -> impl Iterator<Item = Part> {
        TAGS.into_iter().map(Part)
    }

    /// Returns the beginning of all names of the part.
    pub(super) fn base(self, prefix: &str) -> String {
        format!("{prefix}:{{{}}}:", self.0)
    }
}

/// Returns the name of something.
pub(super) fn name(prefix: &str, kind: char, name: &str) -> String {
    format!("{}{kind}:{name}", Part::of(name).base(prefix))
}

/// Returns the channel of a topic in a Cluster. All of them are on one server, so that what one node publishes keeps its
/// order over all topics.
pub(super) fn channel_in_cluster(prefix: &str, topic: &str) -> String {
    format!("{prefix}:{{{prefix}}}:t:{topic}")
}

/// Returns the topic of a channel.
pub(super) fn topic<'a>(prefix: &str, channel: &'a [u8]) -> Option<&'a str> {
    let rest = channel.strip_prefix(prefix.as_bytes())?.strip_prefix(b":{")?;
    let end = rest.iter().position(|byte| *byte == b'}')?;
    let topic = rest.get(end..)?.strip_prefix(b"}:t:")?;
    std::str::from_utf8(topic).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_gives_its_topic_back() {
        for text in ["room", "a}b{", "é", ":", "x:{1}:t:y"] {
            assert_eq!(topic("wharf", name("wharf", 't', text).as_bytes()), Some(text));
            assert_eq!(topic("wharf", channel_in_cluster("wharf", text).as_bytes()), Some(text));
        }
        for text in ["", "wharf:{", "wharf:{1}", "wharf:{1}:k:a", "other:{1}:t:a", "wharf2:{1}:t:a"]
        {
            assert_eq!(topic("wharf", text.as_bytes()), None);
        }
    }

    #[test]
    fn names_are_spread_over_all_parts() {
        let mut counts = std::collections::BTreeMap::new();
        for number in 0..3_200 {
            *counts.entry(Part::of(&format!("room-{number}"))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 32);
        assert!(counts.values().all(|count| (50..200).contains(count)), "{counts:?}");
    }
}
