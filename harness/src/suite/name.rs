//! What a file of a suite is, by its name.

use ground::outcome::Stage;

pub(super) fn is_test_of(name: &str, stage: Stage) -> bool {
    stem(name).strip_prefix("test_") == Some(stage.name())
}

/// Whether a file beside `custom/` is a test. The custom tier's tests are in `custom/`.
pub(super) fn is_test_of_a_tier(name: &str) -> bool {
    let mut stages = Stage::ALL.iter();
    stages.any(|stage| *stage != Stage::Custom && is_test_of(name, *stage))
}

/// Whether a file under `custom/` is a test; a lifecycle test there would run twice.
pub(super) fn is_custom_test(name: &str) -> bool {
    stem(name).starts_with("test_") && !is_test_of_a_tier(name)
}

/// Whether a file under `ops/` is a hook of a tier.
pub(super) fn is_ops_hook(name: &str) -> bool {
    let (kind, stage) = stem(name).split_once('_').unwrap_or_default();
    ["pre", "verify"].contains(&kind) && Stage::ALL.iter().any(|known| known.name() == stage)
}

pub(super) fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether a file is left out: hidden, or an editor's backup.
pub(super) fn is_ignored(name: &str) -> bool {
    name.starts_with('.') || name.ends_with('~')
}
