//! The Autobahn testsuite, an independent client that breaks RFC 6455 in some 300 ways, against the echo.
//! `cargo xtask autobahn` installs the testsuite and runs this program.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wharf_tests::{Value, Wharf, json};

/// Cases that run one after the other; the groups run beside each other, since most of the time is waiting.
/// Groups 12 and 13 are about compression, which the host does not offer.
const GROUPS: [&[&str]; 6] =
    [&["1.*", "2.*"], &["3.*", "4.*"], &["5.*", "10.*"], &["6.*"], &["7.*"], &["9.*"]];

/// Number of cases of these groups.
const CASES: usize = 301;

/// The largest message of the cases has 16 MiB, and the machine may be busy.
const FLAGS: [&str; 9] = [
    "--max-message-bytes 16777216",
    "--max-frame-bytes 16777216",
    "--max-outbound-message-bytes 16777216",
    "--max-effect-bytes-per-event 16777216",
    "--outbound-queue-bytes 67108864",
    "--hostcall-bytes 67108864",
    "--max-memory-bytes 268435456",
    "--cpu-budget-ms 60000",
    "--wall-budget-ms 60000",
];

/// Results that pass. `NON-STRICT` is what the RFC allows and the testsuite does not recommend: the host looks
/// for UTF-8 at the end of a frame, not within it (6.4.3, 6.4.4).
const PASSES: [&str; 3] = ["OK", "NON-STRICT", "INFORMATIONAL"];

/// Time limit for all cases. They take 20 seconds on two cores.
const LIMIT: Duration = Duration::from_secs(1200);

/// Name of the host in the reports.
const AGENT: &str = "wharf";

/// Starts the testsuite's client. Packages that are installed into a folder are found as in a Python's own.
const START: &str = "import site, sys; site.addsitedir(sys.argv.pop(1)); \
                     from autobahntestsuite.wstest import run; run()";

#[tokio::test]
#[ignore = "needs the Autobahn testsuite: run `cargo xtask autobahn`"]
async fn the_autobahn_testsuite_finds_no_failure() {
    let wharf = Wharf::start(&["echo"], &FLAGS).await;
    let mut clients: Vec<(Child, PathBuf)> = Vec::new();
    for (number, cases) in GROUPS.iter().enumerate() {
        let folder = wharf.folder().join(format!("autobahn-{number}"));
        std::fs::create_dir(&folder).expect("a folder for reports");
        clients.push((start(&folder, &wharf.url("/echo"), cases), folder));
    }
    let begun = Instant::now();
    for (client, folder) in &mut clients {
        while client.try_wait().expect("the process can be waited for").is_none() {
            if begun.elapsed() > LIMIT {
                let _ = client.kill();
                panic!("not finished in {LIMIT:?}: {}", said(folder));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut failed = Vec::new();
    for (_, folder) in &clients {
        for (case, result) in report(folder) {
            let results = ["behavior", "behaviorClose"].map(|key| result[key].as_str());
            for result in results {
                let result = result.unwrap_or("no result");
                if !PASSES.contains(&result) {
                    failed.push(format!("{case}: {results:?}"));
                }
            }
            *counts.entry(results[0].unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    println!("autobahn: {counts:?}");
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(counts.values().sum::<usize>(), CASES, "all cases have run");
}

fn start(folder: &Path, url: &str, cases: &[&str]) -> Child {
    let specification = json!({
        "outdir": folder.join("reports"),
        "servers": [{ "agent": AGENT, "url": url }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let file = folder.join("specification.json");
    std::fs::write(&file, specification.to_string()).expect("a specification");
    let variable = |name: &str| {
        std::env::var_os(name)
            .unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask autobahn`"))
    };
    let output = File::create(folder.join("output")).expect("a file");
    Command::new(variable("WHARF_AUTOBAHN_PYTHON"))
        .args(["-c", START])
        .arg(variable("WHARF_AUTOBAHN_PACKAGES"))
        .args(["--mode", "fuzzingclient", "--spec"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a copy"))
        .stderr(output)
        .spawn()
        .expect("Python 2.7 runs")
}

/// Returns the results of all cases.
fn report(folder: &Path) -> BTreeMap<String, Value> {
    let index = std::fs::read(folder.join("reports/index.json"));
    let index = index.unwrap_or_else(|error| panic!("no report: {error}\n{}", said(folder)));
    let mut agents: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_slice(&index).expect("a report in JSON");
    agents.remove(AGENT).unwrap_or_default()
}

/// Returns the end of a client's output.
fn said(folder: &Path) -> String {
    let output = std::fs::read(folder.join("output")).unwrap_or_default();
    let output = String::from_utf8_lossy(&output);
    output.lines().rev().take(20).collect::<Vec<_>>().join("\n")
}
