//! Running other programs, with an error that repeats the command line and says what happened.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The result of a step: a value, or a message for the person who ran the command.
pub type Outcome<T = ()> = Result<T, String>;

/// Lines of a failed program's log that the error repeats.
const TAIL_LINES: usize = 20;

/// Returns the command `cargo` that runs this program, without the variables that `cargo run` sets
/// about `xtask` itself. With them, crates that look at such variables would be compiled anew.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let about_xtask = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix));
        if about_xtask {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// Returns a call of the same program that gives way to all others.
pub fn patient(command: &Command) -> Command {
    let mut patient = Command::new("nice");
    patient.arg("-n19").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => patient.env(name, value),
            None => patient.env_remove(name),
        };
    }
    patient
}

/// Runs a program to its end. Its output goes to this program's output.
pub fn run(command: &mut Command) -> Outcome {
    let child = spawn(command)?;
    judge(command, wait(child, None)?)
}

/// Runs a program like [`run`], but kills it and all that it has started once `limit` has passed.
pub fn run_within(command: &mut Command, limit: Duration) -> Outcome {
    let child = spawn(command)?;
    judge(command, wait(child, Some(limit))?)
}

/// Runs a program like [`run_within`], with its output in a file. The error repeats the end of it.
pub fn run_logged(command: &mut Command, log: &Path, limit: Duration) -> Outcome {
    let output = File::create(log).map_err(|e| format!("cannot write {}: {e}", log.display()))?;
    let errors = output.try_clone().map_err(|e| format!("cannot write {}: {e}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let child = spawn(command)?;
    let status = wait(child, Some(limit))?;
    judge(command, status).map_err(|failure| {
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        format!("{failure}\n{}", tail(text.trim_end()))
    })
}

/// Runs a program and returns what it wrote to its standard output.
pub fn capture(command: &mut Command) -> Outcome<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| cannot_start(command, &e))?;
    judge(command, Ended::By(output.status)).map_err(|failure| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{failure}\n{}", tail(errors.trim_end()))
    })?;
    String::from_utf8(output.stdout)
        .map_err(|_| format!("`{}` wrote something that is not UTF-8", line(command)))
}

/// Returns the CPU time of this process and of all programs that it has run to their end; nothing on
/// systems other than Linux.
pub fn cpu_time() -> Option<Duration> {
    /// Linux shows these times in hundredths of a second.
    const UNIT: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, with any characters in it. The 14th to the 17th are the
    // times in the program and in the kernel, then the same for the programs that have ended.
    let (_, fields) = stat.rsplit_once(") ")?;
    let times: Result<Vec<u32>, _> = fields.split(' ').skip(11).take(4).map(str::parse).collect();
    Some(UNIT * times.ok()?.into_iter().sum())
}

/// Returns true if a program of this name is on the `PATH`.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| {
        let file = folder.join(program);
        file.is_file() || file.with_extension("exe").is_file()
    })
}

/// The end of a program.
enum Ended {
    /// It ended by itself, or by a signal from elsewhere.
    By(ExitStatus),
    /// It was killed, because it took longer than this.
    Late(Duration),
}

fn spawn(command: &mut Command) -> Outcome<Child> {
    command.spawn().map_err(|e| cannot_start(command, &e))
}

fn wait(mut child: Child, limit: Option<Duration>) -> Outcome<Ended> {
    let lost = |e| format!("cannot wait for a program: {e}");
    let Some(limit) = limit else {
        return child.wait().map(Ended::By).map_err(lost);
    };
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(lost)? {
            return Ok(Ended::By(status));
        }
        if start.elapsed() >= limit {
            kill_with_children(&mut child);
            child.wait().map_err(lost)?;
            return Ok(Ended::Late(limit));
        }
        // The standard library has no wait with a limit. The pause is short next to the programs'
        // work.
        thread::sleep(Duration::from_millis(20));
    }
}

/// Kills a program and those that it has started, and theirs. Left alone, the compilers of a cargo and
/// the downloads of an npm would go on.
///
/// The programs are in the group of this one, so that Ctrl-C reaches them; so there is no group of
/// their own to kill.
fn kill_with_children(child: &mut Child) {
    let mut family = vec![child.id()];
    let mut next = 0;
    while let Some(&process) = family.get(next) {
        // It must not start another between the look at its children and its end.
        signal("STOP", &[process]);
        family.extend(children(process));
        next += 1;
    }
    signal("KILL", &family);
    // There may be no `sh`. The program may have ended just now; then there is nothing to kill.
    let _ = child.kill();
}

/// Sends a signal to processes, those that have ended excepted.
fn signal(name: &str, processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -s \"$0\" \"$@\"", name]).args(processes);
    let _ = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Returns the processes that a process has started and that have not ended; none on systems other than
/// Linux.
fn children(process: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let lists = threads.flatten().filter_map(|thread| {
        // A thread that has just ended has no list any more.
        std::fs::read_to_string(thread.path().join("children")).ok()
    });
    lists
        .flat_map(|list| list.split_whitespace().flat_map(str::parse).collect::<Vec<_>>())
        .collect()
}

fn judge(command: &Command, ended: Ended) -> Outcome {
    match ended {
        Ended::By(status) if status.success() => Ok(()),
        Ended::By(status) => Err(format!("`{}` failed ({status})", line(command))),
        Ended::Late(limit) => Err(format!(
            "`{}` was stopped: it had not finished after {} s",
            line(command),
            limit.as_secs()
        )),
    }
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    let program = command.get_program().to_string_lossy();
    match error.kind() {
        ErrorKind::NotFound => format!("`{program}` is not installed, or not on the PATH"),
        _ => format!("cannot start `{program}`: {error}"),
    }
}

/// Returns the command line, as a person would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the last lines of a text, indented.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns true while a process runs; one that has ended and waits to be collected does not.
    fn is_running(process: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }

    #[test]
    fn what_a_program_has_started_ends_with_it_at_the_limit() {
        let folder = std::env::temp_dir().join(format!("xtask-limit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("processes");
        // A child and a grandchild, whose parent waits for it.
        let script = "sleep 600 & echo $! > \"$0\"; sh -c 'sleep 600 & echo $! >> \"$0\"; wait' \"$0\"; wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&file);
        let begun = Instant::now();
        let failure = run_within(&mut command, Duration::from_secs(2)).expect_err("a limit");
        assert!(failure.contains("was stopped"), "{failure}");
        let processes = std::fs::read_to_string(&file).expect("a list");
        std::fs::remove_dir_all(&folder).expect("the folder is removed");
        assert_eq!(processes.lines().count(), 2, "{processes}");
        while processes.lines().any(is_running) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{processes} run still");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
