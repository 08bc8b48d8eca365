//! Figures as a chart in SVG.

use std::fmt::Write as _;

use serde_json::Value;

use super::Entry;

/// Sizes in pixels: the left edge of the bars, the longest bar, and the heights.
const LEFT: f64 = 110.0;
const LONGEST: f64 = 480.0;
const WIDTH: f64 = 760.0;
const TITLE: f64 = 26.0;
const BAR: f64 = 18.0;
const GAP: f64 = 14.0;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #24292f } \
.title { font-weight: 600 } .value { font-size: 12px } \
.bar { fill: #9aa4b1 } .wharf { fill: #2f6fde } .spread { stroke: #24292f } \
@media (prefers-color-scheme: dark) { text { fill: #d5dae1 } .spread { stroke: #d5dae1 } \
.bar { fill: #6b7684 } .wharf { fill: #5b93f5 } }";

/// Draws a group of bars for each comparison: medians, and lines from the smallest to the largest
/// of the rounds. Shorter is better everywhere.
pub fn draw(results: &[(&Entry, Value)]) -> String {
    let mut body = String::new();
    let mut y = GAP;
    for (entry, result) in results {
        let Some(key) = entry.drawn else {
            continue;
        };
        let columns = result["columns"].as_array().into_iter().flatten();
        let column = columns.clone().find(|column| column["key"] == key);
        let Some(column) = column else {
            continue;
        };
        let decimals = column["decimals"].as_u64().unwrap_or_default() as usize;
        let rows: Vec<(&str, [f64; 3])> = result["summary"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|row| {
                let figure = |end: &str| row[key][end].as_f64();
                let figures = [figure("min")?, figure("median")?, figure("max")?];
                Some((row["server"].as_str()?, figures))
            })
            .collect();
        let largest = rows.iter().map(|(_, [_, _, max])| *max).fold(0.0, f64::max);
        if largest <= 0.0 {
            continue;
        }
        let heading = column["heading"].as_str().unwrap_or_default();
        let title = escape(&format!("{}: {heading}", entry.title));
        let _ = writeln!(body, r#"<text class="title" x="8" y="{:.0}">{title}</text>"#, y + 14.0);
        y += TITLE;
        for (server, figures) in rows {
            let [min, median, max] = figures.map(|figure| LONGEST * figure / largest);
            let class = if server == "wharf" { "bar wharf" } else { "bar" };
            let middle = y + BAR / 2.0 - 2.0;
            let _ = writeln!(
                body,
                r#"<text x="8" y="{text:.0}">{name}</text><rect class="{class}" x="{LEFT}" y="{y:.1}" width="{median:.1}" height="{height:.0}"/><line class="spread" x1="{from:.1}" x2="{to:.1}" y1="{middle:.1}" y2="{middle:.1}"/><text class="value" x="{after:.1}" y="{text:.0}">{value:.decimals$}</text>"#,
                text = y + 11.0,
                name = escape(server),
                height = BAR - 4.0,
                from = LEFT + min,
                to = LEFT + max,
                after = LEFT + max + 8.0,
                value = figures[1],
            );
            y += BAR;
        }
        y += GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {y:.0}\" \
         width=\"{WIDTH:.0}\" height=\"{y:.0}\" role=\"img\" \
         aria-label=\"What each server costs; shorter is better\">\n<style>{STYLE}</style>\n\
         {body}</svg>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_longest_bar_is_that_of_the_largest_figure() {
        let entry = Entry {
            name: "echo",
            title: "Echo <1>",
            arguments: &[],
            plugin: "echo",
            drawn: Some("cpu"),
        };
        let same = |figure: f64| json!({ "median": figure, "min": figure, "max": figure });
        let result = json!({
            "columns": [{ "key": "cpu", "heading": "CPU µs", "decimals": 1 }],
            "summary": [
                { "server": "wharf", "cpu": same(2.0) },
                { "server": "bun", "cpu": same(1.0) },
                { "server": "absent", "cpu": null },
            ],
        });
        let chart = draw(&[(&entry, result)]);
        assert!(chart.contains("Echo &lt;1&gt;: CPU µs"), "{chart}");
        assert!(chart.contains(r#"class="bar wharf" x="110" y="40.0" width="480.0""#), "{chart}");
        assert!(chart.contains(r#"class="bar" x="110" y="58.0" width="240.0""#), "{chart}");
        assert!(!chart.contains("absent"), "{chart}");
    }
}
