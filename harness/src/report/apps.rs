//! What came of the other apps of a run, as `results.json` has it.

use super::results::{Output, Results};
use super::tiers::{Tier, tier_among};
use crate::event::{Event, OtherApp};
use ground::outcome::{Stage, Status};

impl Results {
    /// Folds in what happened to another app, and returns whether the file must be written now.
    pub(super) fn fold_of(&mut self, app: &OtherApp, event: &Event) -> bool {
        let row = self.apps.iter().position(|one| one.planned.app == *app);
        match (event, row) {
            (Event::PhaseFinished { phase, elapsed }, Some(row)) => {
                self.apps[row].phases.add(*phase, *elapsed);
            }
            (Event::FailureOutput { title, lines, log }, _) => {
                self.show(title, lines, log.as_deref(), Some(app));
                return false;
            }
            (Event::Warning(text), _) => {
                self.warnings.push(format!("{app}: {text}"));
                return false;
            }
            (Event::TierStarted(stage), Some(row)) if app.has_row() => {
                self.running = Some(*stage);
                tier_among(&mut self.apps[row].tiers, *stage).run();
                return true;
            }
            (Event::TierFinished(tier), Some(row)) if app.has_row() => {
                let ended = Tier::ended(tier, Some(app));
                *tier_among(&mut self.apps[row].tiers, tier.stage) = ended;
                return true;
            }
            (Event::TestFinished { stage, test }, Some(row)) if app.has_row() => {
                tier_among(&mut self.apps[row].tiers, *stage).add(test, Some(app));
                return false;
            }
            _ => {}
        }
        self.fold(event)
    }

    /// Returns every tier of the run, each with the app where that is another one than the one under test.
    pub(super) fn all_tiers(&self) -> impl Iterator<Item = (Option<&OtherApp>, &Tier)> {
        let others = self.apps.iter().flat_map(|one| {
            let app = Some(&one.planned.app);
            one.tiers.iter().map(move |tier| (app, tier))
        });
        self.tiers.iter().map(|tier| (None, tier)).chain(others)
    }

    /// Returns how the tiers of other apps ended.
    pub(super) fn of_others(&self) -> impl Iterator<Item = (Stage, Status)> {
        let tiers = self.all_tiers().filter(|(app, _)| app.is_some());
        tiers.map(|(_, tier)| (tier.name, tier.status))
    }
}

impl Output {
    /// Returns what it is called in a report that has that of several apps.
    #[must_use]
    pub fn called(&self) -> String {
        match &self.app {
            Some(app) => format!("{app}: {}", self.title),
            None => self.title.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{Events, Planned, PlannedOther};
    use crate::report::recorder::Recorder;
    use crate::report::redact::Redactor;
    use ground::outcome::{Phase, TestOutcome, TierOutcome};

    /// Returns the results of a run with a fresh install and an older base, in which this happens to each app.
    fn after(happen: impl Fn(&Events)) -> Results {
        let recorder = Recorder::new("/nowhere/results.json".into(), Redactor::default());
        let events = Events::default();
        events.add(recorder.consumer());
        let planned = |app| PlannedOther {
            app,
            domain: "note-0a1b2c.z".to_owned(),
            how: "parallel".to_owned(),
            why: None,
        };
        events.emit(&Event::Planned(Box::new(Planned {
            stages: vec![Stage::Install, Stage::Upgrade],
            fresh: Some(planned(OtherApp::fresh())),
            others: vec![planned(OtherApp::base("1.0.0+1"))],
            ..Planned::default()
        })));
        for app in [OtherApp::fresh(), OtherApp::base("1.0.0+1")] {
            happen(&events.of(&app));
        }
        let mut results = recorder.results();
        results.climb();
        results
    }

    fn ended(stage: Stage, status: Status) -> Event {
        Event::TierFinished(TierOutcome {
            stage,
            status,
            reason: None,
            duration: Duration::from_secs(1),
            tests: vec![TestOutcome::ended(
                "generic: serving".to_owned(),
                status,
                Duration::ZERO,
                None,
            )],
            blames_recipe: false,
        })
    }

    #[test]
    fn what_happens_to_another_app_stands_in_its_row_with_its_time_and_its_output() {
        let results = after(|events| {
            events.emit(&Event::PhaseFinished {
                phase: Phase::Deploy,
                elapsed: Duration::from_millis(7),
            });
            events.emit(&Event::FailureOutput {
                title: "log".to_owned(),
                lines: vec!["bye".to_owned()],
                log: None,
            });
            events.warn("look");
            events.emit(&ended(Stage::Install, Status::Pass));
        });
        let [fresh, base] = &results.apps[..] else {
            panic!("{:?}", results.apps);
        };
        assert_eq!((fresh.phases.deploy_ms, base.phases.deploy_ms), (7, 7));
        assert_eq!(results.phases.deploy_ms, 14);
        // The install of the fresh app is that of the run.
        assert!(fresh.tiers.is_empty());
        assert_eq!(results.tiers[0].tests[0].id, "install/generic: serving");
        assert_eq!(
            base.tiers[0].tests[0].id,
            "install from 1.0.0+1/generic: serving"
        );
        let of: Vec<_> = results.output.iter().map(Output::called).collect();
        assert_eq!(of, ["fresh: log", "from 1.0.0+1: log"]);
        assert_eq!(results.warnings, ["fresh: look", "from 1.0.0+1: look"]);
    }

    /// What an older base could not show says nothing of the head; what it shows to be red does.
    #[test]
    fn a_rung_is_never_higher_than_another_app_shows() {
        for (older, rung) in [
            (Status::Pass, Status::Pass),
            (Status::Unver, Status::Pass),
            (Status::Flaky, Status::Flaky),
            (Status::Fail, Status::Fail),
        ] {
            let mut results = after(|events| events.emit(&ended(Stage::Upgrade, older)));
            *results.tier_mut(Stage::Upgrade) = Tier::waiting(Stage::Upgrade);
            results.tier_mut(Stage::Upgrade).status = Status::Pass;
            results.climb();
            assert_eq!(results.rungs.upgrade, rung, "{older}");
        }
    }
}
