//! The figures of servers that take turns: single figures, medians and ratios.

use serde_json::{Map, Value, json};

use crate::report::{Column, Report};
use crate::server::{Contestant, Kind, Server};
use crate::setting::Stage;
use crate::statistics::Spread;

/// One figure of each round.
pub struct Figure {
    /// Name in a table.
    pub heading: &'static str,
    /// Name in JSON.
    pub key: &'static str,
    /// Decimals that are shown.
    pub decimals: usize,
    /// True if the figure says enough about the servers that their ratio is reported.
    pub is_compared: bool,
}

impl Figure {
    /// Returns a figure that is only shown.
    pub const fn shown(heading: &'static str, key: &'static str, decimals: usize) -> Figure {
        Figure { heading, key, decimals, is_compared: false }
    }

    /// Returns a figure of which the ratio is reported too.
    pub const fn compared(heading: &'static str, key: &'static str, decimals: usize) -> Figure {
        Figure { heading, key, decimals, is_compared: true }
    }
}

/// The figures of one round, in the order of the job's list of [`Figure`]s; `NAN` for a figure that
/// this round does not have.
pub type Figures = Vec<f64>;

/// Lets the servers take turns and reports the figures that `measure` returns for each.
///
/// # Errors
///
/// A server does not start, or `measure` fails. The error has the last lines of the server's log.
pub fn compare(
    stage: &Stage,
    figures: &'static [Figure],
    report: &mut Report,
    mut measure: impl FnMut(&Server) -> anyhow::Result<Figures>,
) -> anyhow::Result<()> {
    compare_starts(stage, figures, report, |contestant| {
        let server = contestant.start(Some(stage.cores.server))?;
        measure(&server).map_err(|error| server.process.explain(error))
    })
}

/// Compares like [`compare`], for jobs that start the servers themselves.
///
/// # Errors
///
/// `measure` fails.
pub fn compare_starts(
    stage: &Stage,
    figures: &'static [Figure],
    report: &mut Report,
    mut measure: impl FnMut(&Contestant) -> anyhow::Result<Figures>,
) -> anyhow::Result<()> {
    let mut columns: Vec<Column> = vec![("server", 11), ("round", 5)];
    columns.extend(figures.iter().map(|figure| (figure.heading, 8)));
    report.headings(&columns)?;
    let mut rounds: Vec<(Kind, Figures)> = Vec::new();
    let mut values = Vec::new();
    stage.take_turns(report, |contestant, round, report| {
        let measured = measure(contestant)?;
        report.progress_done();
        let kind = contestant.kind();
        let mut cells = vec![kind.name().to_owned(), round.to_string()];
        let mut value = Map::from_iter([
            ("server".to_owned(), json!(kind)),
            ("round".to_owned(), json!(round)),
        ]);
        for (figure, measured) in figures.iter().zip(&measured) {
            cells.push(shown(*measured, figure.decimals));
            value.insert(figure.key.to_owned(), json!(measured));
        }
        report.row(&columns, &cells)?;
        values.push(Value::Object(value));
        rounds.push((kind, measured));
        Ok(())
    })?;
    report.set("rounds", values);
    describe(figures, report);
    let kinds: Vec<Kind> = stage.contestants.iter().map(Contestant::kind).collect();
    summarise(&kinds, figures, &rounds, report)?;
    ratios(&kinds, figures, &rounds, report)
}

/// Reports the list of figures, for programs that make tables of them.
pub fn describe(figures: &[Figure], report: &mut Report) {
    let column = |figure: &Figure| json!({ "key": figure.key, "heading": figure.heading, "decimals": figure.decimals });
    report.set("columns", figures.iter().map(column).collect::<Vec<_>>());
}

fn shown(figure: f64, decimals: usize) -> String {
    match figure.is_nan() {
        true => "-".to_owned(),
        false => format!("{figure:.decimals$}"),
    }
}

/// Returns one figure of one server for each round.
fn of(rounds: &[(Kind, Figures)], kind: Kind, index: usize) -> Vec<f64> {
    let rounds = rounds.iter().filter(|(server, _)| *server == kind);
    rounds.filter_map(|(_, figures)| figures.get(index).copied()).collect()
}

fn spread(rounds: &[(Kind, Figures)], kind: Kind, index: usize) -> Option<Spread> {
    Spread::of(of(rounds, kind, index).into_iter().filter(|figure| !figure.is_nan()))
}

fn summarise(
    kinds: &[Kind],
    figures: &[Figure],
    rounds: &[(Kind, Figures)],
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut columns: Vec<Column> = vec![("median (min–max)", 11)];
    columns.extend(figures.iter().map(|figure| (figure.heading, 20)));
    report.headings(&columns)?;
    let mut values = Vec::new();
    for &kind in kinds {
        let mut cells = vec![kind.name().to_owned()];
        let mut value = Map::from_iter([("server".to_owned(), json!(kind))]);
        for (index, figure) in figures.iter().enumerate() {
            let spread = spread(rounds, kind, index);
            cells.push(spread.map_or_else(|| "-".to_owned(), |s| s.show(figure.decimals)));
            value.insert(figure.key.to_owned(), json!(spread));
        }
        report.row(&columns, &cells)?;
        values.push(Value::Object(value));
    }
    report.set("summary", values);
    Ok(())
}

/// Returns the first server's figures divided by those of each other server.
fn ratios(
    kinds: &[Kind],
    figures: &[Figure],
    rounds: &[(Kind, Figures)],
    report: &mut Report,
) -> anyhow::Result<()> {
    let [first, others @ ..] = kinds else {
        return Ok(());
    };
    report.line("")?;
    let mut values = Vec::new();
    for &other in others {
        for (index, figure) in figures.iter().enumerate().filter(|(_, f)| f.is_compared) {
            let medians = spread(rounds, *first, index).zip(spread(rounds, other, index));
            let ours = of(rounds, *first, index);
            let theirs = of(rounds, other, index);
            let each = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
            let each = Spread::of(each.filter(|ratio| ratio.is_finite()));
            let (Some((ours, theirs)), Some(each)) = (medians, each) else {
                continue;
            };
            let ratio = ours.median / theirs.median;
            report.line(&format!(
                "{} / {}, {}: {ratio:.3} ({:.3}–{:.3})",
                first.name(),
                other.name(),
                figure.heading,
                each.min,
                each.max
            ))?;
            values.push(json!({
                "of": first, "to": other, "figure": figure.key, "heading": figure.heading,
                "medians": ratio, "rounds": each,
            }));
        }
    }
    report.set("ratios", values);
    Ok(())
}
