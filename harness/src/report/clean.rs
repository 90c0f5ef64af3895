//! The results without secrets.

use super::redact::Redactor;
use super::results::Results;

impl Results {
    /// Returns a copy whose free text holds no secret; what has a grammar of its own (ids, commits, paths,
    /// times) is kept as it is, so that the file can always be read again.
    pub(super) fn redacted(&self, redactor: &Redactor) -> Self {
        let text = |text: &mut String| {
            if let std::borrow::Cow::Owned(clean) = redactor.apply(text) {
                *text = clean;
            }
        };
        let mut clean = self.clone();
        let options = [
            &mut clean.pr,
            &mut clean.reference,
            &mut clean.head_version,
            &mut clean.base_version,
            &mut clean.promotion,
            &mut clean.driver_reason,
            &mut clean.reason,
            &mut clean.build_url,
        ];
        options.into_iter().flatten().for_each(text);
        text(&mut clean.repeat);
        clean.repeat_tier.iter_mut().for_each(text);
        for shown in &mut clean.output {
            shown.app.iter_mut().for_each(text);
            text(&mut shown.title);
            shown.lines.iter_mut().for_each(text);
            shown.log.iter_mut().for_each(text);
        }
        let lists = [
            &mut clean.hints,
            &mut clean.customization,
            &mut clean.deviations,
            &mut clean.warnings,
        ];
        lists.into_iter().flatten().for_each(text);
        clean
            .teardown
            .residual
            .left
            .values_mut()
            .flatten()
            .for_each(text);
        if let Some(trust) = &mut clean.trust {
            text(&mut trust.source);
            text(&mut trust.why);
        }
        clean.lint.reason.iter_mut().for_each(text);
        for skipped in &mut clean.lint.skipped {
            text(&mut skipped.reason);
        }
        for found in &mut clean.lint.findings {
            text(&mut found.title);
            text(&mut found.message);
            text(&mut found.why);
            text(&mut found.fix);
            found.file.iter_mut().for_each(text);
            found.source.iter_mut().for_each(text);
        }
        for found in &mut clean.policy {
            text(&mut found.key);
            text(&mut found.value);
            text(&mut found.message);
            found.source.iter_mut().for_each(text);
            found.grant.iter_mut().for_each(text);
            found.file.iter_mut().for_each(text);
        }
        for found in &mut clean.findings {
            found.service.iter_mut().for_each(text);
            text(&mut found.message);
            text(&mut found.fix);
        }
        if let Some(hold) = &mut clean.hold {
            hold.url.iter_mut().for_each(text);
            text(&mut hold.shell);
            text(&mut hold.release);
            if let Some(ended) = &mut hold.ended {
                text(&mut ended.why);
            }
        }
        let apps = clean.apps.iter_mut().map(|one| &mut one.planned);
        for planned in clean.fresh.iter_mut().chain(apps) {
            text(&mut planned.app.name);
            planned.why.iter_mut().for_each(text);
        }
        for dependency in &mut clean.dependencies {
            dependency.reason.iter_mut().for_each(text);
            dependency.version.iter_mut().for_each(text);
        }
        for attempt in &mut clean.attempts {
            text(&mut attempt.what);
            text(&mut attempt.reason);
        }
        let earlier = clean.attempts.iter_mut().map(|attempt| &mut attempt.tiers);
        let others = clean.apps.iter_mut().map(|one| &mut one.tiers);
        let all = earlier.chain(others).chain([&mut clean.tiers]);
        for tier in all.flatten() {
            tier.reason.iter_mut().for_each(text);
            for test in &mut tier.tests {
                text(&mut test.id);
                text(&mut test.name);
                test.file.iter_mut().for_each(text);
                test.log.iter_mut().for_each(text);
                test.message.iter_mut().for_each(text);
            }
        }
        clean
    }
}
