//! The origin of a page, and the host that a client means to speak to.
//!
//! A page of a foreign origin could act in its visitor's name. A page of the host's own may connect,
//! but a name is the host's only if the operator says so, or if it cannot be another's: the owner of
//! any other name could let it lead here (DNS rebinding) and serve a page under it.

use hyper::Request;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use wharf_config::{Config, Origin};
use wharf_contract::handshake::TurnedAway;
use wharf_contract::text::{cut, escape};
use wharf_hub::remote::Remote;

use super::upgrade::only;
use crate::reply::MAX_SHOWN_BYTES;

/// Returns the host and port that a request is for: those of its target, which wins (RFC 9112,
/// 3.2.2), or of its `Host`; empty if there is none.
pub(crate) fn host<B>(request: &Request<B>) -> &str {
    let header = || only(request.headers(), &HOST).and_then(|host| str::from_utf8(host).ok());
    let target = request.uri().authority().map(|authority| authority.as_str());
    target.or_else(header).unwrap_or_default()
}

/// Returns true if a request is for the host under a name of its own. No name is none of another's.
pub(crate) fn is_own(config: &Config, host: &str) -> bool {
    host.is_empty() || Origin::of_host("http", host).is_some_and(|named| is_known(config, &named))
}

fn is_known(config: &Config, named: &Origin) -> bool {
    named.cannot_be_rebound()
        || config.allowed_hosts.iter().any(|own| own.matches(&named.host))
        || config.allowed_origins.iter().any(|allowed| allowed.names(&named.host))
}

/// Checks the origin of a page, which browsers send. Other clients mostly send none.
///
/// # Errors
///
/// Pages of that origin may not connect.
pub(super) fn check(config: &Config, host: &str, headers: &HeaderMap) -> Result<(), TurnedAway> {
    let mut given = headers.get_all(ORIGIN).iter();
    let Some(origin) = given.next() else {
        return if config.require_origin { Err(TurnedAway::OriginRequired) } else { Ok(()) };
    };
    if given.next().is_some() {
        return Err(TurnedAway::SeveralOrigins);
    }
    let origin = origin.to_str().map_err(|_| TurnedAway::OriginNotAscii)?;
    if origin == "null" {
        return if config.allow_null_origin { Ok(()) } else { Err(TurnedAway::NullOrigin) };
    }
    let origin = Origin::parse(origin).ok_or(TurnedAway::Origin)?;
    if config.allowed_origins.iter().any(|allowed| allowed.matches(&origin)) {
        return Ok(());
    }
    if is_of_host(config, host, &origin) { Ok(()) } else { Err(TurnedAway::Origin) }
}

/// Returns true if a request comes from a page of the host itself, by its one `Origin`.
pub(crate) fn is_own_page(config: &Config, host: &str, headers: &HeaderMap) -> bool {
    let origin = only(headers, &ORIGIN).and_then(|origin| str::from_utf8(origin).ok());
    origin.and_then(Origin::parse).is_some_and(|origin| is_of_host(config, host, &origin))
}

fn is_of_host(config: &Config, host: &str, origin: &Origin) -> bool {
    Origin::of_host(&origin.scheme, host).is_some_and(|own| {
        let is_same = own.host == origin.host
            // All names of this machine mean this host, while it can be reached from here only.
            || (config.is_local() && own.is_loopback() && origin.is_loopback());
        origin.is_web() && is_same && own.port == origin.port && is_known(config, &own)
    })
}

/// Logs a refused origin, with the host that it was compared with.
pub(super) fn log_refused(remote: Remote, host: &str, headers: &HeaderMap, why: &TurnedAway) {
    let origin = headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()));
    let origin = origin.unwrap_or_default();
    let (origin, host) = (cut(&origin, MAX_SHOWN_BYTES), cut(host, MAX_SHOWN_BYTES));
    let same_host = Origin::parse(origin).is_some_and(|origin| {
        Origin::of_host(&origin.scheme, host).is_some_and(|own| own == origin)
    });
    let see = match why {
        TurnedAway::NullOrigin => "allow_null_origin",
        TurnedAway::OriginRequired => "require_origin",
        _ if same_host => "allowed_hosts, for names of this host",
        _ => "allowed_origins",
    };
    let (origin, host) = (escape(origin), escape(host));
    tracing::info!(%remote, origin, host, "origin refused; see {see}");
}
