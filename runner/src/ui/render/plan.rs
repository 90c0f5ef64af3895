//! What a run is going to do, in lines.

use std::fmt::Write;

use harness::event::Planned;

use super::Renderer;
use super::apps::Tiers;

impl Renderer {
    pub(super) fn planned(&mut self, plan: &Planned) -> String {
        self.tiers
            .extend(plan.stages.iter().map(|stage| (*stage, None)));
        let others = plan.others.iter();
        self.rows = others
            .map(|other| (other.app.clone(), Tiers::new()))
            .collect();
        let base = plan.base_version.as_ref().map_or_else(String::new, |base| {
            match plan.base_kind.as_deref() {
                // Most bases are tags.
                Some("tag") | None => format!("base {base} → "),
                Some(kind) => format!("base {base} ({kind}) → "),
            }
        });
        let head = plan.head_version.as_deref().unwrap_or("without a version");
        let commit = plan.head_commit.short();
        let stages: Vec<&str> = plan.stages.iter().map(|stage| stage.name()).collect();
        let mut text = String::new();
        let mut entry = |label: &str, said: &str| {
            writeln!(text, "  {label:10} {}", self.clean(said))
                .expect("writing to a string succeeds");
        };
        entry(
            "plan",
            &format!(
                "{base}head {head} ({commit}), driver {} ({})",
                plan.driver, plan.driver_reason
            ),
        );
        entry("stages", &stages.join(", "));
        if let Some(fresh) = &plan.fresh {
            entry("fresh", &fresh.to_string());
        }
        for other in &plan.others {
            entry("also", &other.to_string());
        }
        for item in &plan.customization {
            entry("added", item);
        }
        text
    }
}
