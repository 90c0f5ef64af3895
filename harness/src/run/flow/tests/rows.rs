//! Whether the orders that the tests beside this one know see every row of every table.

use super::scribe::{Script, run, steps};
use crate::run::flow::{COLD, Flow, PROMOTION, QUICK};
use crate::run::step::{Holds, Step, Turn, Up};

/// Returns these steps with one thing wrong: one is left out, two have changed places, or a block is done when it is not
/// to be.
fn broken(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let mut with = |change: &dyn Fn(&mut Vec<Step>)| {
            let mut steps = steps.to_vec();
            change(&mut steps);
            all.push(steps);
        };
        with(&|steps| {
            steps.remove(at);
        });
        if at > 0 {
            with(&|steps| steps.swap(at - 1, at));
        }
        if let Step::Where(holds, those) = step {
            let other = match holds {
                Holds::Judged => Holds::Unjudged,
                Holds::Unjudged => Holds::Judged,
            };
            with(&|steps| steps[at] = Step::Where(other, those));
            for those in broken(those) {
                let those: &'static [Step] = those.leak();
                with(&|steps| steps[at] = Step::Where(*holds, those));
            }
        }
    }
    all
}

/// The orders above are whole: they see every row of every table. A row that none of their runs comes to would not be
/// held by anything.
#[test]
fn no_row_of_a_flow_goes_or_moves_unseen() {
    let moves = || Script {
        moves: true,
        ..Script::default()
    };
    let unknown = || Script {
        unknown: true,
        ..Script::default()
    };
    let promotion = |rows: &[Step]| {
        [Script::default(), moves()]
            .map(|it| steps(rows, it))
            .to_vec()
    };
    let right = promotion(PROMOTION.steps);
    for wrong in broken(PROMOTION.steps) {
        assert_ne!(promotion(&wrong), right, "{wrong:?}");
    }
    let runs = |flow: &'static Flow| match flow.name {
        "quick" => vec![
            run(flow, Script::default()),
            run(flow, moves()),
            run(flow, unknown()),
        ],
        _ => [None, Some(Turn::Beside), Some(Turn::First)]
            .map(|fresh| {
                let script = Script {
                    fresh,
                    others: vec![(Turn::First, Up::Serves), (Turn::Beside, Up::Serves)],
                    ..Script::default()
                };
                run(flow, script)
            })
            .to_vec(),
    };
    for flow in [&COLD, &QUICK] {
        let right = runs(flow);
        let parts: [fn(&mut Flow) -> &mut &'static [Step]; 4] = [
            |flow| &mut flow.opening,
            |flow| &mut flow.steps,
            |flow| &mut flow.work,
            |flow| &mut flow.closing,
        ];
        for part in parts {
            let mut copy = flow.clone();
            let rows = *part(&mut copy);
            for wrong in broken(rows) {
                let said = format!("{}: {wrong:?}", flow.name);
                *part(&mut copy) = wrong.leak();
                let broken: &'static Flow = Box::leak(Box::new(copy.clone()));
                assert_ne!(runs(broken), right, "{said}");
            }
        }
    }
}
