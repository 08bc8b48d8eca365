//! The channels that `wharf new` can begin with.

/// Files of every new crate besides the channel's own. In all files `NAME` stands for the crate's name.
pub(super) const COMMON: [(&str, &str); 3] = [
    ("Cargo.toml", include_str!("../../template/Cargo.toml.in")),
    (".gitignore", include_str!("../../template/gitignore.in")),
    ("README.md", include_str!("../../template/README.md.in")),
];

/// A channel to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its use, in a few words.
    pub about: &'static str,
    /// The path that a client connects to.
    pub(super) path: &'static str,
    /// A message of a client, as an expression in JavaScript.
    pub(super) message: &'static str,
    library: &'static str,
    tests: &'static str,
    /// Name of the example plugin that its code is, which stands in the code in place of `NAME`.
    plugin: Option<&'static str>,
    /// Settings that it needs, for `wharf.toml`.
    configuration: Option<&'static str>,
}

/// All of them. The first one is the default.
pub const TEMPLATES: [Template; 4] = [
    Template {
        name: "chat",
        about: "a room where people talk",
        path: "/NAME/lobby?name=ann",
        message: r#"JSON.stringify({ type: "say", text: "hello" })"#,
        library: include_str!("../../template/chat/lib.rs.in"),
        tests: include_str!("../../template/chat/tests.rs.in"),
        plugin: None,
        configuration: None,
    },
    Template {
        name: "presence",
        about: "who is in a room, and what each of them is doing",
        path: "/NAME/lobby?name=ann",
        message: r#"JSON.stringify({ type: "who" })"#,
        library: include_str!("../../template/presence/lib.rs.in"),
        tests: include_str!("../../template/presence/tests.rs.in"),
        plugin: None,
        configuration: None,
    },
    Template {
        name: "auction",
        about: "rooms with state, timers, presence, notices, tokens and messages from outside",
        path: "/NAME/7?name=ann",
        message: r#"JSON.stringify({ type: "bid", amount: 5, ref: 1 })"#,
        library: include_str!("../../../../plugins/auction/src/lib.rs"),
        tests: include_str!("../../../../plugins/auction/src/tests.rs"),
        plugin: Some("auction"),
        configuration: Some(include_str!("../../template/auction/wharf.toml.in")),
    },
    Template {
        name: "minimal",
        about: "an echo: the least that a channel is",
        path: "/NAME",
        message: r#""hello""#,
        library: include_str!("../../template/minimal/lib.rs.in"),
        tests: include_str!("../../template/minimal/tests.rs.in"),
        plugin: None,
        configuration: None,
    },
];

/// Returns the one that a crate begins with if its author names none.
pub(super) fn default() -> &'static Template {
    let [first, ..] = &TEMPLATES;
    first
}

impl Template {
    /// Returns the one with this name.
    pub fn named(name: &str) -> Option<&'static Template> {
        TEMPLATES.iter().find(|template| template.name == name)
    }

    /// Returns the files of a crate that begins with it.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let own = [("src/lib.rs", self.library), ("src/tests.rs", self.tests)];
        let configuration = self.configuration.map(|text| ("wharf.toml", text));
        COMMON.into_iter().chain(own).chain(configuration)
    }

    /// Returns the code of an example plugin under another name; `None` for a file that is not such code.
    pub(super) fn renamed(&self, file: &str, text: &str, name: &str) -> Option<String> {
        let plugin = self.plugin.filter(|_| file.starts_with("src/"))?;
        let renamed = text.replace(&format!("/{plugin}/"), &format!("/{name}/"));
        Some(renamed.replace(&format!("channels.{plugin}."), &format!("channels.{name}.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_and_tests_of_its_own() {
        for template in TEMPLATES {
            assert_eq!(Template::named(template.name), Some(&template));
            assert!(template.tests.contains("#[test]"), "{}", template.name);
            assert!(template.library.contains("mod tests;"), "{}", template.name);
        }
        assert_eq!(Template::named("nothing"), None);
        let auction = Template::named("auction").expect("a template");
        for (file, text) in auction.files().filter(|(file, _)| file.starts_with("src/")) {
            let text = auction.renamed(file, text, "sale").expect("code of a plugin");
            assert!(text.contains("/sale/") && !text.contains("/auction/"), "{file}");
            assert!(!text.contains("channels.auction"), "{file}");
        }
    }
}
