//! A terminal that is drawn anew each time, and restored at the end.

use std::io::{self, Read, Write};

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// Turns to a screen of its own without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Moves to the upper left corner; erases the rest of a line, and of the screen.
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\n";
const END_OF_SCREEN: &str = "\x1b[J";

/// The size of a terminal that does not tell it.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// The terminal. It is as before when this is dropped.
pub(super) struct Screen {
    before: Termios,
    keys: mpsc::Receiver<u8>,
}

impl Screen {
    /// Takes the terminal. Keys come one by one, and are not shown.
    pub(super) fn open() -> anyhow::Result<Screen> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).context("the terminal cannot be read")?;
        let mut modes = before.clone();
        // Signals of keys stay, so that Ctrl-C ends it.
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &modes).context("the terminal cannot be set")?;
        let (sender, keys) = mpsc::channel(16);
        let screen = Screen { before, keys };
        // It ends with the process, or when nobody wants keys any more.
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
            let mut key = [0];
            while let Ok(1) = io::stdin().lock().read(&mut key) {
                let [key] = key;
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        })?;
        write(ENTER)?;
        Ok(screen)
    }

    /// Returns the next key; `None` if there will be none.
    pub(super) async fn key(&mut self) -> Option<u8> {
        self.keys.recv().await
    }

    /// Draws lines, as many as there is room for, and as much of each.
    pub(super) fn draw(&self, lines: &[String]) -> anyhow::Result<()> {
        let size = tcgetwinsize(io::stdout()).ok();
        let size = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        let (width, height) = size.filter(|(width, _)| *width > 0).unwrap_or(USUAL_SIZE);
        let mut text = String::from(HOME);
        for line in lines.iter().take(height.saturating_sub(1)) {
            text.extend(line.chars().take(width));
            text.push_str(END_OF_LINE);
        }
        text.push_str(END_OF_SCREEN);
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nothing more to do for a terminal that is gone.
        let _ = write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("the terminal is gone")
}
