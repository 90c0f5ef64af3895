//! What is said of a plan beside what it does.

use super::super::settings::Settings;
use crate::tier;
use ground::outcome::Stage;
use recipe::backup::BackupPlan;
use recipe::backup::database::live_copies;
use recipe::declared::Declared;
use recipe::release::Release;

/// Returns what is passed over in the head, and what of its backup will not pass.
pub(super) fn of(
    settings: &Settings,
    declared: &Declared,
    head: &Release,
    backups: &BackupPlan,
) -> Vec<String> {
    let mut remarks = Vec::from_iter(tier::bad_timeout(head, &settings.domain));
    let is_backed_up = declared.no_backup(backups.is_backup_capable()).is_none();
    if settings.stages.contains(&Stage::Backup) && is_backed_up {
        let copies = live_copies(&head.project, backups).into_iter();
        remarks.extend(copies.map(|copy| format!("the backup is going to fail: {copy}")));
    }
    remarks
}
