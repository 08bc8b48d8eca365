//! `wharf check`: the facts about a plugin, its needs, and the decision whether this host would load
//! it.
//!
//! The decision is the registry's own: files are loaded into a registry without clients, in the
//! order of their names, like at a server's start.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::Serialize;
use tempfile::TempDir;

use super::package::{Cargo, Package, Purpose};
use super::{MISSING_TARGET, lacks_target};
use wharf_config::{ChannelConfig, ChannelToken, Config, TokenConfig, TokenKey, table_key as key};
use wharf_runtime::plugin::watch::{Change, look_once, plugins_in};
use wharf_runtime::plugin::{Engine, Interfaces, Machine};
use wharf_runtime::ports::Ports;
use wharf_runtime::registry::{Registry, hex};
use wharf_server::token::ChannelTokenRules;

/// The contract's package, with which the names of its interfaces begin.
const CONTRACT: &str = "wharf:channel/";

/// The facts about a plugin's file. In JSON, unknown facts are null or empty.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Path of the file, as given.
    pub file: PathBuf,
    /// Name of the channel: the file's stem.
    pub channel: String,
    /// True if this host would load it.
    pub loads: bool,
    /// Reason why it would not, as the log of a server has it.
    pub reason: Option<String>,
    /// Size in bytes.
    pub bytes: Option<usize>,
    /// SHA-256 in hexadecimal digits.
    pub sha256: Option<String>,
    /// Version of the contract that it was built for.
    pub contract: Option<String>,
    /// Path patterns.
    pub paths: Vec<String>,
    /// Subprotocols, best first.
    pub subprotocols: Vec<String>,
    /// Version of its session bytes.
    pub session_format: Option<u32>,
    /// Interfaces that it exports; those of the contract without package and version.
    pub exports: Vec<String>,
    /// Interfaces that it imports, written alike.
    pub imports: Vec<String>,
    /// Entries that the operator has to write for it.
    pub needs: Vec<Need>,
}

/// An entry of `wharf.toml` without which a plugin lacks something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Table.
    pub table: String,
    /// Line in the table. If nothing is granted yet, its value is an example.
    pub line: String,
    /// Use.
    pub why: &'static str,
    /// True if the configuration has such a line.
    pub is_there: bool,
}

