//! The tables of `docs/metrics.md` are those of the code, and the files under `deploy/` name metrics that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wharf_metrics::limits::Limit;
use wharf_metrics::table::{ALL, Kind};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a page with this text between two marks.
fn with_section(page: &str, mark: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->\n"));
    let (before, rest) = page.split_once(&begin).expect("the section begins");
    let (_, after) = rest.split_once(&end).expect("the section ends");
    format!("{before}{begin}{text}{end}{after}")
}

fn metrics() -> String {
    let mut table = "\n| metric | kind | labels | |\n| --- | --- | --- | --- |\n".to_owned();
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (labels, kind) = (labels.join(", "), metric.kind.name());
        let help = metric.help.replace("/readyz", "`/readyz`");
        table.push_str(&format!("| `{}` | {kind} | {labels} | {help} |\n", metric.name));
    }
    table + "\n"
}

fn limits() -> String {
    let mut table = "\n| limit | what happens |\n| --- | --- |\n".to_owned();
    for limit in Limit::ALL {
        table.push_str(&format!("| `{}` | {} |\n", limit.name(), limit.about()));
    }
    table + "\n"
}

#[test]
fn the_page_has_the_tables_of_the_code() {
    let shown = read("docs/metrics.md");
    let wanted = with_section(&shown, "metrics", &metrics());
    let wanted = with_section(&wanted, "limits", &limits());
    if std::env::var_os("WHARF_DOCS").is_some_and(|value| value == "overwrite") {
        std::fs::write(repository().join("docs/metrics.md"), wanted).expect("the page");
        return;
    }
    let differing = wanted.lines().zip(shown.lines()).find(|(wanted, shown)| wanted != shown);
    assert!(
        wanted == shown,
        "docs/metrics.md is out of date; run this test with WHARF_DOCS=overwrite. First difference, wanted and shown: \
         {differing:#?}"
    );
}

/// Returns the names in a text that look like those of metrics, without the suffixes of histograms.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = text.split(|character| !is_part(character));
    let names = words.filter(|word| word.starts_with("wharf_") || word.starts_with("process_"));
    names
        .map(|name| {
            let suffixes = ["_bucket", "_sum", "_count"];
            let without = suffixes.into_iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_histogram = |name: &str| {
                ALL.iter().any(|metric| metric.name == name && metric.kind == Kind::Histogram)
            };
            without.filter(|name| is_histogram(name)).unwrap_or(name).to_owned()
        })
        .collect()
}

#[test]
fn dashboards_alerts_and_pages_name_metrics_that_there_are() {
    let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    let mut all = BTreeSet::new();
    for file in ["deploy/grafana/wharf.json", "deploy/prometheus/wharf.rules.yml"] {
        let found = named(&read(file));
        assert!(found.len() > 10, "{file} names {found:?}");
        let unknown: Vec<_> = found.iter().filter(|name| !known.contains(&***name)).collect();
        assert!(
            unknown.is_empty(),
            "{file} names metrics that the host does not have: {unknown:?}"
        );
        all.extend(found);
    }
    // They are for other views.
    all.extend(["process_start_time_seconds".to_owned()]);
    let unused: Vec<_> = known.iter().filter(|name| !all.contains(**name)).collect();
    assert!(
        unused.is_empty(),
        "no panel and no alert has {unused:?}; show them, or take them away"
    );
    for page in ["docs/metrics.md", "docs/production.md"] {
        let unknown: Vec<String> = named(&read(page))
            .into_iter()
            // Beginnings of several names end with a line below.
            .filter(|name| !known.contains(&**name) && !name.ends_with('_'))
            .collect();
        assert!(
            unknown.is_empty(),
            "{page} names metrics that the host does not have: {unknown:?}"
        );
    }
}
