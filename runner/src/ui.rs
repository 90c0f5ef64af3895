//! The console: the only place that prints.
//!
//! stderr is for people, stdout is for machines. Printing is best effort: a closed terminal or pipe never
//! fails a run, because `run.log` is the record. What is printed is decided by pure functions in `render`
//! and `failure`.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use harness::event::{Consumer, Event};
use harness::outcome::Status;
use harness::report::redact::Redactor;
use harness::wait::Stopwatch;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::render::Renderer;
use self::symbols::Charset;

pub(crate) mod failure;
pub(crate) mod lint;
pub(crate) mod render;
mod stderr;
pub(crate) mod symbols;

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// For a terminal: finished lines scroll above a live line, which is cut at the terminal's width.
    Progress,
    /// For logs: a line for each thing that begins or ends, never cut.
    Plain,
}

/// How often the live line moves.
const TICK: Duration = Duration::from_millis(125);

/// How often a second the live line is drawn at most, indicatif's own limit for terminals.
const MOST_HZ: u8 = 20;

/// Shows a run on stderr as it goes on.
pub(crate) struct Console {
    renderer: Renderer,
    redactor: Redactor,
    watch: Stopwatch,
    live: Option<ProgressBar>,
    /// Whether only what is wrong is said, and the end.
    is_quiet: bool,
    out: Box<dyn Write>,
}

impl Console {
    /// Returns the console of a run that starts now.
    pub(crate) fn new(mode: Mode, charset: Charset, redactor: Redactor) -> Self {
        Self::with_output(mode, charset, redactor, Box::new(stderr::coloured()))
    }

    fn with_output(mode: Mode, charset: Charset, redactor: Redactor, out: Box<dyn Write>) -> Self {
        Self {
            renderer: Renderer::new(mode, charset),
            redactor,
            watch: Stopwatch::start(),
            live: None,
            is_quiet: false,
            out,
        }
    }

    /// Says only what is wrong, and the end.
    pub(crate) fn quiet(mut self, is_quiet: bool) -> Self {
        self.is_quiet = is_quiet;
        self
    }

    /// Shows `event`.
    pub(crate) fn observe(&mut self, event: &Event) {
        let lines = self.renderer.event(event, self.watch.elapsed());
        if self.is_quiet && !is_said_quietly(event) {
            return;
        }
        let lines = self.redactor.apply(&lines);
        // Nothing can be done about an error, and nothing must be: see the module.
        let out = &mut self.out;
        let mut print = || {
            out.write_all(lines.as_bytes())
                .and_then(|()| out.flush())
                .ok();
        };
        match &self.live {
            Some(live) if !lines.is_empty() => live.suspend(print),
            _ => print(),
        }
        if !self.is_quiet {
            self.move_live(event);
        }
    }

    /// Returns the consumer that this console is.
    pub(crate) fn consumer(mut self) -> Consumer {
        Box::new(move |event| self.observe(event))
    }

    /// Brings the live line up to date, which exists while there is something to wait for.
    fn move_live(&mut self, event: &Event) {
        let Some((label, detail)) = self.renderer.live() else {
            if let Some(live) = self.live.take() {
                live.finish_and_clear();
            }
            return;
        };
        let live = self
            .live
            .get_or_insert_with(|| spinner(self.renderer.charset()));
        if matches!(
            event.what(),
            Event::PhaseStarted { .. } | Event::TierStarted(_) | Event::TeardownStarted { .. }
        ) {
            live.reset_elapsed();
        }
        live.set_prefix(self.redactor.apply(&label).into_owned());
        live.set_message(self.redactor.apply(&detail).into_owned());
    }
}

/// Returns whether an event is worth a word to who wants few.
fn is_said_quietly(event: &Event) -> bool {
    match event {
        Event::TestFinished { test, .. } => matches!(test.status, Status::Fail | Status::Unver),
        Event::TeardownFinished { residual } => !residual.is_empty(),
        Event::FailureOutput { .. }
        | Event::PolicyFound(_)
        | Event::Warning(_)
        | Event::RunFinished(_) => true,
        _ => false,
    }
}

