//! Rungs and level: how far up a recipe got.
//!
//! A summary for people and badges. It may understate, never overstate, and it never touches the verdict.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use ground::outcome::{Stage, Status};

/// The ladder: one status per rung, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rungs {
    /// The install tier.
    pub install: Status,
    /// The upgrade tier.
    pub upgrade: Status,
    /// The backup and restore tiers together: a backup that was never restored proves nothing.
    pub backup_restore: Status,
    /// The custom tier.
    pub custom: Status,
    /// The static checks.
    pub lint: Status,
}

impl Default for Rungs {
    /// Returns the ladder of a run that has shown nothing yet.
    fn default() -> Self {
        Self::from_tiers([], Status::Unver)
    }
}

impl Rungs {
    /// Returns the ladder for the tiers that have ended; a tier that is missing is `unver`.
    pub fn from_tiers(tiers: impl IntoIterator<Item = (Stage, Status)>, lint: Status) -> Self {
        let [
            mut install,
            mut upgrade,
            mut backup,
            mut restore,
            mut custom,
        ] = [Status::Unver; 5];
        for (stage, status) in tiers {
            match stage {
                Stage::Install => install = status,
                Stage::Upgrade => upgrade = status,
                Stage::Backup => backup = status,
                Stage::Restore => restore = status,
                Stage::Custom => custom = status,
            }
        }
        Self {
            install,
            upgrade,
            backup_restore: both(backup, restore),
            custom,
            lint,
        }
    }

    /// Returns the ladder of the app under test, where no rung is higher than the tiers of `others` allow: what is red, or
    /// flaky, in one of them is so on the rung. What one could not show keeps nothing down.
    pub fn of_apps(
        tested: impl IntoIterator<Item = (Stage, Status)>,
        others: impl IntoIterator<Item = (Stage, Status)>,
        lint: Status,
    ) -> Self {
        let weight = |status| match status {
            Status::Fail => 2,
            Status::Flaky => 1,
            Status::Pass | Status::Skip | Status::Unver => 0,
        };
        let others = others.into_iter();
        let others = others.filter(|(_, status)| weight(*status) > 0);
        let mut all: Vec<_> = tested.into_iter().chain(others).collect();
        // Of one stage the last counts.
        all.sort_by_key(|(_, status)| weight(*status));
        Self::from_tiers(all, lint)
    }

    /// Returns every rung with its name, lowest first.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Status); 5] {
        [
            ("install", self.install),
            ("upgrade", self.upgrade),
            ("backup+restore", self.backup_restore),
            ("custom", self.custom),
            ("lint", self.lint),
        ]
    }

    /// Returns the level, 0 to 5: the highest rung that passed with nothing but `pass` and `skip` below it.
    #[must_use]
    pub fn level(&self) -> u8 {
        let mut level = 0;
        for (height, (_, status)) in (1..).zip(self.named()) {
            match status {
                Status::Pass => level = height,
                Status::Skip => {}
                Status::Fail | Status::Unver | Status::Flaky => break,
            }
        }
        level
    }
}

/// Returns the status of a rung that two tiers make up.
fn both(one: Status, other: Status) -> Status {
    match (one, other) {
        (Status::Fail, _) | (_, Status::Fail) => Status::Fail,
        (Status::Pass, Status::Pass) => Status::Pass,
        (Status::Skip, Status::Skip) => Status::Skip,
        (Status::Flaky, Status::Pass | Status::Flaky) | (Status::Pass, Status::Flaky) => {
            Status::Flaky
        }
        // One half alone verifies nothing.
        _ => Status::Unver,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(letter: char) -> Status {
        match letter {
            'p' => Status::Pass,
            'f' => Status::Fail,
            's' => Status::Skip,
            'y' => Status::Flaky,
            _ => Status::Unver,
        }
    }

    fn rungs(letters: &str) -> Rungs {
        let all: Vec<Status> = letters.chars().map(status).collect();
        Rungs {
            install: all[0],
            upgrade: all[1],
            backup_restore: all[2],
            custom: all[3],
            lint: all[4],
        }
    }

    #[test]
    fn golden_levels() {
        let cases = [
            ("pfppp", 1),
            ("ppspp", 5),
            ("ppupp", 2),
            ("ppppu", 4),
            ("fpppp", 0),
            ("ssppp", 5),
            ("ppppp", 5),
            ("ppppf", 4),
            // A skip is climbed past, never a height of its own.
            ("ppsss", 2),
            ("sssss", 0),
            ("psuup", 1),
            ("uuuuu", 0),
            // What passed when it was run again is no clean pass.
            ("ypppp", 0),
            ("pypsp", 1),
            ("pppyp", 3),
        ];
        for (letters, level) in cases {
            assert_eq!(rungs(letters).level(), level, "{letters}");
        }
    }

    #[test]
    fn backup_and_restore_make_one_rung() {
        let cases = [
            ("pp", 'p'),
            ("ss", 's'),
            ("fp", 'f'),
            ("pf", 'f'),
            ("fs", 'f'),
            ("fu", 'f'),
            ("ps", 'u'),
            ("sp", 'u'),
            ("pu", 'u'),
            ("us", 'u'),
            ("py", 'y'),
            ("yp", 'y'),
            ("yy", 'y'),
            ("ys", 'u'),
            ("yf", 'f'),
        ];
        for (letters, expected) in cases {
            let mut letter = letters.chars().map(status);
            let tiers =
                [Stage::Backup, Stage::Restore].map(|stage| (stage, letter.next().unwrap()));
            assert_eq!(
                Rungs::from_tiers(tiers, Status::Unver).backup_restore,
                status(expected),
                "{letters}"
            );
        }
    }

    #[test]
    fn a_tier_that_was_not_asked_for_blocks_the_ladder() {
        let quick = Rungs::from_tiers(
            [
                (Stage::Install, Status::Pass),
                (Stage::Custom, Status::Pass),
            ],
            Status::Pass,
        );
        assert_eq!(quick.upgrade, Status::Unver);
        assert_eq!(quick.level(), 1);
    }
}
