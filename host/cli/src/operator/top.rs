//! `wharf top`: the figures of a host and of its channels, each second.

mod rates;
mod screen;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};
use wharf_server::operator_client::{Answer, OperatorClient, Verb};

use crate::output::print_part;
use rates::Sample;
use screen::Screen;
use view::Order;

/// The path of the figures.
pub(super) const PATH: &str = "/api/stats";

/// Time between two figures.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait for figures.
const LIMIT: Duration = Duration::from_secs(10);

/// Shows the figures until somebody ends it. Returns the answer of a host that has refused it.
pub(super) async fn run(
    client: &OperatorClient,
    once: bool,
    is_json: bool,
) -> anyhow::Result<Option<Answer>> {
    let first = match ask(client).await? {
        Ok(sample) => sample,
        Err(refused) => return Ok(Some(refused)),
    };
    if once || is_json || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        sleep(PAUSE).await;
        let second = match ask(client).await? {
            Ok(sample) => sample,
            Err(refused) => return Ok(Some(refused)),
        };
        let text = match is_json {
            true => format!("{:#}\n", second.answer),
            false => view::lines(Some(&first), &second, Order::Name).join("\n") + "\n",
        };
        print_part(&text)?;
        return Ok(None);
    }
    watch(client, first).await
}

/// Shows the figures on a screen.
async fn watch(client: &OperatorClient, first: Sample) -> anyhow::Result<Option<Answer>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut resized = signal(SignalKind::window_change())?;
    let mut screen = Screen::open()?;
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let (mut before, mut now, mut order) = (None, first, Order::Name);
    let mut trouble = None;
    loop {
        let mut lines = view::lines(before.as_ref(), &now, order);
        if let Some(trouble) = &trouble {
            lines.insert(0, format!("not connected: {trouble}; trying again"));
        }
        screen.draw(&lines)?;
        tokio::select! {
            _ = ticks.tick() => match ask(client).await {
                Ok(Ok(sample)) => {
                    before = Some(std::mem::replace(&mut now, sample));
                    trouble = None;
                }
                Ok(Err(refused)) => return Ok(Some(refused)),
                Err(error) => trouble = Some(format!("{error:#}")),
            },
            key = screen.key() => match key {
                None | Some(b'q' | b'Q') => return Ok(None),
                Some(key) => order = Order::of_key(key).unwrap_or(order),
            },
            _ = resized.recv() => {}
            _ = interrupt.recv() => return Ok(None),
            _ = terminate.recv() => return Ok(None),
            _ = hang_up.recv() => return Ok(None),
        }
    }
}

/// Asks for the figures. The host may refuse to tell them.
async fn ask(client: &OperatorClient) -> anyhow::Result<Result<Sample, Answer>> {
    let answer = client.send(Verb::Get, PATH, Vec::new().into(), LIMIT).await?;
    if answer.status != 200 {
        return Ok(Err(answer));
    }
    let figures: Value = serde_json::from_slice(&answer.body)
        .context("the answer is no JSON: it is not the operator's API of a host")?;
    Ok(Ok(Sample { answer: figures }))
}
