use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "76543210fedcba9876543210fedcba9876543210";

fn grants(text: &str, approved: &[&str]) -> Grants {
    let mut grants = read::parse(text, "grants.yml").unwrap();
    grants.file = Some("/etc/grants.yml".into());
    grants.approved = approved.iter().map(|name| name.parse().unwrap()).collect();
    grants
}

/// A case: what the ref names, at which commit, of which source.
struct Case {
    key: &'static str,
    branches: &'static [&'static str],
    commit: &'static str,
    is_tag: bool,
    chosen: bool,
    dirty: bool,
    default: bool,
    published: bool,
    in_history: bool,
}

const CASE: Case = Case {
    key: "h/team/gitea",
    branches: &[],
    commit: OTHER,
    is_tag: false,
    chosen: false,
    dirty: false,
    default: false,
    published: false,
    in_history: false,
};

fn trust(grants: &Grants, case: &Case) -> Trust {
    let key: SourceKey = case.key.parse().unwrap();
    let branches: Vec<String> = case.branches.iter().map(|one| (*one).to_owned()).collect();
    let of = Subject {
        recipe: &"gitea".parse().unwrap(),
        key: &key,
        commit: case.commit.parse().unwrap(),
        dirty: case.dirty,
        branches: &branches,
        is_default: case.default,
        is_tag: case.is_tag,
        chosen: case.chosen,
        published: case.published,
    };
    decide(grants, of, |_| case.in_history)
}

#[test]
fn a_grant_holds_for_listed_branches_and_commits_of_that_source_and_nothing_else() {
    let text = format!(
        "sources: {{h/team/gitea: {{branches: [main], commits: ['{COMMIT}'], run_code: true}}}}"
    );
    let grants = grants(&text, &[]);
    let may = |case: &Case| trust(&grants, case).may_run_code();
    assert!(may(&Case {
        branches: &["main"],
        ..CASE
    }));
    assert!(may(&Case {
        commit: COMMIT,
        ..CASE
    }));
    assert!(may(&Case {
        commit: COMMIT,
        is_tag: true,
        ..CASE
    }));
    // A tag of the same source, even in the history of `main`; another branch, a pull request's ref.
    assert!(!may(&Case {
        is_tag: true,
        in_history: true,
        ..CASE
    }));
    assert!(!may(&Case {
        branches: &["feature"],
        in_history: true,
        ..CASE
    }));
    assert!(!may(&CASE));
    assert!(!may(&Case {
        branches: &["main"],
        dirty: true,
        ..CASE
    }));
    // The newest version of a dependency was chosen by the harness.
    assert!(may(&Case {
        is_tag: true,
        chosen: true,
        in_history: true,
        ..CASE
    }));
    assert!(!may(&Case {
        is_tag: true,
        chosen: true,
        ..CASE
    }));
    for key in [
        "h/evil/gitea",
        "other/team/gitea",
        "h:8443/team/gitea",
        "h/team/gitea2",
    ] {
        let case = Case {
            key,
            branches: &["main"],
            ..CASE
        };
        let trust = trust(&grants, &case);
        assert_eq!(trust.level, Level::Stranger, "{key}");
        assert!(trust.why.contains("grants it nothing"), "{}", trust.why);
    }
    let denied = trust(&grants, &CASE);
    assert_eq!(
        denied.why,
        "`/etc/grants.yml` grants it `main`, 01234567, and the ref is none of these"
    );
}

#[test]
fn releases_are_tags_in_the_history_of_a_listed_branch() {
    let grants = grants(
        "sources: {h/team/gitea: {branches: [main], releases: true, run_code: true}}",
        &[],
    );
    let tag = Case {
        is_tag: true,
        in_history: true,
        ..CASE
    };
    assert!(trust(&grants, &tag).may_run_code());
    assert!(
        !trust(
            &grants,
            &Case {
                in_history: false,
                ..tag
            }
        )
        .may_run_code()
    );
    assert!(
        !trust(
            &grants,
            &Case {
                in_history: true,
                ..CASE
            }
        )
        .may_run_code()
    );
}

#[test]
fn a_name_on_the_old_list_counts_for_the_operators_published_default_branch_only() {
    let grants = grants("", &["gitea"]);
    let ours = Case {
        published: true,
        default: true,
        branches: &["main"],
        ..CASE
    };
    let granted = trust(&grants, &ours);
    assert!(granted.may_run_code() && !granted.may_have_secret("x"));
    assert!(
        trust(
            &grants,
            &Case {
                default: false,
                is_tag: true,
                in_history: true,
                ..ours
            }
        )
        .may_run_code()
    );
    for denied in [
        Case {
            published: false,
            ..ours
        },
        Case {
            default: false,
            ..ours
        },
        Case {
            dirty: true,
            ..ours
        },
    ] {
        assert_eq!(trust(&grants, &denied).level, Level::Stranger);
    }
}

#[test]
fn a_grant_gives_what_it_says_and_a_hand_gives_all() {
    let grants = grants(
        "sources: {h/team/gitea: {branches: [main], secrets: [smtp], aliases: [forge]}}",
        &["gitea"],
    );
    let case = Case {
        branches: &["main"],
        default: true,
        published: true,
        ..CASE
    };
    let granted = trust(&grants, &case);
    // What the grant does not say, the old list does not add.
    assert!(!granted.may_run_code() && granted.may_have_secret("smtp"));
    assert!(!granted.may_have_secret("other"));
    let key: SourceKey = "h/team/gitea".parse().unwrap();
    let other: SourceKey = "h/evil/gitea".parse().unwrap();
    assert!(grants.has_alias(&key, &"forge".parse().unwrap()));
    assert!(!grants.has_alias(&key, &"notes".parse().unwrap()));
    assert!(!grants.has_alias(&other, &"forge".parse().unwrap()));
    let hand = Trust::by_hand("/srv/notes");
    assert!(hand.may_run_code() && hand.may_have_secret("any"));
    assert!(hand.grant().is_none());
    // What a hint says to add is a file that can be read, or is added to the entry that there is.
    for (grants, file) in [
        (Grants::default(), ["", ""]),
        (grants, ["sources: {h/team/gitea: {", "}}"]),
    ] {
        let hint = trust(&grants, &CASE).how_to_grant(None, &["secrets: [smtp]"]);
        let lines = hint.split('`').nth_back(1).unwrap();
        read::parse(&format!("{}{lines}{}", file[0], file[1]), "hint").unwrap();
    }
}
