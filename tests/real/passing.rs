//! Mutants that pass.

/// How a mutant is called, and why no operator is worse off, or who says it without being red.
pub(super) const PASSING: &[(&str, &str)] = &[
    (
        "notes: write anew compose.yml",
        "nothing is broken: what the others are held against",
    ),
    (
        "notes: drop app environment NOTES_MAX_BYTES",
        "the app has the same default",
    ),
    (
        "notes: drop app healthcheck",
        "the app works; lint's R002 says it",
    ),
    (
        "notes: drop label app traefik.http.routers.S.entrypoints",
        "Traefik listens at every entry point then",
    ),
    (
        "notes: drop label app coop-cloud.S.version",
        "the app works; lint says it",
    ),
    (
        "notes: drop label app coop-cloud.S.timeout",
        "abra has a default",
    ),
    (
        "notes: drop sample COMPOSE_FILE",
        "compose.yml is the default",
    ),
    (
        "notes: drop sample TYPE",
        "abra fills it in for a new app, and lint says it",
    ),
];

/// Mutants that pass and must not, with what is missing.
pub(super) const OPEN: &[(&str, &str)] = &[
    (
        "notes: drop label app traefik.http.routers.S.tls.certresolver",
        ROUTING,
    ),
    ("notes: drop sample DOMAIN", FRESH),
    ("notes: drop sample LETS_ENCRYPT_ENV", FRESH),
];

/// B8 of the findings.
const ROUTING: &str =
    "the labels of the router are not checked, and nothing asks through a gateway";
/// B4 of the findings.
const FRESH: &str = "the upgrade keeps the operator's env file; nothing installs the head afresh";
