//! The order of limits: one that contains another must not be smaller.

use std::fmt;

use super::sources::{Source, Sources};
use super::{Config, ConfigError, Setting};

/// A key, its value, and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The setting's key.
    pub key: &'static str,
    /// The value as it would be written in a file.
    pub value: String,
    /// Source of the value.
    pub source: Source,
}

impl fmt::Display for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value, self.source)
    }
}

/// Settings of which the first must not be more than the second, and the consequence if it were.
/// The two of a pair have the same unit.
pub(super) const ORDERED: &[(&str, &str, &str)] = &[
    (
        "max_outbound_message_bytes",
        "outbound_queue_bytes",
        "such a message could never be delivered",
    ),
    (
        "max_outbound_message_bytes",
        "max_effect_bytes_per_event",
        "such a message could never be sent",
    ),
    (
        "max_effect_bytes_per_event",
        "outbound_queue_bytes",
        "one event could close a client that reads well",
    ),
    ("max_outbound_message_bytes", "hostcall_bytes", "such a message could never be sent"),
    ("max_store_value_bytes", "hostcall_bytes", "such a value could never be stored"),
    ("max_store_value_bytes", "max_store_bytes", "such a value could never be stored"),
    ("max_session_bytes", "hostcall_bytes", "such a session could never be returned"),
    ("max_room_state_bytes", "hostcall_bytes", "such a state could never be returned"),
    ("max_payload_bytes", "hostcall_bytes", "such a payload could never be posted"),
    ("max_payload_bytes", "inbox_bytes", "such a notice could never be posted"),
    ("max_payload_bytes", "room_inbox_bytes", "such an event could never be posted"),
    ("max_payload_bytes", "max_channel_inbox_bytes", "such an event could never be posted"),
    ("max_payload_bytes", "max_effect_bytes_per_event", "such a payload could never be posted"),
    ("max_memory_bytes", "max_channel_memory_bytes", "no instance could have what it is allowed"),
    ("max_message_bytes", "max_memory_bytes", "no plugin could hold such a message"),
    ("cpu_budget_ms", "wall_budget_ms", "the CPU time could never be used up"),
    (
        "reserved_instances_per_channel",
        "max_instances_per_channel",
        "the reserve is part of what a channel may have",
    ),
    (
        "max_presence_bytes",
        "max_room_presence_bytes",
        "there would be no room for a single one that is allowed",
    ),
    (
        "max_room_presence_bytes",
        "max_channel_presence_bytes",
        "no room could have what it is allowed",
    ),
    (
        "max_room_presence_bytes",
        "outbound_queue_bytes",
        "a watcher could not be sent who is present",
    ),
    ("settle_ms", "reconcile_ms", "the folder would be listed before a file can have settled"),
];

/// Settings that have no effect without another one, and the consequence of leaving that one out.
const DEPENDENT: &[(&str, &str, &str)] = &[
    ("tls_client_authorities", "tls", "clients show certificates in TLS only"),
    ("operator_tls_client_authorities", "operator_tls", "clients show certificates in TLS only"),
    ("proxy_protocol", "trusted_proxies", "no proxy would be asked for the client's address"),
];

impl Config {
    /// Checks the rules between values: a limit that contains another must not be smaller, and a setting that needs
    /// another must have it.
    pub(super) fn check(&self, sources: &Sources) -> Result<(), ConfigError> {
        let pair = |small, large| Some((Setting::find(small)?, Setting::find(large)?));
        let stated = |setting: &Setting| {
            let source = sources.of(setting.key).clone();
            Box::new(Stated { key: setting.key, value: setting.show(self), source })
        };
        for &(small, large, reason) in ORDERED {
            let Some((small, large)) = pair(small, large) else {
                continue;
            };
            if (small.show)(self).as_integer() > (large.show)(self).as_integer() {
                let (small, large) = (stated(small), stated(large));
                return Err(ConfigError::Contradiction { small, large, reason });
            }
        }
        let none = Config::default();
        let is_set = |setting: &Setting| setting.show(self) != setting.show(&none);
        for &(dependent, needed, reason) in DEPENDENT {
            let Some((dependent, needed)) = pair(dependent, needed) else { continue };
            if is_set(dependent) && !is_set(needed) {
                let (key, given) = (dependent.key.to_owned(), sources.of(dependent.key).clone());
                let reason = format!("it needs `{}`: {reason}", needed.key);
                return Err(ConfigError::Refused { key, given, reason });
            }
        }
        Ok(())
    }
}
