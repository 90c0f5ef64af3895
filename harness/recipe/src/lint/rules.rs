//! The rules as data. `docs/lint.md` is this table for people.

use super::finding::Checked;
use super::finding::Severity::{self, Error, Warning};
use super::view::View;
use super::{data, label, repository, routing, service, sibling, stand_in, swarm, upgrade};
use crate::reach;

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// abra's table; its text was seen in abra's own output.
    Abra,
    /// abra's table, from memory: no public source has the text, so abra may say it otherwise.
    AbraUnverified,
    /// What broke runs of recipes in practice.
    Practice,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its id: abra's, or `C` and a number for recipe-ci's own, `T` for those about Traefik.
    pub id: &'static str,
    /// How bad it is when it does not hold.
    pub severity: Severity,
    /// What it asks for.
    pub title: &'static str,
    /// Why.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Where it comes from.
    pub source: Source,
    pub(super) check: fn(&View) -> Checked,
}

impl Rule {
    /// Returns whether the rule is one of abra's.
    #[must_use]
    pub fn of_abra(&self) -> bool {
        self.source != Source::Practice
    }

    /// Returns whether the rule is about compose files, so that one that cannot be loaded leaves it open.
    pub(super) fn reads_compose_files(&self) -> bool {
        !["R007", "R008", "R014", "C015", "C025"].contains(&self.id)
    }
}

macro_rules! rules {
    ($($id:literal $severity:ident $source:ident $check:expr, $title:literal, $why:literal, $fix:literal;)*) => {
        /// Every rule, in the order of the ids.
        pub const RULES: &[Rule] = &[$(Rule {
            id: $id,
            severity: $severity,
            title: $title,
            why: $why,
            fix: $fix,
            source: Source::$source,
            check: $check,
        }),*];
    };
}

