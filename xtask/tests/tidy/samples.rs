//! The samples of `deploy/`, as the documents show them.

use super::assert_none;
use super::source::read;

/// Documents with the samples that they show, as blocks of code that begin with the sample's first line.
const SHOWN: [(&str, &[&str]); 2] = [
    (
        "docs/production.md",
        &["systemd/wharf.toml", "systemd/wharf.socket", "systemd/wharf.service"],
    ),
    ("docs/proxy.md", &["nginx.conf", "Caddyfile", "haproxy.cfg", "haproxy-tls.cfg"]),
];

#[test]
fn documents_show_the_samples_as_they_are() {
    let mut findings = Vec::new();
    for (document, samples) in SHOWN {
        let text = read(document);
        for sample in samples {
            let content = read(&format!("deploy/{sample}"));
            if !text.contains(&format!("\n{content}```\n")) {
                findings.push(format!("{document}: deploy/{sample}"));
            }
        }
    }
    assert_none(
        &findings,
        "these documents must have these files word for word in a block of code:",
    );
}
