//! The kinds of events that a guest is called for, by the names of their exports.

/// Makes [`EventKind`] from a list of `Variant = "name";`.
macro_rules! kinds {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal;)+) => {
        /// A kind of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum EventKind {
            $($(#[$doc])+ $variant,)+
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[EventKind] = &[$(EventKind::$variant),+];

            /// Returns the name of the export, for logs and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(EventKind::$variant => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A client wants to connect.
    Connect = "on-connect";
    /// A message.
    Message = "on-message";
    /// A ping.
    Ping = "on-ping";
    /// A pong.
    Pong = "on-pong";
    /// A notice of another handler, or of the operator.
    Notice = "on-notify";
    /// A timer of the connection.
    Timer = "on-timer";
    /// A failure.
    Fault = "on-fault";
    /// The connection has ended.
    Close = "on-close";
    /// An event that was posted to a room.
    Room = "on-room-event";
    /// A timer of a room.
    RoomTimer = "on-room-timer";
    /// Changes of a room's presence list.
    Presence = "on-presence";
    /// A timer of the channel.
    ChannelTimer = "on-channel-timer";
    /// A message from outside.
    Outside = "on-outside-message";
}
