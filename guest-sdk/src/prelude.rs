//! The items that nearly every channel uses: `use wharf::prelude::*;`.

pub use crate::audience::{to_all, to_room, to_rooms, to_user, to_users};
pub use crate::log::{debug, error, info, trace, warn};
pub use crate::presence::{presence_count, presence_list};
pub use crate::rooms::{
    broadcast_to_all, broadcast_to_room, broadcast_to_rooms, disconnect, reply_to, room_count,
    room_members, send_to,
};
pub use crate::users::{disconnect_user, is_online, send_to_user, send_to_users, user_connections};
pub use crate::{
    Channel, ChannelCalls, Connection, Context, Error, Fault, InReplyTo, Invalid, InvalidMessage,
    Json, Outgoing, Ref, Refusal, Request, Result, Room, Timer, TimerName,
};
pub use serde::{Deserialize, Serialize};
pub use serde_json::{Value, json};
