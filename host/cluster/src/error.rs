//! The reasons for which an engine cannot be used.

use std::sync::Arc;

/// The reason, of a closed set. Each has an advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The engine was closed. Nothing was done.
    Closed,
    /// The link is down, or broke before the answer.
    LinkLost,
    /// There was no answer in time.
    TimedOut,
    /// The bound of the queue is reached. Nothing was done.
    QueueFull,
    /// The message or the name is too large. Nothing was done.
    TooLarge,
    /// The server is a replica.
    ReadOnly,
    /// The user or the password is wrong.
    WrongPassword,
    /// The certificate of the server is not one that the settings trust.
    NotTrusted,
    /// The user may not do it.
    NotPermitted,
    /// The server has no memory or no disk left for it.
    Full,
    /// The server is too old.
    TooOld,
    /// The server has no JetStream.
    NoJetStream,
    /// The answer, or the record on the server, has no form that this version knows.
    Damaged,
    /// The server is busy: it starts, elects, or too many change the same record.
    Busy,
    /// The disk of this host refuses it.
    Disk,
    /// Another reason, which the server gave.
    Other,
}

impl Reason {
    /// Returns the advice for the operator; empty where there is none but to wait.
    pub const fn advice(self) -> &'static str {
        match self {
            Reason::Closed | Reason::Busy | Reason::Other | Reason::Disk => "",
            Reason::LinkLost => "is the server running, and does the address lead to it?",
            Reason::TimedOut => "look at the load of the server and the network",
            Reason::QueueFull => "wait until the link is back, or raise the bound of the queue",
            Reason::TooLarge => "send less at a time",
            Reason::ReadOnly => "give the address of the primary, or of Sentinel, or of a Cluster",
            Reason::WrongPassword => "correct the user and the password in the address",
            Reason::NotTrusted => {
                "name the certificate of its authority with `?ca=FILE`, and the server as its certificate does"
            }
            Reason::NotPermitted => {
                "allow the user the commands, keys and channels below the prefix"
            }
            Reason::Full => "raise `maxmemory` or the limits of JetStream, or free some of it",
            Reason::TooOld => "install Redis 7.0 or Valkey, or nats-server 2.11, or later",
            Reason::NoJetStream => "start nats-server with `--jetstream`",
            Reason::Damaged => "do other programs, or other versions, use the same prefix?",
        }
    }
}

/// The reason why an engine did not do something. Cheap to clone. It never has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}{}{}", if reason.advice().is_empty() { "" } else { "; " }, reason.advice())]
pub struct Unavailable {
    reason: Reason,
    sentence: Arc<str>,
}

impl Unavailable {
    /// Makes it from a sentence without a full stop.
    pub fn new(reason: Reason, sentence: &str) -> Unavailable {
        Unavailable { reason, sentence: Arc::from(sentence) }
    }

    /// Returns the reason.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    pub(crate) fn closed() -> Unavailable {
        Unavailable::new(Reason::Closed, "the engine is closed")
    }

    pub(crate) fn link_lost() -> Unavailable {
        Unavailable::new(Reason::LinkLost, "the link to the server is down")
    }

    pub(crate) fn timed_out() -> Unavailable {
        Unavailable::new(Reason::TimedOut, "the server has not answered in time")
    }

    pub(crate) fn not_trusted(error: &str) -> Unavailable {
        let sentence = format!("the certificate of the server is not trusted ({error})");
        Unavailable::new(Reason::NotTrusted, &sentence)
    }

    pub(crate) fn damaged(what: &str) -> Unavailable {
        Unavailable::new(Reason::Damaged, &format!("{what} has an unknown form"))
    }
}

/// Returns true for the text of an error of a client about the certificate of a server. Both clients have it from rustls,
/// and neither gives it as anything but text.
pub(crate) fn is_about_certificate(text: &str) -> bool {
    text.contains("invalid peer certificate")
}

impl From<wharf_engine::Unavailable> for Unavailable {
    fn from(why: wharf_engine::Unavailable) -> Unavailable {
        Unavailable::new(Reason::Disk, &why.to_string())
    }
}

/// The reason why an address or a setting is not valid. It never has a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigurationError(pub(crate) String);

/// The reason why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address or a setting is not valid.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// The folder cannot be used.
    #[error(transparent)]
    Disk(#[from] wharf_engine::OpenError),
    /// The server cannot be used.
    #[error("{server}: {why}")]
    Unavailable {
        /// The address, without secrets.
        server: String,
        /// The reason.
        why: Unavailable,
    },
}
