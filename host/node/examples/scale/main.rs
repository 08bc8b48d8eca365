//! Prints the traffic of a large cluster by the model in `model.rs`: messages and bytes of the engine, subscriptions, and the
//! part that breaks first.
//!
//! `cargo run -p wharf-node --example scale -- [--hosts 100] [--connections 10000000] …`; `--help` lists the rest.
//! The test `scale` compares the model with hosts that do all of it, without sockets.

mod model;

use std::process::ExitCode;

use model::{Costs, Kind, Load, costs};

const HELP: &str = "\
Print the traffic of a large cluster, by a model.

  --hosts N             Hosts [100]
  --connections N       Connections of all hosts together [10000000]
  --stay SECONDS        Time for which a connection stays [1800]
  --payload BYTES       Payload of a broadcast [200]
  --team N              Members of a team; each connection is in one [20]
  --team-rate R         Broadcasts to a team in a second [0.1]
  --community N         Members of a community; every fifth connection is in one [1000]
  --community-rate R    Broadcasts to a community in a second [0.5]
  --engine-messages N   Messages that the engine can send in a second [1000000]
  --engine-bytes N      Bytes that it can send in a second [1000000000]
  --host-messages N     Messages that a host can take in a second [100000]
  --host-connections N  Connections that a host can hold [200000]
  --host-subscriptions N  Topics to which a host can subscribe [2000000]
";

/// The settings, by their names.
struct Settings(Vec<(String, f64)>);

impl Settings {
    fn read() -> Result<Settings, String> {
        let mut arguments = std::env::args().skip(1);
        let mut settings = Vec::new();
        while let Some(name) = arguments.next() {
            let known = HELP.lines().any(|line| line.trim_start().starts_with(&format!("{name} ")));
            if !name.starts_with("--") || !known {
                return Err(HELP.to_owned());
            }
            let value = arguments.next().and_then(|text| text.parse().ok());
            let value = value.filter(|value: &f64| value.is_finite() && *value > 0.0);
            settings.push((name.clone(), value.ok_or(format!("{name} wants a number above 0"))?));
        }
        Ok(Settings(settings))
    }

    fn get(&self, name: &str, default: f64) -> f64 {
        self.0.iter().rfind(|(given, _)| given == name).map_or(default, |(_, value)| *value)
    }
}

fn main() -> ExitCode {
    match Settings::read() {
        Ok(settings) => {
            report(&settings);
            ExitCode::SUCCESS
        }
        Err(help) => {
            eprintln!("{help}");
            ExitCode::FAILURE
        }
    }
}

fn load(settings: &Settings) -> Load {
    let kind = |name, is_user, size, memberships, broadcasts| Kind {
        name,
        is_user,
        size,
        memberships,
        broadcasts,
        has_history: false,
    };
    Load {
        nodes: settings.get("--hosts", 100.0),
        connections: settings.get("--connections", 1e7),
        stay: settings.get("--stay", 1800.0),
        payload: settings.get("--payload", 200.0) as usize,
        node_timeout: 5.0,
        kinds: vec![
            kind("users with one connection", true, 1.0, 0.6, 1.0 / 600.0),
            kind("users with two", true, 2.0, 0.4, 1.0 / 600.0),
            kind(
                "teams",
                false,
                settings.get("--team", 20.0),
                1.0,
                settings.get("--team-rate", 0.1),
            ),
            kind(
                "communities",
                false,
                settings.get("--community", 1000.0),
                0.2,
                settings.get("--community-rate", 0.5),
            ),
        ],
    }
}

/// A resource, the part of it that is used, and the remedy.
struct Resource {
    name: &'static str,
    used: f64,
    limit: f64,
    remedy: &'static str,
}

fn resources(settings: &Settings, load: &Load, costs: &Costs) -> Vec<Resource> {
    let hosts = load.nodes;
    let resource = |name, used, limit: (&str, f64), remedy| Resource {
        name,
        used,
        limit: settings.get(limit.0, limit.1),
        remedy,
    };
    vec![
        resource(
            "messages that the engine sends/s",
            costs.sent(),
            ("--engine-messages", 1e6),
            "several clusters, each with an engine and a `cluster_prefix` of its own: give each tenant or channel to one of \
             them; fewer and larger hosts, or a balancer that brings the members of a team to the same hosts",
        ),
        resource(
            "bytes that the engine sends/s",
            costs.bytes(),
            ("--engine-bytes", 1e9),
            "as for messages; shorter payloads",
        ),
        resource(
            "messages that a host takes/s",
            costs.sent() / hosts,
            ("--host-messages", 1e5),
            "more hosts do not help where rooms are on all of them: several clusters",
        ),
        resource(
            "connections of a host",
            load.connections / hosts,
            ("--host-connections", 2e5),
            "more hosts",
        ),
        resource(
            "subscriptions of a host",
            costs.subscriptions,
            ("--host-subscriptions", 2e6),
            "more hosts; fewer rooms for each connection",
        ),
    ]
}

fn report(settings: &Settings) {
    let load = load(settings);
    let costs = costs(&load);
    println!("{} hosts, {} connections", load.nodes, load.connections);
    println!("{:<46} {:>12} {:>12} {:>8} {:>10}", "a second", "in", "out", "bytes", "MB out");
    for flow in &costs.flows {
        let megabytes = flow.sent * flow.size / 1e6;
        println!(
            "{:<46} {:>12.0} {:>12.0} {:>8.0} {:>10.1}",
            flow.name, flow.received, flow.sent, flow.size, megabytes
        );
    }
    println!(
        "{:<46} {:>12.0} {:>12.0} {:>8} {:>10.1}",
        "the engine",
        costs.received(),
        costs.sent(),
        "",
        costs.bytes() / 1e6
    );
    println!();
    println!("subscriptions of a host     {:>12.0}", costs.subscriptions);
    println!("of which change in a second {:>12.0}", costs.changes);
    println!("all are compared in         {:>12.0} s", costs.comparing);
    println!();
    let resources = resources(settings, &load, &costs);
    for Resource { name, used, limit, .. } in &resources {
        println!("{name:<36} {used:>12.0} of {limit:>12.0}  {:>5.1}%", used / limit * 100.0);
    }
    let share = |resource: &&Resource| resource.used / resource.limit;
    if let Some(first) = resources.iter().max_by(|one, other| share(one).total_cmp(&share(other))) {
        println!();
        println!("first to break: {}, at {:.1} times this load", first.name, 1.0 / share(&first));
        println!("then: {}", first.remedy);
    }
}
