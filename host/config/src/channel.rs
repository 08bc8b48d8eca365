//! The operator's table for one channel: its settings, its secrets, and its grants.

use std::collections::BTreeMap;
use std::fmt;

use super::sources::Sources;
use super::tables::history::written;
use super::token::ChannelToken;
use super::{Config, Secrets};
use wharf_contract::history::HistoryRule;

/// The table `[channels.NAME]` of one channel; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChannelConfig {
    /// Settings that its plugin reads, by name. No name is also that of a secret.
    pub settings: BTreeMap<String, String>,
    /// Settings that its plugin reads and that are never shown, by name.
    pub secrets: Secrets,
    /// The channels and hosts that it may reach besides its own connections.
    pub grants: Grants,
    /// The tokens that its clients must bring.
    pub token: ChannelToken,
    /// The limits that it has in place of the host's.
    pub limits: ChannelLimits,
    /// The messages that its rooms keep, by the first rule that covers a room. Key `history`.
    pub history: Vec<HistoryRule>,
}

/// The key of [`ChannelConfig::history`].
pub(super) const HISTORY: &str = "history";
/// The key of [`ChannelLimits::connections`].
pub(super) const CONNECTIONS: &str = "max_connections_per_channel";
/// The key of [`ChannelLimits::messages_per_second`].
pub(super) const MESSAGES: &str = "max_messages_per_second";

/// The limits that a channel has in place of the host's, whose keys they have; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Key `max_connections_per_channel`.
    pub connections: Option<usize>,
    /// Key `max_messages_per_second`.
    pub messages_per_second: Option<usize>,
}

impl ChannelConfig {
    /// Returns the number of connections that the channel may have on a host with this
    /// configuration; 0 if only the host's limit counts.
    pub fn max_connections(&self, host: &Config) -> usize {
        self.limits.connections.unwrap_or(host.max_connections_per_channel)
    }

    /// Returns the number of messages that a client of the channel may send in a second on such a
    /// host; 0 if there is no limit.
    pub fn max_messages_per_second(&self, host: &Config) -> usize {
        self.limits.messages_per_second.unwrap_or(host.max_messages_per_second)
    }
}

impl ChannelConfig {
    /// Returns the value of a setting or a secret.
    pub fn setting(&self, name: &str) -> Option<&str> {
        let secret = || Some(self.secrets.get(name)?.expose());
        self.settings.get(name).map(String::as_str).or_else(secret)
    }

    /// Returns its tables as they are written in a `wharf.toml`, with the source of each value.
    pub(super) fn effective(&self, name: &str, sources: &Sources) -> String {
        let table = format!("channels.{}", key(name));
        let list = |name: &str, items: Vec<String>| {
            let items: Vec<_> = items.into_iter().map(toml::Value::String).collect();
            (!items.is_empty()).then(|| (name.to_owned(), toml::Value::Array(items)))
        };
        let hosts = self.grants.http_hosts.iter().map(AllowedHost::to_string).collect();
        let number = |name: &str, value: Option<usize>| {
            let value = i64::try_from(value?).unwrap_or(i64::MAX);
            Some((name.to_owned(), toml::Value::Integer(value)))
        };
        let off = || ("token".to_owned(), toml::Value::Boolean(false));
        let own = [
            list("http_hosts", hosts),
            list("publish_to", self.grants.publish_to.clone()),
            number(CONNECTIONS, self.limits.connections),
            number(MESSAGES, self.limits.messages_per_second),
            self.history(),
            (self.token == ChannelToken::Off).then(off),
        ];
        let settings = self.settings.iter();
        let settings = settings.map(|(name, value)| (name.clone(), value.clone().into()));
        let secrets = self.secrets.iter();
        let secrets = secrets.map(|(name, secret)| (name.to_owned(), secret.as_toml()));
        let token = match &self.token {
            ChannelToken::Own(token) => token.effective(&format!("{table}.token"), sources),
            ChannelToken::Inherited | ChannelToken::Off => String::new(),
        };
        let text = [
            section(&table, own.into_iter().flatten().collect(), sources),
            section(&format!("{table}.settings"), settings.collect(), sources),
            section(&format!("{table}.secrets"), secrets.collect(), sources),
            token,
        ]
        .concat();
        // A table without anything in it is there all the same.
        if text.is_empty() { format!("\n[{table}]\n") } else { text }
    }
}

