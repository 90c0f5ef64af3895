//! What the policy of a host would refuse in a stranger's proposal, as findings.

use std::path::Path;

use super::finding::{Finding, Severity};
use super::view::View;
use crate::compose::Project;
use crate::compose::resolve::Deployment;
use crate::compose::shared::{Own, SharedNetwork};
use crate::policy::{self, Terms, rules};
use crate::trust::Level;

/// The domain that goes with [`super::NOMINAL_STACK`].
const NOMINAL_DOMAIN: &str = "lint-000000.ci.localhost";

/// The schema that a file without a version is judged by; no key of the policy depends on it.
const SCHEMA: &str = "3.13";

/// Returns what a host would refuse if a stranger proposed the recipe at `root`. What cannot be loaded is a finding
/// of another rule.
pub(super) fn findings(view: &View, root: &Path) -> Vec<Finding> {
    let mut vars = view.vars.clone();
    // As a run sets them.
    vars.insert("DOMAIN".to_owned(), NOMINAL_DOMAIN.to_owned());
    vars.insert("LETS_ENCRYPT_ENV".to_owned(), String::new());
    let deployment = Deployment {
        stack: view.stack.clone(),
        shared: SharedNetwork::Own(Own::of(&view.stack)),
        schema: SCHEMA.to_owned(),
        ..Deployment::default()
    };
    let terms = Terms {
        level: Level::Stranger,
        domain: NOMINAL_DOMAIN.to_owned(),
        images: Vec::new(),
        schema: SCHEMA.to_owned(),
        pins: ground::pins::Pins::default(),
    };
    let mut findings: Vec<Finding> = Vec::new();
    for deploy in &view.deploys {
        let resolved = Project::load(root, &deploy.files, &vars).and_then(|mut project| {
            project.read_contents(root)?;
            project.resolve(root, &deployment)
        });
        let Ok(resolved) = resolved else {
            continue;
        };
        let Err(refused) = policy::judge(resolved, &view.stack, &terms) else {
            continue;
        };
        for found in refused.violations.iter().filter(|found| found.refused) {
            let finding = of(found);
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

fn of(found: &policy::Violation) -> Finding {
    let rule = rules::of(&found.rule);
    let grant = found.grant.as_ref();
    let grant = grant.map(|grant| format!("; an operator can grant it: `{grant}`"));
    Finding {
        id: found.rule.clone(),
        severity: Severity::Warning,
        title: "a stranger's proposal would be deployed".to_owned(),
        file: found.file.clone(),
        line: found.line,
        column: found.column,
        source: None,
        message: format!(
            "a stranger's proposal would be refused: {}: {}",
            found.key, found.message
        ),
        why: rule.map_or_else(String::new, |rule| rule.why.to_owned()),
        fix: format!(
            "{}{}",
            rule.map_or("", |rule| rule.fix),
            grant.unwrap_or_default()
        ),
    }
}
