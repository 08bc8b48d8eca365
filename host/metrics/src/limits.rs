//! The limits of the host, and a counter of each.

use crate::counter::Counter;

/// Makes [`Limit`] from a list of `Variant = "name", "what happens";`.
macro_rules! limits {
    ($($variant:ident = $name:literal, $about:literal;)+) => {
        /// A limit that makes the host refuse, delay or end something.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Limit {
            $(#[doc = $about] $variant,)+
        }

        impl Limit {
            /// Every limit.
            pub const ALL: &[Limit] = &[$(Limit::$variant),+];

            /// Returns the name, which is that of the setting where there is one.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Limit::$variant => $name,)+
                }
            }

            /// Returns the thing that is limited, and what happens at the limit.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Limit::$variant => $about,)+
                }
            }
        }

        /// The counters, in the order of the limits.
        static COUNTERS: [Counter; Limit::ALL.len()] = [const { Counter::new() }; Limit::ALL.len()];
    };
}

limits! {
    MaxConnections = "max_connections", "Connections of the host: a client was turned away.";
    MaxConnectionsPerChannel = "max_connections_per_channel", "Connections of a channel: a client was turned away.";
    MaxConnectionsPerAddress = "max_connections_per_address", "Connections of one address: a client was turned away.";
    PendingSockets = "pending_sockets", "Seats of sockets before their upgrade: the oldest one lost its seat.";
    HandshakeTimeout = "handshake_timeout_ms", "Time for a whole request: the socket was closed.";
    MaxHeaderBytes = "max_header_bytes", "Size of a request's head: it was refused.";
    MaxMessageBytes = "max_message_bytes", "Size of a client's message or frame: the connection was closed.";
    MessageTimeout = "message_timeout_ms", "Time for a whole message: the connection was closed.";
    KeepAliveTimeout = "keep_alive_timeout_ms", "Answer to a keep-alive ping: the connection was dropped.";
    MaxMessagesPerSecond = "max_messages_per_second", "Messages of a client in a second: reading paused.";
    OutboundQueueBytes = "outbound_queue_bytes", "Bytes that wait for a slow client: the connection was closed.";
    MaxClientBytes = "max_client_bytes", "Bytes that all clients together make the host hold: a connection was closed or refused.";
    Inbox = "inbox_events", "Notices that wait for a connection: the connection was closed, or the notice refused.";
    RoomInbox = "room_inbox_events", "Events that wait for a room: the event was refused.";
    MaxChannelInboxBytes = "max_channel_inbox_bytes", "Bytes that wait for all rooms of a channel: the event was refused.";
    InstanceWait = "instance_wait_ms", "Wait for an instance: the event was given up, or goes on waiting.";
    Budget = "cpu_budget_ms", "CPU time or elapsed time of an event: it was ended.";
    Memory = "max_memory_bytes", "Memory of an instance, or of all instances of a channel: the event was ended.";
    LogLines = "log_lines_per_second", "Lines of the log in a second: a line was dropped.";
    MaxHttpRequests = "max_http_requests_per_channel", "Outgoing HTTP requests of a channel at a time: the request was refused.";
    RateLimit = "rate_limit", "Rate limits that plugins set for their clients: the handler was told to wait.";
}

impl Limit {
    /// Counts that the limit was reached.
    pub fn reached(self) {
        self.reached_times(1);
    }

    /// Counts that the limit was reached so many times.
    pub fn reached_times(self, times: u64) {
        if let Some(counter) = COUNTERS.get(self as usize) {
            counter.add(times);
        }
    }

    /// Returns how often the limit was reached since the start of the process.
    pub fn count(self) -> u64 {
        COUNTERS.get(self as usize).map_or(0, Counter::get)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_limit_has_a_name_and_a_counter_of_its_own() {
        let names: BTreeSet<&str> = Limit::ALL.iter().map(|limit| limit.name()).collect();
        assert_eq!(names.len(), Limit::ALL.len());
        for (times, limit) in (1..).zip(Limit::ALL) {
            let before = limit.count();
            limit.reached_times(times);
            assert_eq!(limit.count(), before + times);
        }
    }
}
