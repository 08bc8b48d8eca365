//! What the operator sets for this channel.

use crate::backend;
use crate::error::Result;

/// A setting or a secret that this channel cannot do without, as the operator wrote it for the
/// plugin `chat` into `wharf.toml`:
///
/// ```toml
/// [channels.chat.settings]
/// greeting = "hello"
///
/// [channels.chat.secrets]
/// jwt_secret = { env = "CHAT_JWT_SECRET" }
/// ```
///
/// ```
/// # use wharf::prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Chat;
///
/// #[wharf::channel]
/// impl Channel for Chat {
///     const PATHS: &[&str] = &["/chat"];
///
///     fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
///         conn.send(wharf::setting("greeting")?)?;
///         Ok(Chat)
///     }
/// }
///
/// # use wharf::testing::TestHost;
/// let host = TestHost::new::<Chat>();
/// host.set_setting("greeting", "hello");
/// host.connect("/chat").expect_open().assert_received("hello");
/// ```
///
/// Numbers and switches are text: `setting("limit")?.parse()?`. What is a secret is replaced by
/// `***` wherever the host logs what this plugin says, but it may be sent to a client: do not.
///
/// Errors: `setting-missing`, which tells the operator what to write and where.
pub fn setting(name: &str) -> Result<String> {
    Ok(backend::require_setting(name)?)
}

/// The same where there is a default:
/// `optional_setting("greeting").unwrap_or_else(|| "hi".to_owned())`.
pub fn optional_setting(name: &str) -> Option<String> {
    backend::setting(name)
}