/// Returns the live line. It ticks on a thread of its own, which spawns nothing.
fn spinner(charset: Charset) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix:10} {seconds} {wide_msg}")
        .expect("the template is fixed and well formed")
        .tick_chars(charset.spinner())
        .with_key(
            "seconds",
            |state: &indicatif::ProgressState, line: &mut dyn std::fmt::Write| {
                // The line is only drawn; an error changes nothing.
                write!(line, "{:6.1}s", state.elapsed().as_secs_f64()).ok();
            },
        );
    let terminal = if io::stderr().is_terminal() {
        ProgressDrawTarget::term_like_with_hz(Box::new(stderr::Terminal), MOST_HZ)
    } else {
        ProgressDrawTarget::hidden()
    };
    let live = ProgressBar::with_draw_target(None, terminal).with_style(style);
    live.enable_steady_tick(TICK);
    live
}

/// Prints `error`, what caused it and what to do about it.
pub(crate) fn print_error(error: &dyn Error, hints: &[String], redactor: &Redactor) {
    let text = failure::render(error, hints);
    stderr::coloured()
        .write_all(redactor.apply(&text).as_bytes())
        .ok();
}

/// Prints `text` and a newline for people, outside of a run.
pub(crate) fn say(text: &str) {
    stderr::coloured()
        .write_all(format!("{text}\n").as_bytes())
        .ok();
}

/// Prints `text` and a newline for machines.
///
/// # Errors
/// When it cannot be written; a closed pipe is not an error, because the reader has had enough.
pub(crate) fn print_data(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout();
    match out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints one look of several to stdout; on a terminal it takes the place of the one before.
///
/// # Errors
/// What the system says, a reader that went away included: there is no use in further looks then.
pub(crate) fn print_look(text: &str, replaces: bool) -> io::Result<()> {
    /// Home, and clear from there: no flicker of an empty screen.
    const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";
    let mut out = io::stdout().lock();
    if replaces && out.is_terminal() {
        out.write_all(HOME_AND_CLEAR.as_bytes())?;
    }
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[derive(Clone, Default)]
    struct Kept(Rc<RefCell<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_stderr_fails_nothing() {
        for mode in [Mode::Plain, Mode::Progress] {
            let mut console = Console::with_output(
                mode,
                Charset::Unicode,
                Redactor::default(),
                Box::new(Closed),
            );
            for event in render::tests::red_run() {
                console.observe(&event);
            }
        }
    }

    #[test]
    fn who_wants_few_words_gets_what_is_wrong_and_the_end() {
        let said = |events: Vec<Event>| {
            let kept = Kept::default();
            let out = Box::new(kept.clone());
            let mut console =
                Console::with_output(Mode::Plain, Charset::Ascii, Redactor::default(), out)
                    .quiet(true);
            events.iter().for_each(|event| console.observe(event));
            let text = String::from_utf8(kept.0.take()).unwrap();
            anstream::adapter::strip_str(&text).to_string()
        };
        let red = said(render::tests::red_run());
        for words in ["test_install.sh", "no title", "left behind", "again "] {
            assert!(red.contains(words), "{words}: {red}");
        }
        assert!(
            !red.contains("plan ") && !red.contains("removing the app"),
            "{red}"
        );
        let green = said(render::tests::green_run());
        assert!(
            green.contains("passed, exit code 0") && !green.contains("prepull"),
            "{green}"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let redactor = Redactor::default();
        redactor.add("hunter22");
        let kept = Kept::default();
        let mut console = Console::with_output(
            Mode::Plain,
            Charset::Ascii,
            redactor,
            Box::new(kept.clone()),
        );
        let lines = vec!["login with hun\u{1b}[1mter22\u{1b}[0m".to_owned()];
        console.observe(&Event::FailureOutput {
            title: "service app".to_owned(),
            lines,
            log: None,
        });
        let text = String::from_utf8(kept.0.take()).unwrap();
        assert!(text.contains("login with [redacted]"), "{text}");
    }
}
