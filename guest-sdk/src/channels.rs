//! Other channels of the same host.

use crate::backend;
use crate::error::Result;
use crate::outgoing::{Outgoing, encoded};

/// Sends to every member of a room of another channel, when the event commits. The operator has to
/// grant it, by the channel's name (the stem of its plugin's file):
///
/// ```toml
/// # wharf.toml
/// [channels.admin]
/// publish_to = ["news"]
/// ```
///
/// ```
/// # use wharf::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Admin;
///
/// #[wharf::channel]
/// impl Channel for Admin {
///     const PATHS: &[&str] = &["/admin"];
///
///     fn on_connect(_: &Connection) -> Result<Self, Refusal> {
///         Ok(Admin)
///     }
///
///     fn on_message(&mut self, _: &Connection, headline: String) -> Result {
///         wharf::publish("news", "front-page", json!({ "headline": headline }))
///     }
/// }
///
/// # use wharf::testing::TestHost;
/// let host = TestHost::new::<Admin>();
/// host.grant_publishing("news");
/// host.connect("/admin").expect_open().send("ships moored");
/// let published = host.published();
/// assert_eq!((&*published[0].channel, &*published[0].room), ("news", "front-page"));
/// assert_eq!(published[0].message.json(), json!({ "headline": "ships moored" }));
/// ```
///
/// The members see it among the room's own broadcasts, in one order. The other channel's code is
/// not called. A room without members is not an error.
///
/// Errors: `publish-not-granted`, with a detail that tells the operator how to grant it,
/// `unknown-channel` (granted, but not in service), `room-name-invalid`, `message-too-big`,
/// `too-many-effects`.
pub fn publish(channel: &str, room: &str, message: impl Outgoing) -> Result {
    encoded(&message, |kind, data| backend::publish(channel, room, kind, data))
}
