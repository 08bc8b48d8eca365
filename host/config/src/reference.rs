//! All settings as text: the values in force, and the table for documents.

use super::sources::Sources;
use super::{Config, SETTINGS};

/// Returns all settings as Markdown, one table a group, as `docs/configuration.md` has them.
pub fn reference() -> String {
    let mut text = String::new();
    let mut group = "";
    for setting in SETTINGS {
        if setting.group != group {
            group = setting.group;
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!(
                "{gap}### {group}\n\n| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n"
            ));
        }
        text.push_str(&format!(
            "| `{}` | `{}` | {} | {} |\n",
            setting.key,
            setting.default(),
            setting.allowed(),
            setting.doc()
        ));
    }
    text
}

impl Config {
    /// Returns the whole configuration as a `wharf.toml`, with the source of each value as a
    /// comment. Saved as `wharf.toml` in the working directory it makes the same configuration,
    /// except for hidden secrets: they are shown as `***`, which is refused.
    pub fn effective(&self, sources: &Sources) -> String {
        let mut text = String::new();
        let mut group = "";
        for setting in SETTINGS {
            if setting.group != group {
                group = setting.group;
                let gap = if text.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}# {group}\n"));
            }
            let line = format!("{} = {}", setting.key, setting.show(self));
            text.push_str(&format!("{line:<44} # {}\n", sources.of(setting.key)));
        }
        if let Some(token) = &self.token {
            text.push_str(&token.effective("token", sources));
        }
        for (name, channel) in &self.channels {
            text.push_str(&channel.effective(name, sources));
        }
        text
    }
}
