//! The origins of pages that may connect, as the operator writes them.

use std::fmt;

/// An origin (RFC 6454) that may connect: `*`, `https://example.com`, `http://localhost:3000`, or
/// `https://*.example.com` for every subdomain, though not for `example.com` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// Any origin but `null`, which has a setting of its own.
    Any,
    /// One origin.
    One {
        /// Scheme, in lower case.
        scheme: String,
        /// Host in lower case; an IPv6 address has its brackets.
        host: String,
        /// Port; `None` for the scheme's default.
        port: Option<u16>,
    },
    /// Every subdomain of a host.
    Subdomains {
        /// Scheme, in lower case.
        scheme: String,
        /// The host below which they are, in lower case.
        parent: String,
        /// Port; `None` for the scheme's default.
        port: Option<u16>,
    },
}

impl AllowedOrigin {
    /// Parses the operator's text; `None` if it is not an origin.
    pub fn parse(text: &str) -> Option<AllowedOrigin> {
        if text == "*" {
            return Some(AllowedOrigin::Any);
        }
        let (scheme, host, port) = split(text)?;
        match host.strip_prefix("*.") {
            Some(parent) if is_name(parent) => {
                Some(AllowedOrigin::Subdomains { scheme, parent: parent.to_owned(), port })
            }
            Some(_) => None,
            None => is_host(&host).then_some(AllowedOrigin::One { scheme, host, port }),
        }
    }

    /// Returns true if a request with this `Origin` header is allowed.
    pub fn matches(&self, origin: &str) -> bool {
        let Some((scheme, host, port)) = split(origin).filter(|(_, host, _)| is_host(host)) else {
            return false;
        };
        match self {
            AllowedOrigin::Any => true,
            AllowedOrigin::One { scheme: s, host: h, port: p } => {
                (s, h, p) == (&scheme, &host, &port)
            }
            AllowedOrigin::Subdomains { scheme: s, parent, port: p } => {
                let below = host.strip_suffix(parent.as_str()).and_then(|h| h.strip_suffix('.'));
                (s, p) == (&scheme, &port) && below.is_some_and(|label| !label.is_empty())
            }
        }
    }

    /// Returns true if an `Origin` is the host that the request's `Host` header names, with any
    /// scheme: behind a proxy that ends TLS the server does not know its own.
    pub fn is_same_host(origin: &str, host_header: &str) -> bool {
        let Some((scheme, host, port)) = split(origin) else {
            return false;
        };
        // The header is split with the origin's scheme, whose default port is then left out of
        // both.
        split(&format!("{scheme}://{host_header}"))
            .is_some_and(|(_, same, same_port)| (same, same_port) == (host, port))
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = match self {
            AllowedOrigin::Any => return f.write_str("*"),
            AllowedOrigin::One { scheme, host, port } => {
                write!(f, "{scheme}://{host}")?;
                port
            }
            AllowedOrigin::Subdomains { scheme, parent, port } => {
                write!(f, "{scheme}://*.{parent}")?;
                port
            }
        };
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Returns scheme, host and port in lower case, without the port that the scheme implies.
fn split(text: &str) -> Option<(String, String, Option<u16>)> {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    // The colons of an IPv6 address are inside its brackets.
    let after_address = rest.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match rest[after_address..].find(':') {
        Some(colon) => {
            let (host, port) = rest.split_at(after_address + colon);
            let digits = &port[1..];
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            (host, Some(digits.parse::<u16>().ok().filter(|_| is_number)?))
        }
        None => (rest, None),
    };
    let implied = match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    let port = port.filter(|port| Some(*port) != implied);
    is_scheme.then(|| (scheme.to_owned(), host.to_owned(), port))
}

fn is_host(text: &str) -> bool {
    let address = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(text),
    }
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