/// Checks files like a server with this configuration, to whose folder they are added. A file that
/// has the name of another one takes its place.
///
/// # Errors
///
/// The compiler cannot be set up. A mistake in a file is in its report.
pub async fn check(
    config: Config,
    machine: Machine,
    files: &[PathBuf],
) -> anyhow::Result<Vec<Report>> {
    // Nothing is put into the cache.
    let config = Arc::new(Config { cache: None, ..config });
    let tokens = Arc::new(ChannelTokenRules::new(config.clone()));
    let ports = Ports::system(&config, tokens)?;
    let registry = Registry::new(config.clone(), Engine::new(None, machine)?, ports);
    // Plugins that serve keep their paths, whatever is added.
    for file in others(&config.plugins, files) {
        if let Change::Settled { name, path, bytes, sha256 } = look_once(&file) {
            // One that would not load has no paths, and a report of its own when it is asked for.
            let _ = registry.load_file(&name, &path, bytes, sha256).await;
        }
    }
    // They are loaded in the order of their names, and reported in the order asked for.
    let mut files: Vec<(usize, &Path)> = files.iter().map(PathBuf::as_path).enumerate().collect();
    files.sort_by_key(|(_, file)| file.file_name());
    let mut reports = Vec::new();
    for (place, file) in files {
        reports.push((place, report(&registry, &config, file).await));
    }
    reports.sort_by_key(|(place, _)| *place);
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

/// The component of a crate, in a file with the name that it has in a plugin folder.
#[derive(Debug)]
pub struct Compiled {
    /// Cargo's own file.
    component: PathBuf,
    file: PathBuf,
    _folder: TempDir,
}

impl Compiled {
    /// Compiles the crate in a folder, as `wharf dev` does. `None` if it does not compile, which cargo
    /// has explained.
    ///
    /// # Errors
    ///
    /// The folder has no plugin's crate, or the toolchain lacks the target.
    pub fn of_crate(folder: &Path) -> anyhow::Result<Option<Compiled>> {
        Compiled::for_purpose(folder, Purpose::Work, None)
    }

    /// Compiles the crate in a folder for this purpose, under this name or its own.
    pub(super) fn for_purpose(
        folder: &Path,
        purpose: Purpose,
        name: Option<&str>,
    ) -> anyhow::Result<Option<Compiled>> {
        let cargo = Cargo::in_foreground();
        let package = Package::find(&cargo, folder)?;
        if lacks_target(folder) {
            bail!(MISSING_TARGET);
        }
        let Some(component) = package.compile(&cargo, purpose)?.component else {
            return Ok(None);
        };
        Compiled::copy(component, name.unwrap_or(&package.name)).map(Some)
    }

    /// Copies a component to a file of this name.
    pub(super) fn copy(component: PathBuf, name: &str) -> anyhow::Result<Compiled> {
        let folder = tempfile::tempdir().context("there is no room for a copy of the component")?;
        let file = folder.path().join(format!("{name}.wasm"));
        fs::copy(&component, &file)
            .with_context(|| format!("{} cannot be read", component.display()))?;
        Ok(Compiled { component, file, _folder: folder })
    }

    /// Returns the file to check.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes cargo's own file into the report.
    pub fn named(&self, report: Report) -> Report {
        Report { file: self.component.clone(), ..report }
    }
}

/// Returns the plugins of a folder that none of these files replaces, in the order of their names.
fn others(folder: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    let is_replaced = |other: &Path| files.iter().any(|file| file.file_name() == other.file_name());
    // Without a folder there are no others.
    let mut others = plugins_in(folder).unwrap_or_default();
    others.retain(|other| !is_replaced(other));
    others
}

async fn report(registry: &Registry, config: &Config, file: &Path) -> Report {
    let mut report = Report::of(file);
    match look_once(file) {
        Change::Settled { name, path, bytes, sha256 } => {
            report.bytes = Some(bytes.len());
            report.sha256 = Some(hex(&sha256));
            if let Some(interfaces) = Interfaces::read(&bytes) {
                report.describe(&interfaces);
                let own = config.channel(&name);
                report.needs = needs(&interfaces, &name, &own, config.token.as_deref());
            }
            match registry.load_file(&name, &path, bytes, sha256).await {
                Ok(channel) => {
                    let generation = channel.current();
                    let description = &generation.description;
                    let shown = |text: &String| channel.context.shown(text, usize::MAX);
                    report.loads = true;
                    report.paths = description.paths.iter().map(shown).collect();
                    report.subprotocols = description.subprotocols.iter().map(shown).collect();
                    report.session_format = Some(description.session_format);
                }
                Err(reason) => report.reason = Some(reason),
            }
            report.channel = name;
        }
        Change::Unreadable { name, reason, .. } => {
            (report.channel, report.reason) = (name, Some(reason));
        }
        Change::Removed { .. } | Change::Scanned => {}
    }
    report
}

impl Report {
    /// Makes a report without facts.
    fn of(file: &Path) -> Report {
        Report {
            file: file.to_owned(),
            channel: String::new(),
            loads: false,
            reason: None,
            bytes: None,
            sha256: None,
            contract: None,
            paths: Vec::new(),
            subprotocols: Vec::new(),
            session_format: None,
            exports: Vec::new(),
            imports: Vec::new(),
            needs: Vec::new(),
        }
    }

    fn describe(&mut self, interfaces: &Interfaces) {
        let all = interfaces.imports.iter().chain(&interfaces.exports);
        let versions: BTreeSet<&str> = all
            .filter_map(|name| name.strip_prefix(CONTRACT)?.split_once('@'))
            .map(|(_, version)| version)
            .collect();
        let versions: Vec<&str> = versions.into_iter().collect();
        self.contract = (!versions.is_empty()).then(|| one_line(&versions.join(" and ")));
        let short = |names: &[String]| names.iter().map(|name| one_line(short(name))).collect();
        (self.imports, self.exports) = (short(&interfaces.imports), short(&interfaces.exports));
    }
}

/// Returns an interface of the contract by its own name, any other without its version.
fn short(name: &str) -> &str {
    let name = name.strip_prefix(CONTRACT).unwrap_or(name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// Returns a text of the file on one line: the file's author has chosen the names in it.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    let text = text.chars().take(LONGEST);
    text.map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

/// Returns the entries of the configuration that a plugin with these imports needs.
fn needs(
    interfaces: &Interfaces,
    channel: &str,
    own: &ChannelConfig,
    token: Option<&TokenConfig>,
) -> Vec<Need> {
    let imports = |wanted: &str| interfaces.imports.iter().any(|name| short(name) == wanted);
    let table = format!("channels.{}", key(channel));
    let list = |key: &str, granted: Vec<String>, example: &str, why| {
        let is_there = !granted.is_empty();
        let items = if is_there { granted } else { vec![example.to_owned()] };
        let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        let line = format!("{key} = [{}]", items.join(", "));
        Need { table: table.clone(), line, why, is_there }
    };
    let mut needs = Vec::new();
    if imports("wasi:http/outgoing-handler") {
        let hosts = own.grants.http_hosts.iter().map(ToString::to_string).collect();
        let why = "it sends HTTP requests: the hosts that it may reach";
        needs.push(list("http_hosts", hosts, "api.example.com", why));
    }
    if imports("channels") {
        let channels = own.grants.publish_to.clone();
        let why = "it publishes to rooms of other channels: those that it may";
        needs.push(list("publish_to", channels, "other-channel", why));
    }
    if imports("settings") {
        let names: Vec<String> = own.settings.keys().map(|name| key(name)).collect();
        let is_there = !names.is_empty() || own.secrets.iter().next().is_some();
        let line = match names.as_slice() {
            [] => "name = \"value\"".to_owned(),
            names => names.iter().map(|name| format!("{name} = …")).collect::<Vec<_>>().join("; "),
        };
        let why = "it reads settings, which its author names; secret ones go under `.secrets`";
        needs.push(Need { table: format!("{table}.settings"), line, why, is_there });
    }
    if interfaces.reads_claims {
        needs.push(token_need(&table, own, token));
    }
    needs
}

/// Returns the table without which a plugin gets no claims. A file does not tell if it can do without.
fn token_need(table: &str, own: &ChannelConfig, shared: Option<&TokenConfig>) -> Need {
    let own_table = format!("{table}.token");
    let (table, rules) = match &own.token {
        ChannelToken::Own(rules) => (own_table, Some(&**rules)),
        ChannelToken::Inherited if shared.is_some() => ("token".to_owned(), shared),
        ChannelToken::Inherited | ChannelToken::Off => (own_table, None),
    };
    let keys = rules.map(|rules| {
        rules.keys.iter().map(|keys| match keys.key {
            TokenKey::Secret(_) => "secret = …",
            TokenKey::PublicKey(_) => "public_key = …",
            TokenKey::Jwks(_) | TokenKey::JwksUrl(_) => "jwks = …",
        })
    });
    let line = match keys {
        Some(keys) => keys.collect::<Vec<_>>().join("; "),
        None => "secret = { env = \"VARIABLE\" }".to_owned(),
    };
    let why = "it reads the claims of tokens, which the host has to check: a `secret`, a `public_key` or \
               `jwks`; the file does not tell if it can do without";
    Need { table, line, why, is_there: rules.is_some() }
}

/// Returns the names of the contract's interfaces; of WASI only the packages, since the interfaces
/// that Rust's standard library needs are a long list that says little.
fn shown(imports: &[String]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for name in imports {
        let is_wasi = name.starts_with("wasi:");
        let name = if is_wasi { name.split('/').next().unwrap_or(name) } else { name };
        if !shown.contains(&name) {
            shown.push(name);
        }
    }
    shown.join("  ")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.reason {
            None => writeln!(f, "{file}: this host would load it as channel `{}`", self.channel)?,
            Some(reason) => writeln!(f, "{file}: this host would not load it: {reason}")?,
        }
        let facts = [
            ("contract", self.contract.as_ref().map(|version| format!("wharf:channel {version}"))),
            ("paths", Some(self.paths.join("  "))),
            ("subprotocols", Some(self.subprotocols.join("  "))),
            ("session", self.session_format.map(|version| format!("format {version}"))),
            ("exports", Some(self.exports.join("  "))),
            ("imports", Some(shown(&self.imports))),
            ("size", self.bytes.map(|bytes| format!("{} KiB", bytes.div_ceil(1024)))),
            ("sha256", self.sha256.clone()),
        ];
        for (name, value) in facts {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                writeln!(f, "  {name:<14}{value}")?;
            }
        }
        let mut table = "";
        for need in &self.needs {
            if table.is_empty() {
                writeln!(f, "  in wharf.toml")?;
            }
            if need.table != table {
                writeln!(f, "    [{}]", need.table)?;
                table = &need.table;
            }
            let state = match (need.is_there, need.table.ends_with(".settings")) {
                (false, _) => "is missing",
                (true, false) => "is there",
                // A file does not tell the names of the settings that it reads.
                (true, true) => "some are there",
            };
            writeln!(f, "    {:<36}  # {state}; {}", need.line, need.why)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_config::AllowedHost;

    fn needs_of(imports: &[&str], own: &ChannelConfig) -> Vec<Need> {
        let imports = imports.iter().map(|name| (*name).to_owned()).collect();
        needs(&Interfaces { imports, ..Interfaces::default() }, "my-chat", own, None)
    }

    #[test]
    fn a_plugin_that_reads_claims_needs_a_table_unless_there_is_one() {
        let reads = Interfaces { reads_claims: true, ..Interfaces::default() };
        let mut own = ChannelConfig::default();
        let need = |own: &ChannelConfig| needs(&reads, "my-chat", own, None).remove(0);
        assert_eq!(need(&own).table, "channels.my-chat.token");
        assert!(!need(&own).is_there);
        own.token = ChannelToken::Off;
        assert!(!need(&own).is_there, "tokens are ignored");
    }

    #[test]
    fn what_is_imported_and_granted_by_nobody_is_a_line_to_write() {
        let own = ChannelConfig::default();
        assert_eq!(needs_of(&["wasi:io/poll@0.2.6", "wharf:channel/rooms@0.1.2"], &own), []);
        let needs = needs_of(
            &[
                "wasi:http/outgoing-handler@0.2.4",
                "wharf:channel/channels@0.1.2",
                "wharf:channel/settings@0.1.2",
            ],
            &own,
        );
        let lines: Vec<_> =
            needs.iter().map(|need| (need.table.as_str(), need.line.as_str())).collect();
        assert_eq!(
            lines,
            [
                ("channels.my-chat", "http_hosts = [\"api.example.com\"]"),
                ("channels.my-chat", "publish_to = [\"other-channel\"]"),
                ("channels.my-chat.settings", "name = \"value\""),
            ]
        );
        assert!(needs.iter().all(|need| !need.is_there));
    }

    #[test]
    fn what_is_granted_is_shown_as_it_is() {
        let mut own = ChannelConfig::default();
        own.grants.http_hosts.extend(AllowedHost::parse("*.example.org"));
        let needs = needs_of(&["wasi:http/outgoing-handler@0.2.4"], &own);
        assert!(needs[0].is_there);
        assert_eq!(needs[0].line, "http_hosts = [\"*.example.org\"]");
    }

    #[test]
    fn names_of_hostile_files_stay_on_their_line() {
        let mut report = Report::of(Path::new("x.wasm"));
        let exports = vec!["wharf:channel/a\n\u{1b}[2J@0.1.\n".to_owned()];
        report.describe(&Interfaces { exports, ..Interfaces::default() });
        assert_eq!(report.exports, ["a??[2J"]);
        assert_eq!(report.contract.as_deref(), Some("0.1.?"));
    }
}
