//! The custom tier: whatever the recipe and the overlay ship under `custom/`.

use super::{Bench, Tally, TierError, hook, recipe_tests, stayed, without};
use ground::outcome::{Stage, Status, TierOutcome};
use recipe::declared::{Declared, Rung};

/// The hook that prepares the custom tests.
const SET_UP: &str = "setup_custom_tests";

/// Returns why there are no custom tests.
#[must_use]
pub fn none(declared: &Declared) -> String {
    match declared.not_applicable(Rung::Custom) {
        Some(reason) => format!("declared not applicable: {reason}"),
        None if declared.has_withheld_custom() => {
            "the recipe's custom tests were not run: its source is not granted `run_code`"
                .to_owned()
        }
        None => "neither the recipe nor an overlay ships custom tests".to_owned(),
    }
}

/// Runs the set-up hook and every custom test.
///
/// # Errors
/// [`TierError`] when the host fails.
pub async fn run(bench: &Bench) -> Result<TierOutcome, TierError> {
    let mut tally = Tally::start(&bench.events, Stage::Custom);
    super::database::clear(bench).await?;
    let env = bench.env_for(Stage::Custom);
    let mut hooked = bench.suite.hook(SET_UP, bench.means(&env)).await?;
    bench.note_hooks(Stage::Custom, std::mem::take(&mut hooked.said));
    if !tally.hooked(SET_UP, hooked) {
        return Ok(tally.end());
    }
    if hook(bench, &mut tally, "pre", Stage::Custom).await? {
        recipe_tests(bench, &mut tally, Stage::Custom).await?;
        hook(bench, &mut tally, "verify", Stage::Custom).await?;
    }
    stayed::look(bench, &mut tally).await?;
    bench.learn().await;
    let mut outcome = tally.end();
    let tests = outcome
        .tests
        .iter()
        .filter(|test| test.name != SET_UP && test.name != stayed::STAYED)
        .filter(|test| !test.name.starts_with("ops/"));
    let (count, skipped) = tests.fold((0, 0), |(count, skipped), test| {
        (
            count + 1,
            skipped + usize::from(test.status == Status::Skip),
        )
    });
    if count == 0 && outcome.status == Status::Pass {
        return Ok(without(Stage::Custom, Status::Skip, none(&bench.declared)));
    }
    if count == skipped && outcome.status == Status::Pass {
        // They are there and verified nothing: that is not a pass, whatever each one's reason.
        outcome.status = Status::Unver;
        outcome.reason = Some(format!(
            "all {count} custom tests skipped themselves: nothing was verified"
        ));
        outcome.blames_recipe = true;
    }
    Ok(outcome)
}
