//! Metrics in Prometheus: scrapes, the alert rules and the dashboard, read by the real programs.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::io::AsyncReadExt;
use wharf_tests::operator::{TOKEN, authorization};
use wharf_tests::{Client, Operated, PATIENCE, Raw, Value, eventually, json, soon};

/// The path of a scrape.
const METRICS: &str = "/metrics";

fn program(name: &str) -> std::ffi::OsString {
    let variable = format!("WHARF_{}", name.to_uppercase());
    std::env::var_os(&variable).unwrap_or_else(|| panic!("{variable} names the program"))
}

fn deployed(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

/// Runs promtool with these arguments and this input.
fn promtool(arguments: &[&str], input: &[u8]) {
    let mut tool = Command::new(program("promtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = tool.stdin.take().expect("its input");
    stdin.write_all(input).expect("it reads");
    drop(stdin);
    let output = tool.wait_with_output().expect("its output");
    let (said, complained) = (output.stdout, output.stderr);
    let said = String::from_utf8_lossy(&said).into_owned() + &String::from_utf8_lossy(&complained);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[tokio::test]
#[ignore = "needs Prometheus"]
async fn promtool_has_nothing_to_say_about_a_scrape_and_the_rules() {
    let it = busy().await;
    let answer = it.host.request("GET", METRICS, &[authorization()], b"").await;
    promtool(&["check", "metrics"], &answer.body);
    let rules = deployed("prometheus/wharf.rules.yml");
    promtool(&["check", "rules", rules.to_str().expect("a path")], b"");
}

/// A host with something to show.
struct Busy {
    host: Operated,
    _clients: Vec<Client>,
}

async fn busy() -> Busy {
    let host = Operated::start(&["operated", "stores"], &["--cpu-budget-ms 100"]).await;
    let mut clients = Vec::new();
    for user in ["ann", "bob"] {
        let path = format!("/operated?user={user}&join=lobby");
        let mut client = host.wharf.connect(&path).await;
        assert_eq!(client.ask("hello").await, "hello");
        clients.push(client);
    }
    host.post("/operated/messages", json!({ "do": "tell_all_and_panic" })).await;
    host.post("/operated/broadcast", json!({ "rooms": ["lobby"], "text": "hear" })).await;
    Busy { host, _clients: clients }
}

impl std::ops::Deref for Busy {
    type Target = Operated;

    fn deref(&self) -> &Operated {
        &self.host
    }
}

/// A running Prometheus.
struct Prometheus {
    address: std::net::SocketAddr,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It has ended if it cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// Starts one with the sample configuration, which scrapes this host every second.
    async fn start(it: &Operated) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        let sample = std::fs::read_to_string(deployed("prometheus/prometheus.yml"));
        let sample = sample.expect("the sample");
        let mut configuration = sample.clone();
        for (from, to) in [
            ("127.0.0.1:4001", it.api.to_string()),
            ("/etc/prometheus/wharf-token", place("token").display().to_string()),
            ("wharf.rules.yml", deployed("prometheus/wharf.rules.yml").display().to_string()),
            ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
            ("evaluation_interval: 15s", "evaluation_interval: 1s".to_owned()),
            ("scrape_timeout: 10s", "scrape_timeout: 1s".to_owned()),
        ] {
            assert!(configuration.contains(from), "the sample has {from}");
            configuration = configuration.replace(from, &to);
        }
        std::fs::write(place("prometheus.yml"), configuration).expect("a file");
        std::fs::write(place("token"), TOKEN).expect("a file");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        // Prometheus does not tell the port that it gets for 0.
        drop(listener);
        let process = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", place("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", place("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(place("log")).expect("a file"))
            .spawn()
            .expect("prometheus");
        let started = Prometheus { address, process, _folder: folder };
        eventually("Prometheus to listen", async || {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        // It answers before it is ready, and has no data then.
        eventually("Prometheus to be ready", async || {
            let mut raw = Raw::open(address).await;
            raw.request("GET /-/ready", &[]).await;
            (raw.answer().await.status == 200).then_some(())
        })
        .await;
        started
    }

    /// Asks for the value of an expression now. Returns the series.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).await;
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        match &answer["data"]["result"] {
            Value::Array(series) => series.clone(),
            other => panic!("{expression} is {other}"),
        }
    }

    async fn get(&self, path: &str) -> Value {
        let mut raw = Raw::open(self.address).await;
        raw.request(&format!("GET {path}"), &[("Connection", "close")]).await;
        let mut text = Vec::new();
        soon("its answer", raw.socket.read_to_end(&mut text)).await.expect("an answer");
        let text = String::from_utf8_lossy(&text);
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        // It may come in chunks, whose lengths are on lines of their own.
        let (begin, end) = (body.find('{'), body.rfind('}'));
        let body = &body[begin.expect("JSON")..=end.expect("JSON")];
        let body = body.split("\r\n").filter(|line| !is_length(line)).collect::<String>();
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}"))
    }
}

fn is_length(line: &str) -> bool {
    line.len() <= 8 && !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the expressions of the dashboard, each with the title of its panel.
fn expressions() -> Vec<(String, String)> {
    let file = std::fs::read_to_string(deployed("grafana/wharf.json")).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&file).expect("JSON");
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            found.push((title.to_owned(), expression.to_owned()));
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

#[tokio::test]
#[ignore = "needs Prometheus"]
async fn prometheus_scrapes_the_host_evaluates_the_rules_and_answers_every_panel_of_the_dashboard()
{
    let it = busy().await;
    let prometheus = Prometheus::start(&it).await;
    // Rates need two scrapes.
    eventually("three scrapes", async || {
        let up = prometheus.query("sum_over_time(up{job=\"wharf\"}[5m])").await;
        let times: f64 = up.first()?["value"][1].as_str()?.parse().ok()?;
        (times >= 3.0).then_some(())
    })
    .await;
    for (title, expression) in expressions() {
        let asked = expression
            .replace("$__rate_interval", "1m")
            .replace("$channel", ".*")
            .replace("$instance", ".*");
        let found = prometheus.query(&asked).await;
        // A single host has none of these.
        let is_of_cluster = expression.contains("wharf_cluster_");
        assert!(is_of_cluster || !found.is_empty(), "{title}: nothing for {expression}");
    }
    let rules = eventually("the rules to be evaluated", async || {
        let rules = prometheus.get("/api/v1/rules").await;
        let groups = rules["data"]["groups"].as_array()?.clone();
        let rules: Vec<Value> = groups
            .iter()
            .filter_map(|group| group["rules"].as_array())
            .flatten()
            .cloned()
            .collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    })
    .await;
    assert!(rules.len() > 10, "{rules:?}");
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let state = |name: &str| {
        let rule = rules.iter().find(|rule| rule["name"] == name);
        rule.unwrap_or_else(|| panic!("no {name}"))["state"].as_str().map(str::to_owned)
    };
    assert_eq!(state("WharfDown").as_deref(), Some("inactive"));
    let failing = tokio::time::timeout(PATIENCE, async {
        loop {
            it.post("/operated/messages", json!({ "do": "tell_all_and_panic" })).await;
            let alerts = prometheus.get("/api/v1/alerts").await;
            let alerts = alerts["data"]["alerts"].as_array().expect("a list").clone();
            if alerts.iter().any(|alert| alert["labels"]["alertname"] == "WharfPluginFails") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    });
    failing.await.expect("an alert about a plugin that traps again and again");
}
