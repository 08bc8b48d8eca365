//! The end of a connection: its reason, its close frame, and the remaining steps for the socket.

use wharf_contract::close::{Close, Reason};
use wharf_runtime::instance::Failure;

/// The end of a connection.
pub(super) struct Ending {
    pub(super) reason: Reason,
    /// Code and reason of the first close frame, sent or received.
    pub(super) code: Option<u16>,
    pub(super) text: String,
    /// Token and sentence for guests that handle faults.
    pub(super) fault: Option<(&'static str, String)>,
    pub(super) stream: StreamEnd,
}

/// The remaining steps for the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// Send a close frame and wait for the client's.
    Close,
    /// The client's close frame has been answered; only the queue remains to be written.
    Answered,
    /// Send a close frame; the client's input can no longer be understood.
    Broken,
    /// None: the socket is gone.
    Gone,
}

impl Ending {
    pub(super) fn of(reason: Reason) -> Ending {
        let stream = match reason {
            Reason::NetworkLost | Reason::KeepAliveTimeout => StreamEnd::Gone,
            Reason::ProtocolError
            | Reason::InvalidUtf8
            | Reason::MessageTooBig
            | Reason::MessageTimeout => StreamEnd::Broken,
            _ => StreamEnd::Close,
        };
        let text = match stream {
            StreamEnd::Gone => String::new(),
            _ => reason.token().to_owned(),
        };
        Ending { reason, code: reason.code(), text, fault: None, stream }
    }

    pub(super) fn asked_for(close: Close) -> Ending {
        let (code, text) = (Some(close.code), close.reason);
        Ending { code, text, ..Ending::of(Reason::ChannelClosed) }
    }

    /// Makes the end of a connection whose client broke a rule, or is gone, which is not a fault.
    pub(super) fn of_violation(reason: Reason, detail: String) -> Ending {
        let fault = reason.code().map(|_| (reason.token(), detail));
        Ending { fault, ..Ending::of(reason) }
    }

    pub(super) fn of_failure(failure: &Failure) -> Ending {
        let fault = Some((failure.kind.token(), failure.detail.clone()));
        Ending { fault, ..Ending::of(Reason::GuestFailure) }
    }
}
