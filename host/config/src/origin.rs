//! Origins of pages and names of hosts, as browsers send them and as the operator allows them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// An origin (RFC 6454) in its normal form: lower case, without the port that the scheme implies,
/// without the dot after a full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Scheme, such as `https`, or `capacitor` for a page inside an app.
    pub scheme: String,
    /// Host; an IPv6 address has its brackets. Empty for some schemes of apps.
    pub host: String,
    /// Port; `None` for the scheme's default.
    pub port: Option<u16>,
}

impl Origin {
    /// Parses an `Origin` header. `None` for `null`, and for text that no browser sends.
    pub fn parse(text: &str) -> Option<Origin> {
        let (scheme, host, port) = split(text)?;
        let Port::One(port) = port else { return None };
        let is_host = if is_web(&scheme) { is_host(&host) } else { is_authority(&host) };
        is_host.then_some(Origin { scheme, host, port })
    }

    /// Parses the host and port that a request is for, as one of this scheme: behind a proxy that
    /// ends TLS the host does not know its own.
    pub fn of_host(scheme: &str, host: &str) -> Option<Origin> {
        Origin::parse(&format!("{scheme}://{host}")).filter(|origin| is_host(&origin.host))
    }

    /// Returns true for a page of the web, false for one inside an app.
    pub fn is_web(&self) -> bool {
        matches!(&*self.scheme, "http" | "https")
    }

    /// Returns true for this machine's own names and addresses.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match address {
            Some(address) => address.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback()),
            None => match self.host.parse::<Ipv4Addr>() {
                Ok(address) => address.is_loopback(),
                Err(_) => self.host == "localhost" || self.host.ends_with(".localhost"),
            },
        }
    }

    /// Returns true if nobody else can make the host's name lead to this machine: it is an address,
    /// or a name of the machine's own (RFC 6761, 6.3).
    pub fn cannot_be_rebound(&self) -> bool {
        self.host.starts_with('[') || self.host.parse::<Ipv4Addr>().is_ok() || self.is_loopback()
    }
}

/// Hosts, as the operator writes them: `*`, `example.com`, or `*.example.com` for every subdomain,
/// though not for `example.com` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Any host.
    Any,
    /// One host; an IPv6 address has its brackets.
    One(String),
    /// Every subdomain of a name.
    Subdomains(String),
}

impl HostPattern {
    /// Parses the operator's text; `None` if it names no host.
    pub fn parse(text: &str) -> Option<HostPattern> {
        if text == "*" {
            return Some(HostPattern::Any);
        }
        let host = normal(&text.to_ascii_lowercase())?;
        match host.strip_prefix("*.") {
            Some(parent) if is_name(parent) => Some(HostPattern::Subdomains(parent.to_owned())),
            Some(_) => None,
            None => is_host(&host).then_some(HostPattern::One(host)),
        }
    }

    /// Returns true for a host in its normal form that is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::One(one) => one == host,
            HostPattern::Subdomains(parent) => {
                let below = host.strip_suffix(parent.as_str()).and_then(|h| h.strip_suffix('.'));
                below.is_some_and(|label| !label.is_empty())
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::One(host) => f.write_str(host),
            HostPattern::Subdomains(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// Ports, as the operator writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Any port.
    Any,
    /// One port; `None` for the scheme's default.
    One(Option<u16>),
}

/// Origins whose pages may connect: `*`, `https://example.com`, `http://localhost:*`,
/// `https://*.example.com`, or `capacitor://localhost` for an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Any origin but `null`, which has a setting of its own.
    Any,
    /// The origins of a scheme, with these hosts and ports.
    Of {
        /// Scheme, in lower case.
        scheme: String,
        /// Hosts.
        host: HostPattern,
        /// Ports.
        port: Port,
    },
}

impl AllowedOrigin {
    /// Parses the operator's text; `None` if it is not an origin.
    pub fn parse(text: &str) -> Option<AllowedOrigin> {
        if text == "*" {
            return Some(AllowedOrigin::Any);
        }
        let (scheme, host, port) = split(text)?;
        let host = match is_web(&scheme) {
            true => HostPattern::parse(&host).filter(|host| *host != HostPattern::Any)?,
            false => is_authority(&host).then_some(HostPattern::One(host))?,
        };
        Some(AllowedOrigin::Of { scheme, host, port })
    }

    /// Returns true if pages of this origin may connect.
    pub fn matches(&self, origin: &Origin) -> bool {
        match self {
            AllowedOrigin::Any => true,
            AllowedOrigin::Of { scheme, host, port } => {
                *scheme == origin.scheme
                    && host.matches(&origin.host)
                    && (*port == Port::Any || *port == Port::One(origin.port))
            }
        }
    }

