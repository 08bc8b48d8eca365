//! `wharf`: arguments → configuration → [`wharf_server::run`], or one of the commands for operators
//! and authors.
//!
//! - [`arguments`]: the command line.
//! - [`mod@author`]: the commands for authors of plugins.
//! - [`mod@data`]: the commands for the data folder.
//! - [`mod@operator`]: the commands for a running host.
//! - [`mod@health`]: the check of a running host.
//! - [`mod@serve`]: the surroundings of a server: its runtime, its open files, its listener.
//! - [`inherited`]: the sockets of a service manager.
//! - [`log`]: the lines to standard error, from a thread of their own.
//! - [`machine`]: the trial of this machine at the start.
//! - [`memory`]: the allocator's way with large blocks.
//! - [`signals`]: the signals that end a server.
//! - [`output`]: standard output and standard error, which may be closed or full.

#![deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice)]
#![deny(clippy::todo, clippy::unimplemented, clippy::unreachable, clippy::unwrap_used)]

mod arguments;

#[cfg(feature = "author")]
mod author;

mod data;
mod health;
mod inherited;
mod log;
mod machine;
mod memory;
mod operator;
mod output;
mod serve;
mod signals;

use std::process::ExitCode;

use anyhow::Context;
use arguments::Command;
use wharf_server::Observers;

fn main() -> ExitCode {
    memory::give_back_large_blocks();
    let inherited = match inherited::take() {
        Ok(inherited) => inherited,
        Err(error) => return outcome(Err(error)),
    };
    match Command::from_process() {
        Err(code) => code,
        Ok(Command::Config(config, sources)) => {
            sources.ignored().into_iter().for_each(output::complain);
            outcome(output::print(&config.effective(&sources)))
        }
        Ok(Command::CheckConfig(file, config, sources)) => {
            sources.ignored().into_iter().for_each(output::complain);
            let checked = wharf_server::check_certificates(&config);
            outcome(
                checked.and_then(|()| output::print(&format!("{} can be used\n", file.display()))),
            )
        }
        Ok(Command::Serve(config, sources)) => {
            let server = |config, machine, listener, shutdown, log| {
                let observers = Observers { log, ..Observers::default() };
                wharf_server::run(config, machine, listener, shutdown, observers)
            };
            outcome(serve::serve(config, &sources, inherited, server))
        }
        Ok(Command::Data(command, config, sources)) => {
            sources.ignored().into_iter().for_each(output::complain);
            outcome(data::run(&command, config.data.as_deref()))
        }
        Ok(Command::Operator(command, config, sources)) => {
            sources.ignored().into_iter().for_each(output::complain);
            outcome(operator::run(&command, &config))
        }
        Ok(Command::Health(command, config)) => outcome(health::run(&command, &config)),
        Ok(Command::Completions(shell)) => {
            outcome(output::print(&arguments::completions_for(shell)))
        }
        Ok(Command::Man(folder)) => outcome(
            arguments::write_pages(&folder)
                .with_context(|| format!("no manual pages can be written to {}", folder.display())),
        ),
        #[cfg(feature = "author")]
        Ok(Command::Author(command)) => author::run(command, inherited),
    }
}

fn outcome(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