impl ChannelConfig {
    fn history(&self) -> Option<(String, toml::Value)> {
        let rules = match &*self.history {
            [] => return None,
            [rule] => written(rule),
            rules => toml::Value::Array(rules.iter().map(written).collect()),
        };
        Some((HISTORY.to_owned(), rules))
    }
}

/// Returns a table as it is written in a `wharf.toml`, with the source of each value; empty if the
/// table is.
pub(super) fn section(
    heading: &str,
    lines: Vec<(String, toml::Value)>,
    sources: &Sources,
) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("\n[{heading}]\n");
    for (name, value) in lines {
        let source = sources.of(&format!("{heading}.{name}"));
        text.push_str(&format!("{:<44} # {source}\n", format!("{name} = {value}")));
    }
    text
}

/// The hosts and channels that a channel may reach besides its own connections: none, unless the
/// operator grants it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grants {
    /// Hosts that it may send HTTP requests to. Key `http_hosts`.
    pub http_hosts: Vec<AllowedHost>,
    /// Channels to whose rooms it may publish. Key `publish_to`.
    pub publish_to: Vec<String>,
}

impl Grants {
    /// Returns true if it may send HTTP requests to this host (a name, or an IP address without
    /// brackets) and port.
    pub fn may_call(&self, host: &str, port: u16) -> bool {
        self.http_hosts.iter().any(|allowed| allowed.fits(host, port))
    }

    /// Returns true if it may publish to the rooms of this channel.
    pub fn may_publish_to(&self, channel: &str) -> bool {
        self.publish_to.iter().any(|granted| granted == channel)
    }

    /// Returns the change to the configuration that lets this channel call a host, in a sentence.
    pub fn how_to_allow_call(&self, channel: &str, host: &str, port: u16) -> String {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let host = match port {
            80 | 443 => host,
            _ => format!("{host}:{port}"),
        };
        let hosts = self.http_hosts.iter().map(AllowedHost::to_string).chain([host]);
        in_list(channel, "http_hosts", hosts)
    }

    /// Returns the change to the configuration that lets this channel publish to another, in a
    /// sentence.
    pub fn how_to_allow_publishing(&self, channel: &str, to: &str) -> String {
        let channels = self.publish_to.iter().cloned().chain([to.to_owned()]);
        in_list(channel, "publish_to", channels)
    }
}

/// Returns the whole list, including the items that are granted already.
fn in_list(channel: &str, list: &str, items: impl Iterator<Item = String>) -> String {
    let line = toml::Value::Array(items.map(toml::Value::String).collect());
    format!(
        "to allow it, write `{list} = {line}` under `[channels.{}]` in wharf.toml, and restart",
        key(channel)
    )
}

/// A host that a channel may send HTTP requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// Name or address in lower case; an IPv6 address without its brackets.
    host: String,
    /// True if it stands for all subdomains of `host`, without `host` itself.
    subdomains: bool,
    /// Port; `None` for those of HTTP and HTTPS.
    port: Option<u16>,
}

