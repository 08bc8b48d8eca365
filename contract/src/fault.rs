//! The failures of a handler that it did not return.

use crate::sentences::sentences;

/// The kind of a failed guest call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The guest trapped, mostly by a panic.
    Trap,
    /// It used up its CPU time or its elapsed time.
    Deadline,
    /// It asked for more memory than it may have, and gave up.
    OutOfMemory,
    /// The session that earlier code wrote does not fit the code.
    SessionUnreadable,
    /// The session that it returned is larger than the host keeps.
    SessionTooBig,
    /// The room's state that it returned is larger than the host keeps.
    RoomStateTooBig,
}

impl Fault {
    /// Every kind, for tables and tests.
    pub const ALL: [Fault; 6] = [
        Fault::Trap,
        Fault::Deadline,
        Fault::OutOfMemory,
        Fault::SessionUnreadable,
        Fault::SessionTooBig,
        Fault::RoomStateTooBig,
    ];

    /// Returns the token that guests and logs see.
    pub const fn token(self) -> &'static str {
        match self {
            Fault::Trap => "trap",
            Fault::Deadline => "deadline",
            Fault::OutOfMemory => "out-of-memory",
            Fault::SessionUnreadable => "session-unreadable",
            Fault::SessionTooBig => "session-too-big",
            Fault::RoomStateTooBig => "room-state-too-big",
        }
    }
}

sentences! {
    /// The reason why the host does not keep a handler's result.
    pub enum TooBig {
        /// A session.
        Session { bytes: usize, limit: usize } =
            "the session has {bytes} bytes; max_session_bytes is {limit}";
        /// The state of one room.
        RoomState { bytes: usize, limit: usize } =
            "the room's state has {bytes} bytes; max_room_state_bytes is {limit}";
        /// The states of all rooms.
        ChannelState { limit: usize } =
            "the rooms of this channel have no more than max_channel_state_bytes ({limit}) of state \
             together";
    }
}

impl TooBig {
    /// Returns the kind of failure that it is.
    pub const fn fault(&self) -> Fault {
        match self {
            TooBig::Session { .. } => Fault::SessionTooBig,
            TooBig::RoomState { .. } | TooBig::ChannelState { .. } => Fault::RoomStateTooBig,
        }
    }

    /// Checks the size of a session; `limit` is `max_session_bytes`.
    ///
    /// # Errors
    ///
    /// It is larger.
    pub fn check_session(bytes: usize, limit: usize) -> Result<(), TooBig> {
        if bytes <= limit { Ok(()) } else { Err(TooBig::Session { bytes, limit }) }
    }

    /// Checks the size of a room's state; `limit` is `max_room_state_bytes`.
    ///
    /// # Errors
    ///
    /// It is larger.
    pub fn check_room_state(bytes: usize, limit: usize) -> Result<(), TooBig> {
        if bytes <= limit { Ok(()) } else { Err(TooBig::RoomState { bytes, limit }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_big_is_said_with_its_size_and_its_limit() {
        assert_eq!(TooBig::check_session(5, 5), Ok(()));
        let too_big = TooBig::check_session(6, 5).expect_err("too big");
        assert_eq!(too_big.to_string(), "the session has 6 bytes; max_session_bytes is 5");
        assert_eq!(too_big.fault().token(), "session-too-big");
        let too_big = TooBig::check_room_state(6, 5).expect_err("too big");
        assert_eq!(too_big.fault(), Fault::RoomStateTooBig);
    }
}
