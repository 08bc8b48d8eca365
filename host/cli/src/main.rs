//! `wharf`: arguments → configuration → [`wharf_server::run`], or one of the commands for authors.
//!
//! - [`arguments`]: the command line.
//! - [`mod@author`]: the commands for authors of plugins.
//! - [`mod@serve`]: the surroundings of a server: its runtime, its log, its signals.

mod arguments;

#[cfg(feature = "author")]
mod author;

mod serve;

use std::process::ExitCode;

use arguments::Command;

fn main() -> ExitCode {
    match Command::from_process() {
        Command::Config(config, sources) => {
            print!("{}", config.effective(&sources));
            ExitCode::SUCCESS
        }
        Command::Serve(config, _) => outcome(serve::serve(config, wharf_server::run)),
        #[cfg(feature = "author")]
        Command::Author(command) => author::run(command),
    }
}

fn outcome(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wharf: {error:#}");
            ExitCode::FAILURE
        }
    }
}
