//! The errors of the client and of JetStream, as reasons with an advice.

use async_nats::{ConnectError, ConnectErrorKind, RequestError, RequestErrorKind};

use crate::error::{Reason, Unavailable, is_about_certificate};

/// Longest text of a server that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// Returns the reason why no link could be made.
pub(super) fn not_connected(error: &ConnectError) -> Unavailable {
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            Unavailable::new(
                Reason::WrongPassword,
                "NATS refuses the user, the password or the token",
            )
        }
        ConnectErrorKind::TimedOut => Unavailable::timed_out(),
        _ if is_about_certificate(&error.to_string()) => {
            Unavailable::not_trusted(&shown(&error.to_string()))
        }
        _ => Unavailable::new(
            Reason::LinkLost,
            &format!("there is no link to NATS: {}", shown(&error.to_string())),
        ),
    }
}

/// Returns the reason why a request has no answer.
pub(super) fn unanswered(error: &RequestError) -> Unavailable {
    match error.kind() {
        RequestErrorKind::TimedOut => Unavailable::timed_out(),
        RequestErrorKind::NoResponders => Unavailable::new(
            Reason::NoJetStream,
            "no JetStream answers: it is switched off, or the stream has no server at present",
        ),
        RequestErrorKind::MaxPayloadExceeded => too_large(),
        _ => Unavailable::new(
            Reason::LinkLost,
            &format!("the link to NATS is down: {}", shown(&error.to_string())),
        ),
    }
}

/// Returns the reason of an error that JetStream has answered.
pub(super) fn refused(code: u64, description: &str) -> Unavailable {
    let description = shown(description);
    let said = |reason, sentence: &str| {
        Unavailable::new(reason, &format!("{sentence} ({description}, error {code})"))
    };
    match code {
        10_039 | 10_076 => said(Reason::NoJetStream, "the server has no JetStream for this user"),
        10_002 | 10_023 | 10_025 | 10_026 | 10_028 | 10_047 | 10_077 => {
            said(Reason::Full, "JetStream has no room left")
        }
        10_008 | 10_009 | 10_059 | 10_074 | 10_118 => said(Reason::Busy, "JetStream is not ready"),
        10_052 => said(Reason::Other, "JetStream refuses the settings of a stream"),
        10_054 => said(Reason::TooLarge, "the message is too large"),
        _ => said(Reason::Other, "JetStream refuses it"),
    }
}

/// Returns the reason for a message that the server would not take.
pub(super) fn too_large() -> Unavailable {
    Unavailable::new(
        Reason::TooLarge,
        "the message is larger than NATS carries (its setting `max_payload`)",
    )
}

fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SHOWN).collect()
}