rules! {
    "R001" Warning AbraUnverified service::schema_version,
        "every compose file has `version: \"3.8\"`",
        "docker stack deploy refuses files of one deploy whose versions differ, one without a version included",
        "begin the file with `version: \"3.8\"`";
    "R002" Warning AbraUnverified service::healthcheck,
        "every service has a healthcheck",
        "without one Swarm takes a running process for a working service, and an upgrade that broke it for a good one",
        "add a `healthcheck` that asks the service itself";
    "R003" Warning AbraUnverified service::tagged,
        "every image has a tag",
        "an image without a tag is `latest`: what an old version deploys is unknown",
        "pin the image to a version's tag";
    "R004" Warning AbraUnverified service::stable_tag,
        "no image has an unstable tag",
        "the tag names another image tomorrow, so a published version changes by itself",
        "pin the image to a version's tag";
    "R005" Warning AbraUnverified service::version_tag,
        "image tags look like versions",
        "a tag that is no version cannot be compared, so no tool can propose an upgrade",
        "use the tag that carries the version";
    "R007" Warning AbraUnverified repository::readme,
        "README.md has its metadata filled in",
        "the catalogue shows it to operators who choose a recipe",
        "fill in every line between `<!-- metadata -->` and `<!-- endmetadata -->`";
    "R008" Error AbraUnverified repository::sample,
        "there is a .env.sample that can be read",
        "`abra app new` copies it; without it abra refuses the recipe",
        "write a .env.sample with TYPE, DOMAIN and every variable that the compose files use";
    "R009" Error AbraUnverified service::main_service,
        "one service is named `app`",
        "abra sets and reads its labels on the service `app`",
        "name the main service `app`";
    "R010" Error AbraUnverified label::traefik,
        "Traefik routes to a service, when .env.sample has a DOMAIN",
        "an app with a domain that no router serves cannot be reached",
        "add `traefik.enable=true` and a router to `deploy.labels`, or drop DOMAIN from .env.sample";
    "R011" Error AbraUnverified service::image,
        "every service has an image",
        "docker stack deploy refuses a service without one; nothing is built",
        "set `image`, or remove the service that a file still names";
    "R012" Error AbraUnverified repository::config_versions,
        "the version of every config comes from abra.sh",
        "a config cannot be changed in place: without a version of its own, an upgrade that changes it fails",
        "name the config `${STACK_NAME}_<name>_${<NAME>_VERSION}` and export <NAME>_VERSION in abra.sh";
    "R014" Error Abra repository::annotated_tags,
        "only annotated tags are used",
        "one lightweight tag makes abra refuse every deploy without --chaos",
        "make the tag again with `git tag -a`, and push it with --force";
    "R015" Warning AbraUnverified repository::long_secrets,
        "names of secrets have at most 12 characters",
        "Docker allows 64 bytes for stack, name and version together; a long domain leaves little for the name",
        "shorten the name of the secret";
    "C001" Warning Practice service::exact_tag,
        "image tags name one version, not a line of versions",
        "a tag such as `15` moves when the upstream project publishes: a version that was green breaks without a commit",
        "use the full version, or add its digest";
    "C002" Error Practice repository::config_changed,
        "a config that changed since the last version has a new name",
        "Docker refuses to change a config in place, so every operator's upgrade fails",
        "count the config's version up in abra.sh";
    "C003" Error Practice repository::name_limits,
        "names of services, networks, secrets and configs are such as Swarm takes under a run's domain",
        "Docker refuses longer ones, and dots or a hyphen at the end, in the middle of a deploy",
        "shorten the name, or write it in letters, digits, hyphens and underscores";
    "C004" Error Practice service::durations,
        "durations do not come from variables",
        "abra checks durations before it fills in variables, so the deploy fails",
        "write the duration itself; operators can change it with an overlay";
    "C005" Error Practice label::outside_deploy,
        "labels for tools of the Swarm are in `deploy.labels`",
        "labels beside `deploy` belong to the container, where neither abra, Traefik nor a backup looks",
        "move them below `deploy`";
    "C006" Warning Practice label::backup_without_volume,
        "services with backup labels have a volume",
        "what such a service writes is gone with its container; the label promises a backup that saves nothing of it",
        "mount a volume, or move the label to the service that has one";
    "C007" Error Practice label::backup_saves_nothing,
        "the backup labels save something",
        "a backup of nothing succeeds every night",
        "label the service with the data, and exclude only volumes that need no backup";
    "C008" Warning Practice label::backup_labels,
        "backup labels are understood",
        "a label that no backup tool knows, or that names a volume that does not exist, does nothing",
        "write the label as the backup specification has it";
    "C009" Error Practice service::depends_on,
        "`depends_on` names services that exist",
        "a Swarm passes over it, but `docker compose config` refuses the whole file, and tools that use it fail",
        "remove the name, or add the service";
    "C010" Warning Practice service::published_ports,
        "no ports are published on the host",
        "two apps of the recipe cannot share a host, and an update waits for the old task to let the port go",
        "let Traefik route to the port; keep the port only where the protocol leaves no choice";
    "C011" Error Practice label::version_label,
        "the service `app` has a version label",
        "without `coop-cloud.${STACK_NAME}.version` the running version is unknown, and no upgrade can be checked",
        "add `coop-cloud.${STACK_NAME}.version=0.1.0+1.0.0` to `deploy.labels` of `app`";
    "C012" Error Practice label::label_is_tag,
        "the version label of a tagged commit is the tag",
        "abra deploys the tag and records the label: an upgrade to the version would look like one to another",
        "set the label with `abra recipe sync` before the tag is made";
    "C013" Warning Practice label::label_form,
        "the version label has the form `x.y.z+app`",
        "a version of another form has no place in the order of versions, so there is no sure base for an upgrade",
        "write it as `<recipe version>+<app version>`, such as `1.2.0+25.0.1`";
    "C014" Warning Practice service::start_first,
        "updates do not start first and roll back by themselves",
        "when the new task fails, the old one serves on and its labels come back: the upgrade looks good and did not happen",
        "use `order: stop-first`, or watch the state of the update";
    "C015" Error Practice service::loads,
        "every compose file can be loaded",
        "docker stack deploy refuses the file",
        "correct the file; a line of YAML is wrong, or a value has the wrong form";
    "C016" Warning Practice service::remarks,
        "the compose files mean what they say",
        "docker reads the text otherwise than it looks, or refuses it at the deploy",
        "write it as the message says";
    "C017" Warning Practice data::dump_is_loaded,
        "a dump that a backup makes is loaded by a restore",
        "a restore puts the dump back as a file, and the database goes on with what it has",
        "load it in `backupbot.restore.post-hook` of the same service";
    "C018" Error Practice data::live_copy,
        "no backup copies the files of a running database",
        "such a copy may be torn, and a restore changes the files beneath a running server; a run is red for it",
        "dump the database in `backupbot.backup.pre-hook`, load it in `backupbot.restore.post-hook`, and save only the dump";
    "C019" Error Practice data::database_starts_first,
        "updates of a database stop first",
        "two servers on one data directory destroy it; a run is red when it saw both",
        "use `order: stop-first` for the service";
    "C020" Warning Practice data::data_starts_first,
        "updates of a service with a volume stop first",
        "two containers write the same files during each update; few programs are made for that",
        "use `order: stop-first`, or mount the volume read-only where nothing is written";
    "C021" Warning Practice swarm::without_effect,
        "every option of a service has an effect on a Swarm",
        "Docker drops it without a word, so the service runs without what was written for it",
        "do as the message says, or remove the option";
    "C022" Warning Practice label::timeout_label,
        "the timeout label is a number of seconds",
        "what is no such number is passed over, and a deploy is given 300 s",
        "write the seconds as a whole number, such as `coop-cloud.${STACK_NAME}.timeout=600`";
    "C023" Error Practice data::host_port_starts_first,
        "updates of a service with a port in host mode stop first",
        "the new task waits for the port that the old one holds, so no update ends",
        "use `order: stop-first` for the service";
    "C024" Warning Practice sibling::names,
        "services on `proxy` look siblings up by names that no other app has",
        "on `proxy` every app's services answer to their short names, and Docker picks any of them",
        "write `${STACK_NAME}_<service>`, which is the sibling's name on every network";
    "C025" Error Practice stand_in::files,
        "what a deploy and the tests use is in the repository itself",
        "abra fetches neither Git LFS nor submodules, so an operator's app gets the pointer's text, or nothing",
        "commit the file itself (`git lfs untrack`, `git add --renormalize`); put a submodule's files in with `git subtree add`";
    "C026" Error Practice |view| upgrade::lost(view, reach::PORTS),
        "an upgrade keeps the ports that are published",
        "every client that uses the port is cut off by the upgrade",
        "publish it again, or name it in `release/next`, so that operators are told";
    "C027" Error Practice upgrade::sample,
        ".env.sample keeps what the compose files take from it",
        "a new app is made of it: without the variable it gets nothing, where the version before had a value",
        "put it back, as a comment where it is optional";
    "C028" Error Practice |view| upgrade::lost(view, reach::OBJECTS),
        "an upgrade keeps the secrets and configs that are declared",
        "what reads the secret or the config finds no file, and may say so only when it is needed",
        "give it to the service again, remove the declaration, or name it in backticks in `release/next`";
    "C029" Error Practice |view| upgrade::lost(view, reach::SERVICES),
        "an upgrade keeps services running",
        "Swarm stops the service at every operator, and nothing says so",
        "give it a replica, remove it, or name it in backticks in `release/next`, so that operators are told";
    "C030" Error Practice |view| upgrade::lost(view, reach::BACKUPS),
        "an upgrade keeps volumes in the backup",
        "operators go on with backups that lack what they had, and learn it at a restore",
        "save the volume, or name it in backticks in `release/next`, so that operators are told";
    "C031" Error Practice |view| upgrade::lost(view, reach::FILES),
        "an upgrade keeps the files of secrets that variables name",
        "the app finds no file, and some go on with no password or a default one",
        "give the secret to the service, or correct the name";
    "C032" Error Practice |view| upgrade::lost(view, reach::FIRST_START),
        "a new app's database and first account are made as those of the version before",
        "a server takes user, database and passwords, and an app its first account, at the first start alone: an upgrade goes on without, and a new app does not work, or nobody can log in",
        "put the variable back, or name it in backticks in `release/next` if new apps need none";
    "C033" Warning Practice |view| upgrade::lost(view, reach::DROPPED),
        "an upgrade keeps the variables of services",
        "a run upgrades an app that was made with the variable, and asks for a page or two: what a new app, or a link, lacks it does not see",
        "put the variable back, or name it in backticks in `release/next`, so that operators are told";
    "C034" Warning Practice data::dump_alone_is_saved,
        "a backup that dumps a database saves the dump alone",
        "a restore puts the server's files back beneath it while it runs, before the dump is loaded",
        "name the dump in `backupbot.backup.volumes.<volume>.path`, or stop the server in the hooks";
    "T001" Error Practice |view| routing::of(view, "T001"),
        "Traefik can read the labels of a service",
        "one label that it cannot read makes it pass over all of the service",
        "write the option as Traefik has it";
    "T002" Error Practice |view| routing::of(view, "T002"),
        "a service with a router is enabled",
        "Co-op Cloud's gateway looks only at services with `traefik.enable=true`",
        "add `traefik.enable=true` to `deploy.labels`";
    "T003" Error Practice |view| routing::of(view, "T003"),
        "a service with a router is on the network `proxy`",
        "the gateway reaches services there and nowhere else",
        "add `proxy` to the service's `networks`, and `proxy: {external: true}` to those of the file";
    "T004" Error Practice |view| routing::of(view, "T004"),
        "`traefik.docker.network` and `traefik.swarm.network` name `proxy`",
        "on another network the gateway reaches nothing; of one that the service is not on Traefik takes any instead",
        "write `proxy`, or remove the label";
    "T005" Error Practice |view| routing::of(view, "T005"),
        "every router has a rule that can be read",
        "Traefik drops a router whose rule it cannot read, and gives one without a rule the name of the service",
        "write a rule such as ``Host(`${DOMAIN}`)``";
    "T006" Error Practice |view| routing::of(view, "T006"),
        "a router takes requests for the app's domain",
        "operators open the app at DOMAIN, and the gateway answers 404 there",
        "write ``Host(`${DOMAIN}`)`` into the rule of the app's router";
    "T007" Error Practice |view| routing::of(view, "T007"),
        "what a router refers to is defined",
        "Traefik drops a router whose middleware or service it does not know",
        "define it, correct its name, or say which provider of the operator has it: `name@file`";
    "T008" Error Practice |view| routing::of(view, "T008"),
        "a service with a router says its port",
        "a Swarm does not tell Traefik which port is meant, and Traefik passes over a service without one",
        "add `traefik.http.services.${STACK_NAME}.loadbalancer.server.port=<number>`";
    "T009" Error Practice |view| routing::of(view, "T009"),
        "routers, services and middlewares are defined once",
        "Traefik drops what two services define differently, or mixes the two",
        "give each its own name, such as `${STACK_NAME}-admin`";
    "T010" Warning Practice |view| routing::of(view, "T010"),
        "Traefik's labels fit Co-op Cloud's gateway",
        "what is odd here works for some operators and not for others, or for none",
        "write it as the message says";
    "T011" Error Practice |view| upgrade::lost(view, reach::TLS),
        "an upgrade keeps the TLS of a router",
        "a router without TLS takes no HTTPS, unless the gateway's entry point says TLS, which Co-op Cloud's does not",
        "add `traefik.http.routers.${STACK_NAME}.tls.certresolver=${LETS_ENCRYPT_ENV}`";
    "T012" Error Practice |view| upgrade::lost(view, reach::TRANSPORT),
        "an upgrade keeps the transport to a backend in HTTPS",
        "Traefik asks a task at its address, does not trust the certificate of its own making without a transport that says so, and answers 500",
        "name it again: `traefik.http.services.${STACK_NAME}.loadbalancer.serverstransport=<name>@file`";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_in_the_documentation() {
        let page = include_str!("../../../../docs/lint.md");
        for rule in RULES {
            let row = format!("| {} | {} |", rule.id, rule.severity);
            assert!(page.contains(&row), "docs/lint.md lacks `{row}`");
            for text in [rule.title, rule.why, rule.fix] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{}", rule.id);
            }
        }
        let rows = page.lines().filter(|line| {
            ["| R0", "| C0", "| T0"]
                .iter()
                .any(|row| line.starts_with(row))
        });
        assert_eq!(
            rows.count(),
            RULES.len(),
            "docs/lint.md has rows of no rule"
        );
        let mut ids: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), RULES.len());
    }
}
