//! The operator's settings for this channel.

use crate::backend;
use crate::error::Result;

/// Returns a setting or a secret that this channel requires, as the operator wrote it for the
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
/// Numbers and switches are text: `setting("limit")?.parse()?`. A secret is replaced by `***` in
/// this plugin's lines of the host's log. The host does not keep the plugin from sending it to a
/// client: do not.
///
/// Errors: `setting-missing`, which tells the operator the setting to write, and its place.
pub fn setting(name: &str) -> Result<String> {
    Ok(backend::require_setting(name)?)
}

/// Returns the setting, if there is one: `optional_setting("greeting").unwrap_or_else(||
/// "hi".to_owned())`.
pub fn optional_setting(name: &str) -> Option<String> {
    backend::setting(name)
}
