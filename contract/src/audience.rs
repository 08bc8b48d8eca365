//! The bounds of an audience: rooms, users, exceptions, labels.

use crate::refusal::CallRefusal;

/// Largest number of rooms and users that one broadcast may name, and of connections and users that
/// it may except.
pub const MAX_NAMES: usize = 256;
/// Largest number of labels that one broadcast may require.
pub const MAX_CONDITIONS: usize = 8;
/// Largest number of audiences that an instance may hold at a time.
pub const MAX_AUDIENCES: usize = 16;

/// The size of an audience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Rooms and users that it names.
    pub names: usize,
    /// Connections and users that it excepts.
    pub exceptions: usize,
    /// Labels that it requires.
    pub conditions: usize,
}

impl Size {
    /// Checks that the audience is not too big.
    ///
    /// # Errors
    ///
    /// `audience-too-big`.
    pub fn check(self) -> Result<(), CallRefusal> {
        let Size { names, exceptions, conditions } = self;
        match names <= MAX_NAMES && exceptions <= MAX_NAMES && conditions <= MAX_CONDITIONS {
            true => Ok(()),
            false => Err(CallRefusal::AudienceTooBig),
        }
    }
}

/// Checks the number of rooms that one broadcast names.
///
/// # Errors
///
/// `too-many-rooms`.
pub fn check_rooms(rooms: usize) -> Result<(), CallRefusal> {
    if rooms <= MAX_NAMES { Ok(()) } else { Err(CallRefusal::TooManyRoomsNamed) }
}

/// Checks the number of users that one message names.
///
/// # Errors
///
/// `too-many-users`.
pub fn check_users(users: usize) -> Result<(), CallRefusal> {
    if users <= MAX_NAMES { Ok(()) } else { Err(CallRefusal::TooManyUsersNamed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_may_be_as_big_as_the_limits_say() {
        let size = Size { names: MAX_NAMES, exceptions: MAX_NAMES, conditions: MAX_CONDITIONS };
        assert_eq!(size.check(), Ok(()));
        for bigger in [
            Size { names: MAX_NAMES + 1, ..size },
            Size { exceptions: MAX_NAMES + 1, ..size },
            Size { conditions: MAX_CONDITIONS + 1, ..size },
        ] {
            assert_eq!(bigger.check(), Err(CallRefusal::AudienceTooBig));
        }
        assert_eq!(check_rooms(MAX_NAMES), Ok(()));
        assert_eq!(check_rooms(MAX_NAMES + 1), Err(CallRefusal::TooManyRoomsNamed));
        assert_eq!(check_users(MAX_NAMES + 1), Err(CallRefusal::TooManyUsersNamed));
    }
}
