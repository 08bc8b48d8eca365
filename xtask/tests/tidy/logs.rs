//! The rules for lines of the host's log.

use super::assert_none;
use super::source::Source;

/// Files whose lines only the operator and the files of plugins cause, once for each cause; and
/// `origin.rs`, whose caller asks for the budget.
const WITHOUT_BUDGET: [&str; 21] = [
    "host/runtime/src/channel.rs",
    "host/runtime/src/log_budget.rs",
    "host/runtime/src/plugin/cache.rs",
    "host/runtime/src/plugin/watch.rs",
    "host/runtime/src/plugin/watch/events.rs",
    "host/runtime/src/plugin/watch/watched_file.rs",
    "host/runtime/src/registry.rs",
    "host/runtime/src/registry/follow.rs",
    "host/runtime/src/registry/follow/deployed.rs",
    "host/runtime/src/registry/load_outcome.rs",
    "host/runtime/src/registry/mount.rs",
    "host/server/src/handshake/origin.rs",
    "host/server/src/cluster.rs",
    "host/server/src/data.rs",
    "host/server/src/deploys/coordinate.rs",
    "host/server/src/deploys/follow.rs",
    "host/server/src/operator.rs",
    "host/server/src/operator/commands.rs",
    "host/server/src/server.rs",
    "host/server/src/tls.rs",
    "host/server/src/token/source.rs",
];

/// Fields that are written as they are: addresses have no spaces and no quotes.
const BARE: [&str; 3] = ["%remote", "%address", "address = %"];

/// Macros whose lines operators see without asking for details.
const MACROS: [&str; 3] = ["tracing::error!(", "tracing::warn!(", "tracing::info!("];

/// Returns each use of a macro whose name begins so: the path, the number of its line, its text, and
/// the text of its function before it.
fn uses(source: &Source, macros: &[&str]) -> Vec<(usize, String, String)> {
    let code: Vec<&str> = source.lines.iter().map(|line| line.code.as_str()).collect();
    let is_use = |line: &&str| macros.iter().any(|name| line.contains(name));
    let starts = code.iter().enumerate().filter(|(_, line)| is_use(line));
    let uses = starts.map(|(index, _)| {
        let is_function = |line: &&str| line.trim_start().split(' ').any(|word| word == "fn");
        let function = code[..index].iter().rposition(is_function).unwrap_or(0);
        let rest = &code[index..];
        let length =
            rest.iter().position(|line| line.trim_end().ends_with(')') || line.contains(");"));
        let length = length.map_or(rest.len(), |last| last + 1);
        (source.lines[index].number, rest[..length].join("\n"), code[function..index].join("\n"))
    });
    uses.collect()
}

#[test]
fn every_line_that_a_client_or_a_guest_can_cause_has_a_budget() {
    let mut found = Vec::new();
    for folder in ["host/hub/src", "host/runtime/src", "host/server/src"] {
        for source in Source::all_under(folder) {
            if WITHOUT_BUDGET.contains(&source.path.as_str()) {
                continue;
            }
            for (number, _, before) in uses(&source, &MACROS) {
                if !before.contains(".take()") {
                    found.push(format!("{}:{number}", source.path));
                }
            }
        }
    }
    assert_none(
        &found,
        "ask a `LogBudget` in the same function before these lines (the channel's `failure_budget`, or one \
         of the server's), or name the file in xtask/tests/tidy/logs.rs:",
    );
}

#[test]
fn every_text_in_a_line_is_in_quotes() {
    let mut found = Vec::new();
    for source in Source::all_under("host") {
        let macros = [&MACROS[..], &["tracing::debug!("]].concat();
        for (number, text, _) in uses(&source, &macros) {
            let text = BARE.iter().fold(text, |text, bare| text.replace(bare, ""));
            if text.contains('%') {
                found.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert_none(
        &found,
        "give these lines their fields as text, without `%`: a text that is not in quotes can be taken for \
         other fields, and one field must not have two spellings:",
    );
}
