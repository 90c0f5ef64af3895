//! What an operator would write into `grants.yml`, as a hint says it.

use super::{Level, Trust};
use ground::git::commit::CommitId;

impl Trust {
    /// Returns the hint how the operator would give its source what `values` say: lines of its entry in `grants.yml`.
    /// Without a `commit` the entry is for the branch `main`.
    #[must_use]
    pub fn how_to_grant(&self, commit: Option<CommitId>, values: &[&str]) -> String {
        let values = merged(values);
        if let Level::Granted(_) = &self.level {
            return format!(
                "an operator who trusts it adds to the entry of `{}` in grants.yml: `{values}`",
                self.source
            );
        }
        if self.source.starts_with('/') {
            return format!(
                "grants.yml grants nothing to a path: give the repository's address, whose entry may have `{values}`, or on a host of your own `recipe-ci run {}`",
                self.source
            );
        }
        let (who, place) = match commit {
            Some(commit) => (
                "who has read this commit",
                format!("commits: [\"{commit}\"]"),
            ),
            None => ("who trusts it", "branches: [main]".to_owned()),
        };
        let lines = match values.is_empty() {
            true => place,
            false => format!("{place}, {values}"),
        };
        if self.has_entry {
            // One key has one entry, so what is added to it has all that it gives.
            return format!(
                "an operator {who} adds to the entry of `{}` in grants.yml, all of which holds for it then: `{lines}`",
                self.source
            );
        }
        format!(
            "an operator {who} adds to grants.yml: `sources: {{\"{}\": {{{lines}}}}}`",
            self.source
        )
    }
}

/// Returns lines of an entry as one: a key of a YAML mapping may be there once only.
fn merged(lines: &[&str]) -> String {
    let mut keys: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        match keys.iter_mut().find(|(other, _)| *other == key) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => keys.push((key, vec![value])),
        }
    }
    let merged = keys
        .iter()
        .map(|(key, values)| format!("{key}: {}", one(values)));
    merged.collect::<Vec<_>>().join(", ")
}

/// Returns the values of one key as one value.
fn one(values: &[&str]) -> String {
    let inner = |open, close| {
        let inner = values
            .iter()
            .map(|value| value.strip_prefix(open)?.strip_suffix(close));
        inner.collect::<Option<Vec<&str>>>()
    };
    if let Some(items) = inner('[', ']') {
        return format!("[{}]", items.join(", "));
    }
    if let Some(lines) = inner('{', '}') {
        return format!("{{{}}}", merged(&lines));
    }
    // A ceiling that is asked for twice is the higher one.
    let highest = values.iter().max_by_key(|value| value.parse::<u64>().ok());
    highest.copied().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::read;

    const COMMIT: &str = "0123456789012345678901234567890123456789";

    fn lines(hint: &str) -> &str {
        hint.split('`').nth(1).unwrap()
    }

    #[test]
    fn what_a_stranger_needs_is_one_entry_for_the_commit_that_was_tested() {
        let values = [
            "capabilities: [NET_ADMIN]",
            "keys: [dns]",
            "keys: [extra_hosts]",
            "keys: [dns]",
            "foreign: {networks: [internal]}",
            "foreign: {volumes: [media]}",
            "foreign: {networks: [other]}",
            "ceilings: {replicas: 12}",
            "ceilings: {replicas: 9}",
            "binds: [{path: /srv/a}]",
            "binds: [{path: /srv/b, write: true}]",
        ];
        let hint = Trust::stranger("h/alice/app", "why").how_to_grant(COMMIT.parse().ok(), &values);
        assert_eq!(
            lines(&hint),
            format!(
                "sources: {{\"h/alice/app\": {{commits: [\"{COMMIT}\"], capabilities: [NET_ADMIN], keys: [dns, extra_hosts], \
                 foreign: {{networks: [internal, other], volumes: [media]}}, ceilings: {{replicas: 12}}, \
                 binds: [{{path: /srv/a}}, {{path: /srv/b, write: true}}]}}}}"
            )
        );
        read::parse(lines(&hint), "hint").unwrap();
    }

    #[test]
    fn of_a_source_with_an_entry_the_hint_says_that_all_of_it_holds() {
        let trust = Trust {
            has_entry: true,
            ..Trust::stranger("h/team/app", "why")
        };
        let hint = trust.how_to_grant(COMMIT.parse().ok(), &["keys: [dns]"]);
        assert!(hint.contains("the entry of `h/team/app`") && hint.contains("all of which holds"));
        assert!(hint.ends_with(&format!("`commits: [\"{COMMIT}\"], keys: [dns]`")));
    }

    #[test]
    fn of_a_path_the_hint_says_that_nothing_grants_it() {
        let hint =
            Trust::stranger("/srv/app", "why").how_to_grant(COMMIT.parse().ok(), &["keys: [dns]"]);
        assert!(hint.contains("grants nothing to a path") && !hint.contains("sources:"));
    }
}