    /// Returns true if the operator has named this host, whatever the scheme and port.
    pub fn names(&self, host: &str) -> bool {
        match self {
            AllowedOrigin::Any => true,
            AllowedOrigin::Of { scheme, host: named, .. } => is_web(scheme) && named.matches(host),
        }
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AllowedOrigin::Of { scheme, host, port } = self else {
            return f.write_str("*");
        };
        write!(f, "{scheme}://{host}")?;
        match port {
            Port::Any => f.write_str(":*"),
            Port::One(Some(port)) => write!(f, ":{port}"),
            Port::One(None) => Ok(()),
        }
    }
}

/// Returns scheme, host and port in their normal forms.
fn split(text: &str) -> Option<(String, String, Port)> {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    // The colons of an IPv6 address are inside its brackets.
    let after_address = rest.rfind(']').map_or(0, |bracket| bracket + 1);
    let colon = rest.get(after_address..)?.find(':').map(|colon| after_address + colon);
    let (host, port) = match colon.and_then(|colon| rest.split_at_checked(colon)) {
        Some((host, ":*")) => (host, Port::Any),
        Some((host, port)) => {
            let digits = port.strip_prefix(':')?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse::<u16>().ok().filter(|_| is_number)?;
            (host, Port::One(Some(port)))
        }
        None => (rest, Port::One(None)),
    };
    let implied = match scheme {
        "http" | "ws" => Port::One(Some(80)),
        "https" | "wss" => Port::One(Some(443)),
        _ => Port::Any,
    };
    let port = if port == implied && port != Port::Any { Port::One(None) } else { port };
    let host = if is_web(scheme) { normal(host)? } else { host.to_owned() };
    is_scheme.then(|| (scheme.to_owned(), host, port))
}

/// Returns the normal form of a host in lower case; `None` for brackets without an address.
fn normal(host: &str) -> Option<String> {
    match host.strip_prefix('[') {
        Some(rest) => {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            Some(format!("[{address}]"))
        }
        None => Some(host.strip_suffix('.').unwrap_or(host).to_owned()),
    }
}

/// Returns true for the schemes whose origins have a host and a port.
fn is_web(scheme: &str) -> bool {
    matches!(scheme, "http" | "https" | "ws" | "wss")
}

/// Returns true for the part after `://` of an app's origin, such as an extension's identifier.
fn is_authority(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fn is_host(text: &str) -> bool {
    text.starts_with('[') || is_name(text)
}

/// Returns true for a host name. Browsers send one with other letters than these as `xn--…`.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
    };
    text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pattern: &str, origin: &str) -> bool {
        let origin = Origin::parse(origin);
        let allowed = AllowedOrigin::parse(pattern).expect(pattern);
        origin.is_some_and(|origin| allowed.matches(&origin))
    }

    #[test]
    fn origins_are_compared_as_browsers_write_them() {
        assert!(allowed("https://Example.com", "https://example.com"));
        assert!(allowed("https://example.com:443", "https://example.com"));
        assert!(allowed("https://example.com", "https://example.com."));
        assert!(allowed("http://localhost:3000", "http://localhost:3000"));
        assert!(allowed("http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000"));
        assert!(allowed("https://*.example.com", "https://a.b.example.com"));
        assert!(allowed("*", "https://whatever.example"));

        assert!(!allowed("*", "null"));
        assert!(!allowed("*", ""));
        assert!(!allowed("https://example.com", "http://example.com"));
        assert!(!allowed("https://example.com", "https://example.com:8443"));
        assert!(!allowed("https://example.com", "https://example.com.evil.test"));
        assert!(!allowed("https://*.example.com", "https://example.com"));
        assert!(!allowed("https://*.example.com", "https://evilexample.com"));
        assert!(!allowed("https://*.example.com", "https://.example.com"));
        assert!(!allowed("https://*.example.com", "https://evil.test/.example.com"));
    }

    #[test]
    fn a_star_in_place_of_the_port_allows_all_ports() {
        assert!(allowed("http://localhost:*", "http://localhost"));
        assert!(allowed("http://localhost:*", "http://localhost:5173"));
        assert!(!allowed("http://localhost:*", "https://localhost:5173"));
        assert!(!allowed("http://localhost:*", "http://localhost.evil.test:5173"));
    }

    #[test]
    fn pages_inside_apps_have_origins_of_other_schemes() {
        for origin in [
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "app://.",
            "file://",
            "chrome-extension://abcdefghijklmnop",
            "safari-web-extension://1B2C3D4E-0000-4000-8000-ABCDEF012345",
        ] {
            assert!(allowed(origin, origin), "{origin}");
            assert!(allowed("*", origin), "{origin}");
            assert!(!allowed("https://example.com", origin), "{origin}");
        }
        assert!(!allowed("capacitor://localhost", "capacitor://elsewhere"));
    }

    #[test]
    fn what_is_no_origin_cannot_be_allowed() {
        for text in [
            "",
            "example.com",
            "null",
            "https://",
            "https://example.com/",
            "https://example.com/path",
            "https://user@example.com",
            "https://example.com:",
            "https://example.com:+80",
            "https://example.com:99999",
            "https://example.com:*8",
            "https://*",
            "https://*.",
            "https://a.*.example.com",
            "https://exa mple.com",
            "https://bücher.example",
            "https://[::1",
            "https://[::1]x",
            "app://a/b",
            "://example.com",
        ] {
            assert_eq!(AllowedOrigin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn hosts_are_compared_without_port_and_case() {
        let matches = |pattern: &str, host: &str| {
            let host = Origin::of_host("http", host).expect(host);
            HostPattern::parse(pattern).expect(pattern).matches(&host.host)
        };
        assert!(matches("Example.com", "example.com:4000"));
        assert!(matches("*.example.com", "a.EXAMPLE.com."));
        assert!(matches("*", "anything.example"));
        assert!(!matches("example.com", "example.com.evil.test"));
        assert!(!matches("*.example.com", "example.com"));
        for text in ["", "https://example.com", "example.com:80", "a b", "*.", "[::1"] {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_and_names_of_this_machine_lead_nowhere_else() {
        let host = |text: &str| Origin::of_host("http", text).expect(text);
        for own in ["127.0.0.1:4000", "192.0.2.7", "[::1]:4000", "localhost", "a.localhost:1"] {
            assert!(host(own).cannot_be_rebound(), "{own}");
        }
        for other in ["example.com", "localhost.example", "127.0.0.1.example", "myhost"] {
            assert!(!host(other).cannot_be_rebound(), "{other}");
        }
        assert!(host("127.0.0.1").is_loopback() && host("[::1]").is_loopback());
        assert!(!host("192.0.2.7").is_loopback() && !host("[2001:db8::1]").is_loopback());
    }
}
