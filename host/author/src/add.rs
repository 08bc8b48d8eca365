//! `wharf add`: a plugin that exists, put into a host's folder.
//!
//! A crate is compiled by its own release profile. The file is checked as `wharf check` does, and put
//! into the folder in one step, so that a running host swaps it in.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use wharf_config::Config;
use wharf_contract::names::{MAX_CHANNEL_NAME_BYTES, is_channel};
use wharf_runtime::plugin::Machine;

use super::check::{Compiled, Report, check};
use super::install::{install, make_folder};
use super::package::Purpose;

/// A wish to add a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The folder of its crate, or its component.
    pub plugin: PathBuf,
    /// The channel's name, if it is not that of the crate or the file.
    pub name: Option<String>,
}

/// The outcome.
#[derive(Debug)]
pub enum Added {
    /// It is in the folder.
    Installed {
        /// The facts about it.
        report: Report,
        /// Its file there.
        file: PathBuf,
        /// True if a file of this name was there before.
        replaced: bool,
        /// True if the folder was made.
        made_folder: bool,
    },
    /// This host would not load it, for the reason in its report. The folder is as it was.
    Refused(Report),
    /// The crate does not compile, which cargo has explained.
    NotCompiled,
}

/// Adds a plugin to the folder of a server with this configuration.
///
/// # Errors
///
/// There is no such plugin; the toolchain lacks the target; or the folder cannot be written to.
pub async fn add(config: Config, machine: Machine, request: &Request) -> anyhow::Result<Added> {
    let plugins = config.plugins.clone();
    let Some(compiled) = component(request)? else {
        return Ok(Added::NotCompiled);
    };
    let reports = check(config, machine, &[compiled.file().to_owned()]).await?;
    let report = reports.into_iter().next().context("the component was not looked at")?;
    let report = compiled.named(report);
    if !report.loads {
        return Ok(Added::Refused(report));
    }
    let made_folder = make_folder(&plugins)?;
    let file = plugins.join(compiled.file().file_name().unwrap_or_default());
    let replaced = file.exists();
    let bytes = fs::read(compiled.file()).context("the copy of the component is gone")?;
    install(&bytes, &file)?;
    Ok(Added::Installed { report, file, replaced, made_folder })
}

/// Returns the component with the name that it has in the folder; compiled, if it is a crate.
fn component(request: &Request) -> anyhow::Result<Option<Compiled>> {
    let Request { plugin, name } = request;
    if let Some(name) = name.as_ref().filter(|name| !is_channel(name)) {
        bail!(
            "{name:?} cannot be a channel's name, which has a to z, 0 to 9, `-` and `_`, and at most \
             {MAX_CHANNEL_NAME_BYTES} bytes"
        );
    }
    let shown = plugin.display();
    if plugin.is_dir() {
        return Compiled::for_purpose(plugin, Purpose::Release, name.as_deref());
    }
    if !plugin.exists() {
        let is_address = plugin.to_str().is_some_and(|text| text.contains("://"));
        match is_address {
            true => bail!(
                "{shown} is an address; get it first (`git clone {shown}`), then add its folder"
            ),
            false => bail!("there is no {shown}"),
        }
    }
    if plugin.extension() != Some(OsStr::new("wasm")) {
        bail!("{shown} is neither the folder of a plugin's crate nor a .wasm file");
    }
    let stem = plugin.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    Compiled::copy(plugin.clone(), name.as_deref().unwrap_or(stem)).map(Some)
}

impl Added {
    /// Returns the outcome in words.
    pub fn in_words(&self) -> String {
        match self {
            Added::NotCompiled => String::new(),
            Added::Refused(report) => {
                format!("{report}\nNothing was put into the plugin folder.\n")
            }
            Added::Installed { report, file, replaced, made_folder } => {
                let made = match made_folder {
                    true => format!("made the plugin folder {}\n", folder_of(file).display()),
                    false => String::new(),
                };
                let verb = if *replaced { "replaced" } else { "added" };
                let lacks = report.needs.iter().any(|need| !need.is_there);
                let next = match lacks {
                    true => {
                        "\nWrite what is missing into wharf.toml; a host that runs reads it when it starts.\n"
                    }
                    false => "",
                };
                format!("{report}\n{made}{verb} {}\n{next}", file.display())
            }
        }
    }

    /// Returns true if it is in the folder.
    pub fn is_installed(&self) -> bool {
        matches!(self, Added::Installed { .. })
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("."))
}
