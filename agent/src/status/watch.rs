//! `fluidity status --watch`: the status again and again, until Ctrl-C or until nobody reads it.
//!
//! On a terminal each one is drawn over the last; elsewhere they follow each other, with an empty line between. An agent that
//! does not answer is told in the same place, and asked again.

use super::{Form, Status};
use fluidity_daemon::escape::{escaped, escaped_json};
use serde_json::json;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::signal::ctrl_c;
use tokio::time::{MissedTickBehavior, interval};

/// Shows how the agent stands, `every` so often.
///
/// # Errors
/// The output takes no more; that its reader has left is no error.
pub async fn watch(admin: SocketAddr, form: Form, every: Duration) -> io::Result<()> {
    let drawn = form == Form::Lines && io::stdout().is_terminal();
    let mut interrupted = pin!(ctrl_c());
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first = true;
    loop {
        let look = async {
            looks.tick().await;
            Status::fetch(admin).await
        };
        let text = tokio::select! {
            _ = &mut interrupted => return Ok(()),
            status = look => match status {
                Ok(status) => status.render(form),
                Err(error) => failure(&format!("{error:#}"), form),
            },
        };
        let block = match (drawn, first) {
            (true, true) => format!("{CLEAR}{}", drawing(&text)),
            (true, false) => drawing(&text),
            (false, true) => text,
            (false, false) => format!("\n{text}"),
        };
        first = false;
        let mut out = io::stdout().lock();
        match out.write_all(block.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

fn failure(error: &str, form: Form) -> String {
    match form {
        Form::Lines => format!("error      {}\n", escaped(error, MOST)),
        Form::Json => escaped_json(&format!("{:#}\n", json!({ "error": error }))),
    }
}

/// A text over whatever is on the terminal, from its top: nothing flickers, and nothing of the last one is left.
fn drawing(text: &str) -> String {
    let lines: String = text
        .lines()
        .map(|line| format!("{line}{END_OF_LINE}\n"))
        .collect();
    format!("{TOP}{lines}{END_OF_SCREEN}")
}

const CLEAR: &str = "\x1b[2J";
const TOP: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K";
const END_OF_SCREEN: &str = "\x1b[J";
/// Characters of an error.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_begins_at_the_top_and_leaves_nothing_of_the_one_before() {
        assert_eq!(drawing("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn an_error_stands_in_the_status_place_and_cannot_act_on_the_terminal() {
        let lines = failure("none\n\x1b[2J", Form::Lines);
        assert!(
            lines.starts_with("error      none") && lines.lines().count() == 1 && !lines.contains('\x1b')
        );
        let json: serde_json::Value = serde_json::from_str(&failure("none", Form::Json)).unwrap();
        assert_eq!(json["error"], "none");
    }
}
