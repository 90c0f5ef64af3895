//! Mutants that pass.

/// How a mutant is called, and why no operator is worse off, or who says it without being red.
pub(super) const PASSING: &[(&str, &str)] = &[
    ("feeds: write anew compose.yml", CONTROL),
    ("jobs: write anew compose.yml", CONTROL),
    ("ledger: write anew compose.db.yml", CONTROL),
    ("ledger: write anew compose.yml", CONTROL),
    ("notes: write anew compose.yml", CONTROL),
    ("secure: write anew compose.yml", CONTROL),
    ("site: write anew compose.yml", CONTROL),
    ("voice: write anew compose.yml", CONTROL),
    ("wordpress: write anew compose.yml", CONTROL),
    ("feeds: drop app healthcheck", UNCHECKED),
    ("feeds: drop db healthcheck", UNCHECKED),
    ("jobs: drop app healthcheck", UNCHECKED),
    ("jobs: drop redis healthcheck", UNCHECKED),
    ("ledger: drop app healthcheck", UNCHECKED),
    ("ledger: drop db healthcheck", UNCHECKED),
    ("notes: drop app healthcheck", UNCHECKED),
    ("secure: drop app healthcheck", UNCHECKED),
    ("site: drop app healthcheck", UNCHECKED),
    ("voice: drop app healthcheck", UNCHECKED),
    ("wordpress: drop app healthcheck", UNCHECKED),
    ("wordpress: drop db healthcheck", UNCHECKED),
    ("feeds: drop sample TYPE", FILLED_IN),
    ("jobs: drop sample TYPE", FILLED_IN),
    ("ledger: drop sample TYPE", FILLED_IN),
    ("notes: drop sample TYPE", FILLED_IN),
    ("secure: drop sample TYPE", FILLED_IN),
    ("site: drop sample TYPE", FILLED_IN),
    ("voice: drop sample TYPE", FILLED_IN),
    ("wordpress: drop sample TYPE", FILLED_IN),
    ("feeds: drop sample COMPOSE_FILE", DEFAULT_FILE),
    ("jobs: drop sample COMPOSE_FILE", DEFAULT_FILE),
    ("notes: drop sample COMPOSE_FILE", DEFAULT_FILE),
    ("secure: drop sample COMPOSE_FILE", DEFAULT_FILE),
    ("site: drop sample COMPOSE_FILE", DEFAULT_FILE),
    ("voice: drop sample COMPOSE_FILE", DEFAULT_FILE),
    ("wordpress: drop sample COMPOSE_FILE", DEFAULT_FILE),
    ("feeds: drop sample ENABLE_BACKUPS", DEFAULT_BACKUPS),
    ("jobs: drop sample ENABLE_BACKUPS", DEFAULT_BACKUPS),
    ("secure: drop sample ENABLE_BACKUPS", DEFAULT_BACKUPS),
    ("site: drop sample ENABLE_BACKUPS", DEFAULT_BACKUPS),
    ("voice: drop sample ENABLE_BACKUPS", DEFAULT_BACKUPS),
    ("wordpress: drop sample ENABLE_BACKUPS", DEFAULT_BACKUPS),
    ("secure: drop app environment DOMAIN", GIVEN),
    ("site: drop app environment DOMAIN", GIVEN),
    ("secure: drop label app traefik.docker.network", PROXY),
    (
        "secure: drop label app traefik.http.routers.S.entrypoints",
        EVERY_ENTRY,
    ),
    ("secure: drop label app coop-cloud.S.version", VERSION),
    ("secure: drop label app coop-cloud.S.timeout", TIMEOUT),
    ("voice: drop label app coop-cloud.S.version", VERSION),
    ("voice: drop label app coop-cloud.S.timeout", TIMEOUT),
    (
        "voice: drop app environment MUMBLE_CONFIG_WELCOME_TEXT",
        ITS_OWN_DEFAULT,
    ),
    (
        "voice: drop app environment MUMBLE_CONFIG_USERS",
        ITS_OWN_DEFAULT,
    ),
    (
        "voice: drop label app backupbot.backup.volumes.data.path",
        "the dump is saved with the rest and loaded over it, which the run proves",
    ),
    ("site: drop label app traefik.docker.network", PROXY),
    (
        "site: drop label app traefik.http.routers.S.entrypoints",
        EVERY_ENTRY,
    ),
    ("site: drop label app coop-cloud.S.version", VERSION),
    ("site: drop label app coop-cloud.S.timeout", TIMEOUT),
    ("jobs: drop label app traefik.docker.network", PROXY),
    (
        "jobs: drop label app traefik.http.routers.S.entrypoints",
        EVERY_ENTRY,
    ),
    (
        "jobs: drop label app backupbot.backup",
        "`redis` has the switch, too, and it is the stack's",
    ),
    ("jobs: drop label app coop-cloud.S.version", VERSION),
    ("jobs: drop label app coop-cloud.S.timeout", TIMEOUT),
    (
        "jobs: drop label redis backupbot.backup",
        "`app` has the switch, too, and it is the stack's",
    ),
    (
        "jobs: drop label redis backupbot.backup.volumes.redis.path",
        "all of the volume is saved then, right after `redis-cli save`",
    ),
    (
        "jobs: drop worker environment REDIS_URL",
        "its command has the address",
    ),
    (
        "jobs: drop worker command",
        "it runs a second web server, and only a test of the recipe can know what else it is for",
    ),
    (
        "jobs: end after 3 s with 0 worker",
        "a one-shot that is done looks the same; a warning says that it ran until the upgrade",
    ),
    (
        "jobs: start first worker",
        "it keeps nothing, and a queue is made for two workers",
    ),
    (
        "ledger: drop db environment STACK_NAME",
        "it names the cluster where an operator lists processes, and nothing goes by it",
    ),
    (
        "ledger: start first app",
        "the other compose file says so already",
    ),
    (
        "notes: drop app environment NOTES_MAX_BYTES",
        "the app has the same default",
    ),
    (
        "notes: drop label app traefik.http.routers.S.entrypoints",
        EVERY_ENTRY,
    ),
    ("notes: drop label app coop-cloud.S.version", VERSION),
    ("notes: drop label app coop-cloud.S.timeout", TIMEOUT),
    (
        "wordpress: start first app",
        "two web servers write the same uploads for a moment, which WordPress takes; lint's C020 says it",
    ),
    ("wordpress: drop label app traefik.docker.network", PROXY),
    (
        "wordpress: drop label app traefik.http.routers.S.entrypoints",
        EVERY_ENTRY,
    ),
    ("wordpress: drop label app coop-cloud.S.version", VERSION),
    ("wordpress: drop label app coop-cloud.S.timeout", TIMEOUT),
    ("feeds: drop label app traefik.docker.network", PROXY),
    (
        "feeds: drop label app traefik.http.routers.S.entrypoints",
        EVERY_ENTRY,
    ),
    ("feeds: drop label app coop-cloud.S.version", VERSION),
    ("feeds: drop label app coop-cloud.S.timeout", TIMEOUT),
    ("ledger: drop label app traefik.docker.network", PROXY),
    (
        "ledger: drop label app traefik.http.routers.S.entrypoints",
        EVERY_ENTRY,
    ),
    ("ledger: drop label app coop-cloud.S.version", VERSION),
    ("ledger: drop label app coop-cloud.S.timeout", TIMEOUT),
    (
        "wordpress: drop label app backupbot.backup",
        "`db` has the switch, too, and it is the stack's",
    ),
    (
        "wordpress: drop label db backupbot.backup",
        "`app` has the switch, too, and it is the stack's",
    ),
    (
        "feeds: drop label app backupbot.backup",
        "`db` has the switch, too, and it is the stack's",
    ),
    (
        "feeds: drop label db backupbot.backup",
        "`app` has the switch, too, and it is the stack's",
    ),
    (
        "wordpress: drop label db backupbot.backup.volumes.mariadb.path",
        BESIDE_A_DUMP,
    ),
    (
        "feeds: drop label db backupbot.backup.volumes.db.path",
        BESIDE_A_DUMP,
    ),
    (
        "ledger: drop label db backupbot.backup.volumes.db-data.path",
        BESIDE_A_DUMP,
    ),
    (
        "wordpress: drop app environment WORDPRESS_DB_NAME",
        "the image has the same default",
    ),
    (
        "feeds: drop db environment POSTGRES_DB",
        "the database is called as its user is",
    ),
    ("feeds: drop app environment ADMIN_USERNAME", GIVEN),
    (
        "feeds: drop app environment BASE_URL",
        "it is served the same; only a test of the recipe can know what a link must be, and lint's C033 says it",
    ),
];