impl AllowedHost {
    /// Parses `api.example.com`, `api.example.com:8080`, `*.example.com`, `127.0.0.1:8080` or
    /// `[::1]:8080`.
    pub fn parse(text: &str) -> Option<AllowedHost> {
        let text = text.trim();
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, Some(port).filter(|port| !port.is_empty()))
            }
            None => match text.split_once(':') {
                Some((host, _)) => (host, text.get(host.len()..)),
                None => (text, None),
            },
        };
        let port = match port {
            Some(port) => Some(port.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?),
            None => None,
        };
        let (host, subdomains) = match host.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (host, false),
        };
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let is_host = text.starts_with('[') || host.split('.').all(is_label);
        is_host.then(|| AllowedHost { host: host.to_ascii_lowercase(), subdomains, port })
    }

    /// Returns what stands for every host, on every port. No configuration can say so; a test host does,
    /// whose channels reach nothing outside of it.
    pub fn any() -> AllowedHost {
        // No host's name is empty.
        AllowedHost { host: String::new(), subdomains: true, port: None }
    }

    fn fits(&self, host: &str, port: u16) -> bool {
        if *self == AllowedHost::any() {
            return true;
        }
        let fits_port = match self.port {
            Some(allowed) => port == allowed,
            None => port == 80 || port == 443,
        };
        let host = host.trim_end_matches('.');
        let fits_host = match self.subdomains {
            false => host.eq_ignore_ascii_case(&self.host),
            true => {
                let at = host.len().checked_sub(self.host.len());
                let parts = at.and_then(|at| host.split_at_checked(at));
                parts.is_some_and(|(sub, domain)| {
                    sub.len() > 1 && sub.ends_with('.') && domain.eq_ignore_ascii_case(&self.host)
                })
            }
        };
        fits_port && fits_host
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.subdomains, self.host.contains(':')) {
            (true, _) if self.host.is_empty() => f.write_str("*")?,
            (true, _) => write!(f, "*.{}", self.host)?,
            (false, true) => write!(f, "[{}]", self.host)?,
            (false, false) => f.write_str(&self.host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Returns the change to the configuration that gives a channel a setting, in a sentence.
pub fn how_to_set(channel: &str, name: &str) -> String {
    let fold = fold(channel);
    let variable = format!("WHARF_CHANNELS__{fold}__SETTINGS__{name}").to_uppercase();
    let channel = key(channel);
    format!(
        "write `{} = \"…\"` under `[channels.{channel}.settings]` in wharf.toml (under \
         `[channels.{channel}.secrets]` if it must not be shown), or set {variable}, and restart",
        key(name),
    )
}

/// Returns a channel's name as a key of a TOML file.
pub fn key(name: &str) -> String {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match !name.is_empty() && name.bytes().all(is_bare) {
        true => name.to_owned(),
        false => toml::Value::String(name.to_owned()).to_string(),
    }
}

/// Returns true if two names are those of one channel in the configuration. Letters may differ in
/// case, and `-` and `_` are the same, since a variable's name can hold neither lower case nor `-`.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    fold(one) == fold(other)
}

/// Returns the common form of all spellings of a channel's name.
pub(super) fn fold(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_call(allowed: &str, host: &str, port: u16) -> bool {
        let http_hosts = vec![AllowedHost::parse(allowed).expect(allowed)];
        Grants { http_hosts, ..Grants::default() }.may_call(host, port)
    }

    #[test]
    fn a_host_is_allowed_with_its_port_and_no_other() {
        assert!(may_call("api.example.com", "API.example.com", 443));
        assert!(may_call("api.example.com", "api.example.com.", 80));
        assert!(!may_call("api.example.com", "api.example.com", 8080));
        assert!(may_call("127.0.0.1:8080", "127.0.0.1", 8080));
        assert!(!may_call("127.0.0.1:8080", "127.0.0.1", 80));
        assert!(may_call("[::1]:8080", "::1", 8080));
        assert!(!may_call("example.com", "api.example.com", 443));
        assert!(!may_call("example.com", "notexample.com", 443));
    }

    #[test]
    fn a_star_stands_for_subdomains_only() {
        assert!(may_call("*.example.com", "a.b.example.com", 443));
        for host in ["example.com", ".example.com", "notexample.com", "example.com.evil", "é.com"]
        {
            assert!(!may_call("*.example.com", host, 443), "{host}");
        }
    }

    #[test]
    fn any_host_is_every_host_on_every_port() {
        let grants = Grants { http_hosts: vec![AllowedHost::any()], ..Grants::default() };
        assert!(grants.may_call("api.example.com", 8080) && grants.may_call("::1", 1));
        assert_eq!(AllowedHost::any().to_string(), "*");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in
            ["", "*", "*.", "a..b", "http://a", "a/b", "a:", "a:0", "a:99999", "[::1", "::1", "a b"]
        {
            assert_eq!(AllowedHost::parse(text), None, "{text:?}");
        }
        for text in ["a", "*.a.b", "a:1", "[::1]", "[::1]:2", "10.0.0.1"] {
            assert_eq!(
                AllowedHost::parse(text).map(|host| host.to_string()).as_deref(),
                Some(text)
            );
        }
    }

    #[test]
    fn how_to_allow_something_is_a_line_for_the_file() {
        let text = Grants::default().how_to_allow_call("my chat", "::1", 8080);
        assert!(
            text.contains("`http_hosts = [\"[::1]:8080\"]` under `[channels.\"my chat\"]`"),
            "{text}"
        );
        let grants = Grants {
            http_hosts: vec![AllowedHost::parse("*.example.com:81").expect("a host")],
            ..Grants::default()
        };
        let text = grants.how_to_allow_call("chat", "a.example", 443);
        assert!(text.contains("`http_hosts = [\"*.example.com:81\", \"a.example\"]`"), "{text}");
        let text = grants.how_to_allow_publishing("chat", "news");
        assert!(text.contains("`publish_to = [\"news\"]` under `[channels.chat]`"), "{text}");
    }
}
