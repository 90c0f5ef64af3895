//! What is said of the other apps of a run: each line names its app.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::event::{Event, OtherApp};
use harness::outcome::{Stage, TierOutcome};

use super::Renderer;

/// The tiers of an app that were planned or decided, and what came of each.
pub(super) type Tiers = BTreeMap<Stage, Option<TierOutcome>>;

impl Renderer {
    /// Returns the lines for something that happened to another app.
    pub(super) fn of(&mut self, app: &OtherApp, event: &Event, at: Duration) -> String {
        let is_of_tier = matches!(
            event,
            Event::TierStarted(_) | Event::TestFinished { .. } | Event::TierFinished(_)
        );
        // The install of the fresh app is that of the run.
        self.app = Some(app.clone()).filter(|app| app.has_row() || !is_of_tier);
        let text = self.event(event, at);
        self.app = None;
        text
    }

    /// Returns `text` with the app that it is about.
    pub(super) fn with_app(&self, text: &str) -> String {
        match &self.app {
            Some(app) => format!("{}: {text}", self.clean(&app.to_string())),
            None => text.to_owned(),
        }
    }

    /// Returns the tiers of the app that is spoken of.
    pub(super) fn tiers_of_app(&mut self) -> &mut Tiers {
        let Some(app) = &self.app else {
            return &mut self.tiers;
        };
        let at = self.rows.iter().position(|(row, _)| row == app);
        let at = at.unwrap_or_else(|| {
            self.rows.push((app.clone(), Tiers::new()));
            self.rows.len() - 1
        });
        &mut self.rows[at].1
    }
}

#[cfg(test)]
mod tests {
    use harness::outcome::{Phase, Status, Verdict};

    use super::*;
    use crate::ui::Mode;
    use crate::ui::render::tests::finished;
    use crate::ui::symbols::Charset;

    /// Two apps may come up at once, and every line says whose it is.
    #[test]
    fn what_happens_to_another_app_names_it() {
        let mut renderer = Renderer::new(Mode::Plain, Charset::Ascii);
        let at = Duration::from_secs(1);
        let mut say = |event: Event| renderer.event(&event, at);
        let older = || OtherApp::base("0.1.0+1.0.0");
        let of = |app: OtherApp, event| Event::Of(app, Box::new(event));
        let started = || Event::PhaseStarted {
            phase: Phase::Deploy,
            detail: "deploying".to_owned(),
        };
        say(started());
        let line = say(of(older(), started()));
        assert!(line.contains("from 0.1.0+1.0.0: deploying"), "{line}");
        let took = Event::PhaseFinished {
            phase: Phase::Deploy,
            elapsed: Duration::from_secs(3),
        };
        assert!(say(of(older(), took.clone())).contains("from 0.1.0+1.0.0: took"));
        assert!(!say(took).contains("from"));
        let ended = |status| {
            Event::TierFinished(TierOutcome {
                stage: Stage::Upgrade,
                status,
                reason: Some("it fell".to_owned()),
                duration: Duration::from_secs(1),
                tests: Vec::new(),
                blames_recipe: true,
            })
        };
        say(ended(Status::Pass));
        say(of(older(), ended(Status::Fail)));
        let table = say(finished(Verdict::Failed, 1, None, &[]));
        assert!(table.contains("from 0.1.0+1.0.0: it fell"), "{table}");
        assert!(table.contains("upgrade fail"), "{table}");
    }
}
