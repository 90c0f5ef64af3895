//! What once harmed the host, as data: part A of the findings of commit dc17309, and what of the policy's table is like
//! it. `VICTIM` stands for the victim's stack, `ROOT` for the test's directory, `FRESH` for a volume that is not there,
//! `LOOKALIKE` for one that is called like a run app's, `PORT` for a free port, `LISTENER` for the port of a program on the
//! host that greets who connects.

/// What comes of a row when it is run in one of the three ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Exit 2, with the rule's id or with these words, and nothing is made.
    Refused(&'static str),
    /// It runs, and this command of the shell is true while the app is up.
    ///
    /// `inside` runs a command in a container of `app`, `spec` looks for words in its service, `of` inspects the service
    /// of this name, `task` its container.
    Works(&'static str),
    /// It is not run in this way, for this reason.
    Not(&'static str),
}

/// A hostile recipe.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// Its name: `a4-secret` is one of finding A4.
    pub(crate) name: &'static str,
    /// Members of the service `app`, as JSON.
    pub(crate) app: &'static str,
    /// Other services.
    pub(crate) services: &'static str,
    /// Members of the compose file.
    pub(crate) top: &'static str,
    /// Lines of `.env.sample`.
    pub(crate) env: &'static str,
    /// Other files of the repository.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Links in the repository, and where they lead.
    pub(crate) links: &'static [(&'static str, &'static str)],
    /// Variables of the pipeline.
    pub(crate) vars: &'static [(&'static str, &'static str)],
    /// Whether the forge shows its repository only to who has a token.
    pub(crate) private: bool,
    /// Whether two apps with it would meet on the host, so that they come one after the other.
    pub(crate) meets: bool,
    /// What allows it, as members of an entry of `grants.yml`.
    pub(crate) grant: &'static str,
    /// What is granted beside it, and does not allow it.
    pub(crate) near: &'static str,
    pub(crate) stranger: Way,
    pub(crate) granted: Way,
    pub(crate) by_hand: Way,
}

use Way::{Not, Refused, Works};

const ROW: Row = Row {
    name: "",
    app: "",
    services: "",
    top: "",
    env: "",
    files: &[],
    links: &[],
    vars: &[],
    private: false,
    meets: false,
    grant: "",
    near: "",
    stranger: Not(""),
    granted: Not(""),
    by_hand: Not(""),
};

/// A row that is the same for everybody.
const fn always(name: &'static str, way: Way) -> Row {
    Row {
        name,
        stranger: way,
        granted: way,
        by_hand: way,
        ..ROW
    }
}

/// By hand: Docker's client would update the object. What a grant lists is taken as it is.
const UPDATES: Way = Refused(UPDATES_SAID);

pub(crate) const UPDATES_SAID: &str = "exists already, and this run did not make it";

const STAND_IN: Way = Not("it would harm this host; `a7-bind` and `a6-bind` stand in for it");

pub(crate) const ROWS: &[Row] = &[
    // A1: Docker's client would update the object, and teardown would delete it.
    Row {
        app: r#""secrets": ["a1s"]"#,
        top: r#""secrets": {"a1s": {"file": "./file", "name": "VICTIM_unused"}}"#,
        meets: true,
        grant: r#""foreign": {"secrets": ["VICTIM_unused"]}"#,
        near: r#""foreign": {"secrets": ["VICTIM_used"], "configs": ["VICTIM_unused"]}"#,
        stranger: Refused("P007"),
        granted: Works("inside \"grep -q $canary /run/secrets/a1s\""),
        ..always("a1-secret", UPDATES)
    },
    Row {
        app: r#""configs": ["a1c"]"#,
        top: r#""configs": {"a1c": {"file": "./file", "name": "VICTIM_unused"}}"#,
        meets: true,
        grant: r#""foreign": {"configs": ["VICTIM_unused"]}"#,
        near: r#""foreign": {"configs": ["VICTIM_used"], "secrets": ["VICTIM_unused"]}"#,
        stranger: Refused("P008"),
        granted: Works("inside \"grep -q $canary /a1c\""),
        ..always("a1-config", UPDATES)
    },
    // A2: code of the repository on the host. Its name is on the operator's old list.
    Row {
        files: &[("tests/install_steps.sh", "#!/bin/sh\n: >'ROOT/ran'\n")],
        grant: r#""run_code": true"#,
        stranger: Works("[ ! -e ROOT/ran ]"),
        ..always("a2-code", Works("[ -e ROOT/ran ]"))
    },
    // A3: files that are not the recipe's.
    Row {
        app: r#""secrets": ["a3"]"#,
        top: r#""secrets": {"a3": {"file": "ROOT/victim/canary"}}"#,
        ..always("a3-absolute", Refused("P037"))
    },
    Row {
        app: r#""configs": ["a3"]"#,
        top: r#""configs": {"a3": {"file": "../../victim/canary"}}"#,
        ..always("a3-up", Refused("P037"))
    },
    Row {
        app: r#""env_file": "ROOT/victim/canary""#,
        ..always("a3-env-file", Refused("P037"))
    },
    Row {
        links: &[("abra.sh", "ROOT/victim/canary")],
        ..always("a3-link", Refused("P037"))
    },
    // A4: foreign objects.
    Row {
        app: r#""secrets": [{"source": "a4s", "target": "a4"}]"#,
        top: r#""secrets": {"a4s": {"external": true, "name": "VICTIM_used"}}"#,
        grant: r#""foreign": {"secrets": ["VICTIM_used"]}"#,
        near: r#""foreign": {"secrets": ["VICTIM_unused"], "configs": ["VICTIM_used"]}"#,
        stranger: Refused("P007"),
        ..always(
            "a4-secret",
            Works("inside \"grep -q $canary /run/secrets/a4\""),
        )
    },
    Row {
        app: r#""configs": [{"source": "a4c", "target": "/a4-config"}]"#,
        top: r#""configs": {"a4c": {"external": true, "name": "VICTIM_used"}}"#,
        grant: r#""foreign": {"configs": ["VICTIM_used"]}"#,
        near: r#""foreign": {"configs": ["VICTIM_unused"], "secrets": ["VICTIM_used"]}"#,
        stranger: Refused("P008"),
        ..always("a4-config", Works("inside \"grep -q $canary /a4-config\""))
    },
    Row {
        app: r#""volumes": ["a4v:/a4"]"#,
        top: r#""volumes": {"a4v": {"external": true, "name": "VICTIM_data"}}"#,
        meets: true,
        grant: r#""foreign": {"volumes": ["VICTIM_data"]}"#,
        near: r#""foreign": {"volumes": ["VICTIM_unused"]}"#,
        stranger: Refused("P006"),
        ..always("a4-volume", Works("inside \"grep -q $canary /a4/canary\""))
    },
    Row {
        app: r#""networks": {"a4n": null}"#,
        top: r#""networks": {"a4n": {"external": true, "name": "VICTIM_inner"}}"#,
        meets: true,
        grant: r#""foreign": {"networks": ["VICTIM_inner"]}"#,
        near: r#""foreign": {"networks": ["proxy"]}"#,
        stranger: Refused("P009"),
        ..always("a4-network", Works("task app | grep -q VICTIM_inner"))
    },
    Row {
        app: r#""networks": {"a4m": null}"#,
        top: r#""networks": {"a4m": {"name": "VICTIM_inner"}}"#,
        meets: true,
        grant: r#""foreign": {"networks": ["VICTIM_inner"]}"#,
        near: r#""foreign": {"networks": ["proxy"]}"#,
        stranger: Refused("P009"),
        granted: Works("task app | grep -q VICTIM_inner"),
        ..always("a4-named-network", UPDATES)
    },
    // What bears no label, as an operator makes it: nothing but the record tells that it is not the run's.
    Row {
        app: r#""secrets": ["a4ps"]"#,
        top: r#""secrets": {"a4ps": {"external": true, "name": "VICTIM_plain"}}"#,
        grant: r#""foreign": {"secrets": ["VICTIM_plain"]}"#,
        near: r#""foreign": {"configs": ["VICTIM_plain"]}"#,
        stranger: Refused("P007"),
        ..always(
            "a4-plain-secret",
            Works("inside \"grep -q $canary /run/secrets/a4ps\""),
        )
    },
    Row {
        app: r#""configs": ["a4pc"]"#,
        top: r#""configs": {"a4pc": {"file": "./file", "name": "VICTIM_plain"}}"#,
        meets: true,
        grant: r#""foreign": {"configs": ["VICTIM_plain"]}"#,
        near: r#""foreign": {"secrets": ["VICTIM_plain"]}"#,
        stranger: Refused("P008"),
        granted: Works("inside \"grep -q $canary /a4pc\""),
        ..always("a4-plain-config", UPDATES)
    },
    Row {
        app: r#""volumes": ["a4pv:/a4pv"]"#,
        top: r#""volumes": {"a4pv": {"external": true, "name": "VICTIM_plain"}}"#,
        meets: true,
        grant: r#""foreign": {"volumes": ["VICTIM_plain"]}"#,
        near: r#""foreign": {"volumes": ["VICTIM_data"]}"#,
        stranger: Refused("P006"),
        ..always("a4-plain-volume", Works("task app | grep -q VICTIM_plain"))
    },
    // A5: what the operator supplies.
    Row {
        app: r#""secrets": ["smtp_password"]"#,
        top: r#""secrets": {"smtp_password": {"external": true, "name": "${STACK_NAME}_smtp_password_${SECRET_SMTP_PASSWORD_VERSION}"}}"#,
        env: "SECRET_SMTP_PASSWORD_VERSION=v1 # generate=false\n",
        grant: r#""secrets": ["smtp_password"]"#,
        near: r#""secrets": ["smtp"]"#,
        stranger: Refused("P038"),
        ..always(
            "a5-supplied",
            Works("inside 'test -s /run/secrets/smtp_password'"),
        )
    },
    // A6: foreign data, which the harness itself must not seed, wipe or restore.
    Row {
        app: r#""volumes": ["a6n:/a6n"], "deploy": {"labels": {"backupbot.backup": "true"}}"#,
        top: r#""volumes": {"a6n": {"name": "VICTIM_data"}}"#,
        meets: true,
        grant: r#""foreign": {"volumes": ["VICTIM_data"]}"#,
        near: r#""foreign": {"volumes": ["VICTIM_unused"]}"#,
        stranger: Refused("P006"),
        granted: Works("inside \"grep -q $canary /a6n/canary\""),
        ..always("a6-name", UPDATES)
    },
    Row {
        app: r#""volumes": ["a6e:/a6"], "deploy": {"labels": {"backupbot.backup": "true"}}"#,
        top: r#""volumes": {"a6e": {"external": true, "name": "VICTIM_data"}}"#,
        meets: true,
        grant: r#""foreign": {"volumes": ["VICTIM_data"]}"#,
        near: r#""volume_options": true"#,
        stranger: Refused("P006"),
        ..always(
            "a6-external",
            Works("inside \"grep -q $canary /a6/canary\""),
        )
    },
    Row {
        app: r#""volumes": ["a6b:/a6b"]"#,
        top: r#""volumes": {"a6b": {"driver_opts": {"type": "none", "o": "bind", "device": "ROOT/stand-in"}}}"#,
        meets: true,
        grant: r#""volume_options": ["a6b"]"#,
        near: r#""volume_options": ["a6"], "binds": [{"path": "ROOT/stand-in"}]"#,
        stranger: Refused("P005"),
        ..always("a6-bind", Works("inside 'test -e /a6b/there'"))
    },
    // A7: the host itself.
    Row {
        app: r#""volumes": ["/:/a7-root"]"#,
        stranger: Refused("P003"),
        ..always("a7-root", STAND_IN)
    },
    Row {
        app: r#""volumes": ["ROOT/stand-in:/a7:ro"]"#,
        grant: r#""binds": [{"path": "ROOT/stand-in"}]"#,
        near: r#""binds": [{"path": "ROOT", "write": true}, {"path": "ROOT/stand-in/there"}]"#,
        stranger: Refused("P003"),
        ..always(
            "a7-bind",
            Works("inside 'test -e /a7/there && ! touch /a7/there'"),
        )
    },
    Row {
        app: r#""volumes": ["ROOT/stand-in-w:/a7w"]"#,
        meets: true,
        grant: r#""binds": [{"path": "ROOT/stand-in-w", "write": true}]"#,
        near: r#""binds": [{"path": "ROOT/stand-in-w"}]"#,
        stranger: Refused("P003"),
        ..always("a7-bind-to-write", Works("inside 'touch /a7w/there'"))
    },
    Row {
        app: r#""volumes": ["/var/run/docker.sock:/a7-socket:ro"]"#,
        grant: r#""binds": [{"path": "/var/run/docker.sock"}]"#,
        near: r#""binds": [{"path": "/var/run"}]"#,
        stranger: Refused("P003"),
        ..always("a7-socket", Works("inside 'test -S /a7-socket'"))
    },
    Row {
        app: r#""volumes": ["./file:/a7-file"]"#,
        meets: true,
        stranger: Refused("P003"),
        granted: Not("it lies in the run's own directory, whose path no operator can list"),
        ..always("a7-relative", Works("inside 'grep -q recipe /a7-file'"))
    },
    Row {
        app: r#""volumes": ["a7d:/a7d"]"#,
        top: r#""volumes": {"a7d": {"driver_opts": {"type": "ext4", "device": "/dev/sda1"}}}"#,
        stranger: Refused("P005"),
        ..always("a7-device", STAND_IN)
    },
    Row {
        app: r#""volumes": ["a7v:/a7v"]"#,
        top: r#""volumes": {"a7v": {"driver": "other"}}"#,
        stranger: Refused("P005"),
        ..always("a7-driver", Not("this host has no other driver of volumes"))
    },
    Row {
        app: r#""cap_add": ["SYS_ADMIN"]"#,
        grant: r#""capabilities": ["SYS_ADMIN"]"#,
        near: r#""capabilities": ["SYS_TIME"]"#,
        stranger: Refused("P014"),
        ..always("a7-capability", Works("spec SYS_ADMIN"))
    },
    Row {
        app: r#""cap_add": ["NET_RAW"]"#,
        grant: r#""capabilities": ["NET_RAW"]"#,
        near: r#""capabilities": ["NET_ADMIN"]"#,
        stranger: Refused("P014"),
        ..always(
            "a7-raw-sockets",
            Works(
                "[ $((0x$(inside 'sed -n s/^CapBnd:[[:space:]]*//p /proc/self/status') >> 13 & 1)) = 1 ]",
            ),
        )
    },
    Row {
        app: r#""sysctls": {"net.core.somaxconn": "77"}"#,
        grant: r#""keys": ["sysctls"]"#,
        near: r#""keys": ["ulimits"]"#,
        stranger: Refused("P015"),
        ..always(
            "a7-sysctls",
            Works("[ $(inside 'cat /proc/sys/net/core/somaxconn') = 77 ]"),
        )
    },
    Row {
        services: r#""hosted": {"networks": ["a7h"]}"#,
        top: r#""networks": {"a7h": {"external": true, "name": "host"}}"#,
        meets: true,
        grant: r#""foreign": {"networks": ["host"]}"#,
        near: r#""foreign": {"networks": ["bridge"]}"#,
        stranger: Refused("P009"),
        ..always(
            "a7-host-network",
            Works("task hosted | grep -q '\"host\": {'"),
        )
    },
    Row {
        services: r#""logged": {"logging": {"driver": "syslog", "options": {"syslog-address": "udp://127.0.0.1:9"}}}"#,
        grant: r#""keys": ["logging"]"#,
        near: r#""keys": ["sysctls"]"#,
        stranger: Refused("P017"),
        ..always("a7-logging", Works("task logged | grep -q syslog"))
    },
    Row {
        app: r#""ports": ["PORT:80"]"#,
        meets: true,
        grant: r#""ports": ["PORT"]"#,
        stranger: Works("! spec '\"PublishedPort\"'"),
        ..always("a7-port", Works("spec '\"PublishedPort\": PORT'"))
    },
    Row {
        services: r#""private": {"image": "VICTIM/private:1"}"#,
        grant: r#""images": ["docker.io/VICTIM"]"#,
        near: r#""images": ["docker.io/VICTIM/privat", "registry.example.org/VICTIM"]"#,
        stranger: Refused("P002"),
        ..always(
            "a7-image",
            Works(
                "of private | grep -qF \"$(docker image inspect --format '{{.Id}}' VICTIM/private:1)\"",
            ),
        )
    },
    Row {
        services: r#""private": {"image": "registry.internal:5000/VICTIM/private:1"}"#,
        stranger: Refused("P002"),
        ..always(
            "a7-registry",
            Not("there is no such registry; `a7-image` goes the same way"),
        )
    },
    // What listens on the host answers the host alone; `tests/setup` made the rule that a stranger's run asks for.
    always(
        "a7-egress",
        Works(
            "busybox nc 127.0.0.1 LISTENER </dev/null | grep -q . && \
             ! inside 'set -- $(ip route | grep ^default); timeout 2 nc $3 LISTENER </dev/null' | grep .",
        ),
    ),
    // A8: what only is called like a run app's. Every sweep went through them; each run has one.
    always("a8-lookalike", Works("docker volume inspect LOOKALIKE")),
    // A9: names and addresses of others.
    Row {
        app: r#""networks": {"proxy": {"aliases": ["VICTIM_web"]}}"#,
        top: r#""networks": {"proxy": {"external": true}}"#,
        grant: r#""foreign": {"networks": ["proxy"]}"#,
        ..always(
            "a9-alias",
            Works("[ \"$(answers)\" = \"$(cat ROOT/victim/answers)\" ]"),
        )
    },
    Row {
        services: r#""routed": {
            "command": ["sh", "-c", "echo hello >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
            "networks": ["proxy"],
            "deploy": {"labels": [
                "traefik.enable=true", "traefik.http.services.${STACK_NAME}.loadbalancer.server.port=8080",
                "traefik.http.routers.evil.entrypoints=web-secure", "traefik.http.routers.evil.tls=true",
                "traefik.http.routers.evil.rule=Host(`${DOMAIN}`) || Host(`cloud.example.org`)"
            ]}
        }"#,
        top: r#""networks": {"proxy": {"external": true}}"#,
        meets: true,
        grant: r#""routers": {"hosts": ["cloud.example.org"], "names": ["evil"]}"#,
        near: r#""routers": {"hosts": ["other.example.org"], "names": ["evil"], "priority": true}"#,
        stranger: Refused("P028"),
        ..always("a9-router", Works("of routed | grep -q cloud.example.org"))
    },
    Row {
        services: r#""routed": {"deploy": {"labels": ["traefik.http.routers.evil.priority=100000"]}}"#,
        meets: true,
        grant: r#""routers": {"priority": true, "names": ["evil"]}"#,
        near: r#""routers": {"hosts": ["cloud.example.org"], "names": ["evil"]}"#,
        stranger: Refused("P030"),
        ..always("a9-priority", Works("of routed | grep -q 100000"))
    },
    // A10: what has no end.
    Row {
        env: BOMB,
        ..always(
            "a10-bomb",
            Refused("is longer than 64 KiB, or expands to more"),
        )
    },
    Row {
        links: &[(".env.sample", "/dev/zero")],
        ..always("a10-zero", Refused("P037"))
    },
    Row {
        app: r#""env_file": "/proc/kmsg""#,
        ..always("a10-kmsg", Refused("P037"))
    },
    // A11: ceilings.
    Row {
        services: r#""many": {"deploy": {"replicas": 4}}"#,
        grant: r#""ceilings": {"replicas": 4}"#,
        near: r#""ceilings": {"replicas": 3, "tasks": 100}"#,
        stranger: Refused("P026"),
        ..always("a11-replicas", Works("of many | grep -q '\"Replicas\": 4'"))
    },
    Row {
        app: r#""deploy": {"resources": {"limits": {"memory": "2g"}}}"#,
        grant: r#""ceilings": {"memory": "2g", "pids": 600}"#,
        stranger: Works(
            "spec '\"MemoryBytes\": 1073741824' && spec '\"Pids\": 512' && spec '\"max-size\": \"5m\"'",
        ),
        granted: Works(
            "spec '\"MemoryBytes\": 2147483648' && spec '\"Pids\": 600' && spec '\"max-size\": \"5m\"'",
        ),
        ..always(
            "a11-limits",
            Works("spec '\"MemoryBytes\": 2147483648' && ! spec '\"Pids\"'"),
        )
    },
    always(
        "a11-sparse",
        Not("`a_strangers_backup_ends_at_a_ceiling_and_the_tier_says_so` has 3 GiB of it"),
    ),
    always(
        "a11-repository",
        Not("`a_repository_that_unpacks_to_too_much_never_does` has one of 600 MiB"),
    ),
    // A12: what Swarm makes because it is not there.
    Row {
        app: r#""volumes": ["a12:/a12"]"#,
        top: r#""volumes": {"a12": {"external": true, "name": "FRESH"}}"#,
        meets: true,
        grant: r#""foreign": {"volumes": ["FRESH"]}"#,
        near: r#""foreign": {"volumes": ["VICTIM_data"]}"#,
        stranger: Refused("P006"),
        // That it is gone afterwards is asserted of every run.
        ..always("a12-fresh", Works("docker volume inspect FRESH"))
    },
    // A13: the variables of the operator; the scene's proxy has the canary for a password.
    Row {
        app: r#""environment": ["HTTP_PROXY"]"#,
        ..always(
            "a13-proxy",
            Works("inside '[ -z \"$HTTP_PROXY\" ]' && ! spec 127.0.0.1:9"),
        )
    },
    // A14: what is no number, no image, no name.
    Row {
        vars: &[("PR", "7\r== forged ==")],
        ..always("a14-pr", Refused("PR"))
    },
    Row {
        vars: &[("PR", "7\n7")],
        ..always("a14-lines", Refused("PR"))
    },
    Row {
        services: r#""other": {"image": "--help"}"#,
        ..always("a14-image", Refused("P002"))
    },
    always(
        "a14-tree",
        Not(
            "`a_tree_that_git_would_not_make_is_the_repositorys_fault` has two entries of one name",
        ),
    ),
    // A15: files of the run.
    always(
        "a15-modes",
        Works("[ -z \"$(find ROOT/runs -mindepth 1 -perm /077 ! -type l)\" ]"),
    ),
    // A16: the forge's token.
    Row {
        private: true,
        grant: r#""token": true"#,
        stranger: Refused("grant the source `token: true`"),
        granted: Works("[ -s ROOT/forge/tokens ]"),
        by_hand: Not("a path is not fetched"),
        ..always("a16-private", ROW.by_hand)
    },
    Row {
        stranger: Works("[ ! -e ROOT/forge/tokens ]"),
        granted: Not("it has the token: `a16-private`"),
        ..always("a16-token", Works("[ ! -e ROOT/forge/tokens ]"))
    },
];

/// What would harm the host, and is granted on an engine of CI's own: nothing of the operator's is there.
pub(crate) const ELSEWHERE: &[Row] = &[
    Row {
        app: r#""volumes": ["/:/e-root"]"#,
        grant: r#""binds": [{"path": "/", "write": true}]"#,
        granted: Works(
            "inside '[ -e /e-root/usr/bin/env ] && [ ! -e /e-rootROOT ] && [ ! -e /e-root/home ] && \
                ! echo x >/e-root/etc/x && ! cat /e-root/proc/[0-9]*/cmdline | grep -a deps/[s]warm-'",
        ),
        ..always("e-root", Not("only what is granted is run there"))
    },
    Row {
        app: r#""volumes": ["/var/run/docker.sock:/e-socket"]"#,
        grant: r#""binds": [{"path": "/var/run/docker.sock", "write": true}]"#,
        granted: Works(
            "[ \"$(inside 'stat -c %i /e-socket')\" != \"$(stat -c %i /var/run/docker.sock)\" ]",
        ),
        ..always("e-socket", Not("only what is granted is run there"))
    },
    Row {
        app: r#""volumes": ["/run:/e-run"]"#,
        grant: r#""binds": [{"path": "/run", "write": true}]"#,
        granted: Works("[ -e /run/lock ] && ! inside '[ -e /e-run/lock ]'"),
        ..always("e-locks", Not("only what is granted is run there"))
    },
];

/// Ten times the one before, nine times: 100 GB.
const BOMB: &str = "A0=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\
    A1=$A0$A0$A0$A0$A0$A0$A0$A0$A0$A0\nA2=$A1$A1$A1$A1$A1$A1$A1$A1$A1$A1\nA3=$A2$A2$A2$A2$A2$A2$A2$A2$A2$A2\n\
    A4=$A3$A3$A3$A3$A3$A3$A3$A3$A3$A3\nA5=$A4$A4$A4$A4$A4$A4$A4$A4$A4$A4\nA6=$A5$A5$A5$A5$A5$A5$A5$A5$A5$A5\n\
    A7=$A6$A6$A6$A6$A6$A6$A6$A6$A6$A6\nA8=$A7$A7$A7$A7$A7$A7$A7$A7$A7$A7\nA9=$A8$A8$A8$A8$A8$A8$A8$A8$A8$A8\n";
