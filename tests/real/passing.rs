//! Mutants that pass.

/// How a mutant is called, and why no operator is worse off, or who says it without being red.
pub(super) const PASSING: &[(&str, &str)] = &[
    ("notes: write anew compose.yml", CONTROL),
    (
        "notes: drop app environment NOTES_MAX_BYTES",
        "the app has the same default",
    ),
    ("notes: drop app healthcheck", UNCHECKED),
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
    ("feeds: write anew compose.yml", CONTROL),
    ("jobs: write anew compose.yml", CONTROL),
    ("secure: write anew compose.yml", CONTROL),
    ("site: write anew compose.yml", CONTROL),
    ("voice: write anew compose.yml", CONTROL),
    ("wordpress: write anew compose.yml", CONTROL),
    ("feeds: drop app healthcheck", UNCHECKED),
    ("jobs: drop app healthcheck", UNCHECKED),
    ("voice: drop app healthcheck", UNCHECKED),
    ("secure: drop app environment DOMAIN", GIVEN),
    ("site: drop app environment DOMAIN", GIVEN),
    (
        "voice: drop app environment MUMBLE_SUPERUSER_PASSWORD_FILE",
        "the server makes a password of its own; only a test of the recipe can know that it is not the secret",
    ),
    (
        "notes: drop sample TYPE",
        "abra fills it in for a new app, and lint says it",
    ),
];

/// The same recipe in other words.
const CONTROL: &str = "nothing is broken: what the others are held against";
/// What a healthcheck is for is said, and not what an app is.
const UNCHECKED: &str = "the app works; lint's R002 says it";
/// As abra does.
const GIVEN: &str = "the service `app` is given every variable of the env file";

/// Mutants that pass and must not, with what is missing.
pub(super) const OPEN: &[(&str, &str)] = &[
    (
        "notes: drop label app traefik.http.routers.S.tls.certresolver",
        ROUTING,
    ),
    ("voice: drop app ports 64738tcp", UNPUBLISHED),
    ("notes: drop sample DOMAIN", FRESH),
    ("notes: drop sample LETS_ENCRYPT_ENV", FRESH),
];

/// B8 of the findings.
const ROUTING: &str =
    "the labels of the router are not checked, and nothing asks through a gateway";
/// Of no row of the findings.
const UNPUBLISHED: &str = "published ports of base and head are not compared";
/// B4 of the findings.
const FRESH: &str = "the upgrade keeps the operator's env file; nothing installs the head afresh";
