//! The commands for authors of plugins.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wharf_author::check::Compiled;
use wharf_author::{add, check, dev, new, test, test_host};
use wharf_config::Config;

use crate::arguments::AuthorCommand;
use crate::machine::examine;
use crate::outcome;
use crate::output::print;
use crate::serve::{end, runtime, serve};

/// Runs a command, with the sockets that this process has inherited.
pub fn run(command: AuthorCommand, inherited: Option<Vec<OwnedFd>>) -> ExitCode {
    match command {
        AuthorCommand::New(request) => {
            outcome(new::new(&request).and_then(|next_steps| print(&next_steps)))
        }
        AuthorCommand::Add(request, config) => match add(config, &request) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => outcome(Err(error)),
        },
        AuthorCommand::Check { files, json, config } => match check(config, &files, json) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => outcome(Err(error)),
        },
        AuthorCommand::Dev(crates, config, sources) => {
            let dev = |config, machine, listener, shutdown, log| {
                dev::dev(config, crates, machine, listener, shutdown, log)
            };
            outcome(serve(dev::prepared(config, &sources), &sources, inherited, dev))
        }
        AuthorCommand::Test { folder, arguments, cache } => {
            let machine = examine().machine();
            match machine.and_then(|machine| test::test(&folder, &arguments, machine, cache)) {
                Ok(code) => ExitCode::from(code),
                Err(error) => outcome(Err(error)),
            }
        }
        AuthorCommand::TestHost(file, cache) => outcome(test_host::run(&file, cache)),
    }
}

/// Puts a plugin into the folder, and says so. Returns true if it is there.
fn add(config: Config, request: &add::Request) -> anyhow::Result<bool> {
    let machine = examine().machine()?;
    let runtime = runtime(&config)?;
    let added = runtime.block_on(add::add(config, machine, request))?;
    end(runtime);
    print(&added.in_words())?;
    Ok(added.is_installed())
}

/// Prints reports of files, or of the crate in the working directory if there are none. Returns true
/// if all of them would be loaded.
fn check(config: Config, files: &[PathBuf], json: bool) -> anyhow::Result<bool> {
    let machine = examine().machine()?;
    let compiled = match files.is_empty() {
        true => match Compiled::of_crate(Path::new("."))? {
            Some(compiled) => Some(compiled),
            None => return Ok(false),
        },
        false => None,
    };
    let own = compiled.as_ref().map(|compiled| compiled.file().to_owned());
    let files: Vec<PathBuf> = files.iter().cloned().chain(own).collect();
    let runtime = runtime(&config)?;
    let mut reports = runtime.block_on(check::check(config, machine, &files))?;
    end(runtime);
    if let Some(compiled) = compiled {
        reports = reports.into_iter().map(|report| compiled.named(report)).collect();
    }
    if json {
        print(&(serde_json::to_string_pretty(&reports)? + "\n"))?;
    } else {
        let reports: Vec<String> = reports.iter().map(ToString::to_string).collect();
        print(&reports.join("\n"))?;
    }
    Ok(reports.iter().all(|report| report.loads))
}
