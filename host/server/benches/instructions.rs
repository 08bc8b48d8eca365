//! Runs one job again and again for a tool that counts instructions, such as callgrind.
//! `cargo xtask instructions` runs this.
//!
//! Usage: `instructions JOB RUNS`. The tool counts below `wharf_counted`, which is called once
//! for each run, after as many calls that warm caches up. Without arguments the jobs are listed,
//! each with its units in a run.

mod jobs;

use std::process::ExitCode;

use jobs::Job;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let (name, runs) = match arguments.as_slice() {
        [] => {
            for kind in jobs::ALL {
                println!("{} {}", kind.name, kind.units);
            }
            return ExitCode::SUCCESS;
        }
        [name, runs] => (name, runs.parse().unwrap_or(1)),
        _ => {
            eprintln!("usage: instructions [JOB RUNS]");
            return ExitCode::from(2);
        }
    };
    let Some(kind) = jobs::ALL.iter().find(|kind| kind.name == name) else {
        eprintln!("error: there is no job `{name}`");
        return ExitCode::from(2);
    };
    let mut job = match kind.start() {
        Ok(job) => job,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    for _ in 0..runs {
        job.prepare();
        job.run();
    }
    for _ in 0..runs {
        job.prepare();
        wharf_counted(job.as_mut());
    }
    ExitCode::SUCCESS
}

/// Runs a job once. The tool knows this function by its name, which must stay as it is.
#[expect(unsafe_code, reason = "nothing else that is linked has a name with this prefix")]
#[unsafe(no_mangle)]
#[inline(never)]
fn wharf_counted(job: &mut dyn Job) {
    job.run();
}
