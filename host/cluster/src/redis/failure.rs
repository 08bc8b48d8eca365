//! The errors of the client, as reasons with an advice.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::{Reason, Unavailable, is_about_certificate};

/// Longest text of a server that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// Returns the reason of an error. The text of a server has no secret of this node in it.
pub(super) fn unavailable(error: &RedisError) -> Unavailable {
    let detail: String = error.detail().unwrap_or_default().chars().take(MAX_SHOWN).collect();
    let said = |sentence: &str| match detail.is_empty() {
        true => sentence.to_owned(),
        false => format!("{sentence} ({detail})"),
    };
    let reason = reason(error);
    let sentence = match reason {
        Reason::WrongPassword => "Redis refuses the user or the password".to_owned(),
        Reason::NotPermitted => said("Redis does not permit it"),
        Reason::ReadOnly => "the Redis server is a replica, which takes no writes".to_owned(),
        Reason::Full => said("Redis has no room left"),
        Reason::Busy => said("Redis is not ready"),
        Reason::TimedOut => return Unavailable::timed_out(),
        Reason::NotTrusted => return Unavailable::not_trusted(&shown(error)),
        Reason::LinkLost => format!("the link to Redis is down: {}", shown(error)),
        Reason::Damaged => said("an answer of Redis has an unknown form"),
        _ => format!("Redis says: {}", shown(error)),
    };
    Unavailable::new(reason, &sentence)
}

fn shown(error: &RedisError) -> String {
    let text = error.to_string();
    let text = text.strip_suffix('.').unwrap_or(&text);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SHOWN).collect()
}

fn reason(error: &RedisError) -> Reason {
    match error.code() {
        Some("NOAUTH" | "WRONGPASS") => return Reason::WrongPassword,
        Some("NOPERM") => return Reason::NotPermitted,
        Some("READONLY") => return Reason::ReadOnly,
        Some("OOM" | "MISCONF" | "NOREPLICAS") => return Reason::Full,
        Some("LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK" | "BUSY") => {
            return Reason::Busy;
        }
        _ => {}
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Reason::WrongPassword,
        ErrorKind::RESP3NotSupported => Reason::TooOld,
        ErrorKind::Server(ServerErrorKind::ReadOnly) => Reason::ReadOnly,
        ErrorKind::Server(ServerErrorKind::NoPerm) => Reason::NotPermitted,
        ErrorKind::ClusterConnectionNotFound | ErrorKind::MasterNameNotFoundBySentinel => {
            Reason::LinkLost
        }
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Reason::Damaged,
        _ if is_about_certificate(&error.to_string()) => Reason::NotTrusted,
        _ if error.is_timeout() => Reason::TimedOut,
        _ if error.is_io_error() || error.is_connection_dropped() => Reason::LinkLost,
        _ => Reason::Other,
    }
}