/// Those that pass or not: they update the server beside an app that ends where it does not answer yet, and then Swarm
/// rolls the app back, as it would at an operator's.
pub(super) const RACING: [&str; 2] = [
    "feeds: drop db healthcheck",
    "feeds: drop db environment POSTGRES_DB",
];

/// The same recipe in other words.
const CONTROL: &str = "nothing is broken: what the others are held against";
/// What a healthcheck is for is said, and not what an app is.
const UNCHECKED: &str = "the app works; lint's R002 says it";
/// How it greets people and how many it takes, only a test of the recipe can know.
const ITS_OWN_DEFAULT: &str =
    "the server has a default of its own; lint's C033 says that the variable is gone";
/// As abra does.
const GIVEN: &str = "the service `app` is given every variable of the env file";
/// As abra does.
const FILLED_IN: &str = "abra fills it in for a new app, and lint says it";
/// As abra does.
const DEFAULT_FILE: &str = "compose.yml is the default";
/// Held against a real one in `gateway.rs`.
const PROXY: &str = "Co-op Cloud's gateway takes `proxy` where nothing is said";
/// The same.
const EVERY_ENTRY: &str = "Traefik listens at every entry point then";
/// What an app is does not depend on it.
const VERSION: &str = "the app works; lint says it";
/// As abra has it.
const TIMEOUT: &str = "abra has a default";
/// It is loaded after the files, which the run proves.
const BESIDE_A_DUMP: &str = "the dump is saved with the rest and loaded; lint's C034 says it";
/// In the labels of the recipe.
const DEFAULT_BACKUPS: &str = "the labels have the same default";

/// Mutants that pass and must not, with what is missing.
pub(super) const OPEN: &[(&str, &str)] = &[];
