//! Figures as Markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Entry;

/// The first of the two lines between which the document belongs to this program.
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// Puts all results between the markers of a document.
///
/// # Errors
///
/// The document is missing or has no markers, or cannot be written.
pub fn write(file: &Path, results: &[(&Entry, Value)]) -> anyhow::Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = replaced(&text, &body(results))
        .with_context(|| format!("{} lacks the line {BEGIN} or {END}", file.display()))?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn replaced(text: &str, body: &str) -> anyhow::Result<String> {
    let begin = text.find(BEGIN).context("no begin")? + BEGIN.len();
    let end = text.find(END).context("no end")?;
    ensure!(begin <= end, "the markers are the wrong way round");
    Ok(format!("{}\n\n{}\n{}", &text[..begin], body.trim(), &text[end..]))
}

fn body(results: &[(&Entry, Value)]) -> String {
    let mut text = String::new();
    for (what, key) in [("Machine", "machine"), ("Servers", "versions")] {
        let mut lines: Vec<&str> = Vec::new();
        for (_, result) in results {
            let values = match &result[key] {
                Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
                value => value.as_str().into_iter().collect::<Vec<_>>(),
            };
            for value in values {
                if !lines.contains(&value) {
                    lines.push(value);
                }
            }
        }
        let _ = writeln!(text, "{what}:\n");
        for line in lines {
            let _ = writeln!(text, "- {line}");
        }
        text.push('\n');
    }
    for (entry, result) in results {
        text.push_str(&section(entry, result));
        text.push('\n');
    }
    text
}

/// Returns one job's table and ratios.
pub fn section(entry: &Entry, result: &Value) -> String {
    let mut text = format!("### {}\n\n", entry.title);
    let _ = writeln!(text, "`{}`\n", result["command"].as_str().unwrap_or_default());
    let columns: Vec<&Value> = result["columns"].as_array().into_iter().flatten().collect();
    let headings = columns.iter().map(|c| c["heading"].as_str().unwrap_or_default());
    let _ = writeln!(
        text,
        "| |{} |",
        headings.map(|h| format!(" {h} |")).collect::<String>().trim_end_matches(" |")
    );
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(columns.len()));
    for row in result["summary"].as_array().into_iter().flatten() {
        let _ = write!(text, "| {} |", row["server"].as_str().unwrap_or_default());
        for column in &columns {
            let decimals = column["decimals"].as_u64().unwrap_or_default() as usize;
            let key = column["key"].as_str().unwrap_or_default();
            let _ = write!(text, " {} |", spread(&row[key], decimals));
        }
        text.push('\n');
    }
    let ratios: Vec<String> =
        result["ratios"].as_array().into_iter().flatten().map(ratio).collect();
    if !ratios.is_empty() {
        let _ = writeln!(text, "\nRatios: {}.", ratios.join("; "));
    }
    for note in result["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(text, "\nNote: {note}.");
    }
    text
}

fn spread(spread: &Value, decimals: usize) -> String {
    let figure = |key: &str| spread[key].as_f64();
    let (Some(median), Some(min), Some(max)) = (figure("median"), figure("min"), figure("max"))
    else {
        return "–".to_owned();
    };
    format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
}

fn ratio(ratio: &Value) -> String {
    let name = |key: &str| ratio[key].as_str().unwrap_or_default();
    let medians = ratio["medians"].as_f64().unwrap_or(f64::NAN);
    let rounds = &ratio["rounds"];
    let spread = match (rounds["min"].as_f64(), rounds["max"].as_f64()) {
        (Some(min), Some(max)) => format!(" ({min:.2}–{max:.2})"),
        _ => String::new(),
    };
    format!("{}, {} / {}: **{medians:.2}**{spread}", name("heading"), name("of"), name("to"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ENTRY: Entry =
        Entry { name: "echo", title: "Echo", arguments: &[], plugin: "echo", drawn: None };

    #[test]
    fn what_stands_around_the_figures_stays() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replaced(&text, "new\n").expect("markers");
        assert_eq!(once, format!("before\n{BEGIN}\n\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&once, "new\n").expect("markers"), once);
        assert!(replaced("no markers", "new").is_err());
    }

    #[test]
    fn a_section_has_a_row_for_each_server_and_the_ratios() {
        let result = json!({
            "command": "run it",
            "columns": [{ "key": "cpu", "heading": "CPU µs", "decimals": 1 }],
            "summary": [
                { "server": "wharf", "cpu": { "median": 2.0, "min": 1.5, "max": 2.25 } },
                { "server": "bun", "cpu": null },
            ],
            "ratios": [{ "of": "wharf", "to": "bun", "heading": "CPU µs", "medians": 1.5,
                         "rounds": { "median": 1.5, "min": 1.25, "max": 2.0 } }],
            "notes": [],
        });
        let expected = "### Echo\n\n`run it`\n\n| | CPU µs |\n| --- | ---: |\n\
            | wharf | 2.0 (1.5–2.2) |\n| bun | – |\n\n\
            Ratios: CPU µs, wharf / bun: **1.50** (1.25–2.00).\n";
        assert_eq!(section(&ENTRY, &result), expected);
    }
}
