//! The script that a container is asked with, beside clients that write down how they were called.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use crate::support::{command, repository};

/// Every client answers as one that is let in does, and notes its arguments, its password and what it reads.
const CLIENT: &str = r#"#!/bin/sh
{
    echo "$(basename "$0") $*"
    env | grep -e '^PGPASSWORD=' -e '^MYSQL_PWD=' -e '^REDISCLI_AUTH='
} >>"$CALLS"
case $(basename "$0") in
    psql) case "$*" in *-c*) echo value:1 ;; *) cat >>"$CALLS"; echo value:v1 ;; esac ;;
    mariadb | mysql) case "$*" in
        *information_schema*) echo "${TABLES-}" ;;
        *datadir*) echo /var/lib/mysql/ ;;
        *CREATE*) echo value:v1 ;;
        *) echo value:1 ;;
    esac ;;
    redis-cli | valkey-cli) while read -r line; do
        echo "$line" >>"$CALLS"
        case $line in
            PING) [ "${NEEDS-}" = "${REDISCLI_AUTH-}" ] && echo PONG || echo 'NOAUTH Authentication required.' ;;
            'CONFIG GET dir') printf 'dir\n/data\n' ;;
            'CONFIG GET save') printf 'save\n3600 1\n' ;;
            'CONFIG GET appendonly') printf 'appendonly\nno\n' ;;
            SET*) echo OK ;;
            GET*) echo value:v1 ;;
        esac
    done ;;
    mongosh | mongo) cat >>"$CALLS"
        printf 'test> in:rocketchat:end\ntest> at:/data/db:end\ntest> value:v1\ntest> over:ok\n' ;;
esac
"#;

struct Case<'a> {
    /// The name of the server's process, and its command line where that tells something.
    process: (&'a str, &'a str),
    client: &'a str,
    env: &'a [(&'a str, &'a str)],
    /// Settings before the script, as recipe-ci makes them.
    settings: &'a str,
    /// The answer without its mark.
    answer: &'a str,
    /// What is among the calls.
    calls: &'a [&'a str],
}

/// Asks as in a container that has this process, this client and these variables; returns answer and calls.
fn ask(dir: &Path, case: &Case<'_>) -> (String, String) {
    let bin = dir.join("bin");
    let process = dir.join("proc/7");
    for dir in [&bin, &process] {
        std::fs::create_dir_all(dir).unwrap();
    }
    std::fs::write(process.join("comm"), format!("{}\n", case.process.0)).unwrap();
    let cmdline = case.process.1.replace(' ', "\0");
    std::fs::write(process.join("cmdline"), cmdline).unwrap();
    let client = bin.join(case.client);
    std::fs::write(&client, CLIENT).unwrap();
    std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o755)).unwrap();
    for tool in [
        "cat", "sed", "tr", "cut", "head", "tail", "grep", "env", "basename", "find", "sort", "wc",
    ] {
        let real = Path::new("/usr/bin").join(tool);
        std::os::unix::fs::symlink(real, bin.join(tool)).unwrap();
    }
    let mut script = format!(
        "root='{0}'\nproc=\"$root/proc\"\nop=seed\ntable=recipe_ci_1\nvalue=v1\nmounts=/data\n{1}\n",
        dir.display(),
        case.settings
    );
    for part in [
        "common",
        "postgresql",
        "mariadb",
        "redis",
        "mongodb",
        "sqlite",
        "main",
    ] {
        let path = repository().join(format!("harness/src/data/{part}.sh"));
        script.push_str(&harness::host_file::text(&path).unwrap());
    }
    std::fs::write(dir.join("script"), script).unwrap();
    let calls = dir.join("calls");
    std::fs::write(&calls, "").unwrap();
    let output = command("/bin/sh")
        .arg("-s")
        .env_clear()
        .env("PATH", &bin)
        .env("CALLS", &calls)
        .envs(case.env.iter().copied())
        .stdin(Stdio::from(
            harness::host_file::options()
                .read(true)
                .open(dir.join("script"))
                .unwrap(),
        ))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let answer = said.lines().find_map(|line| {
        let line = line.strip_prefix("recipe-ci\t")?;
        (line != "shell").then(|| line.replace('\t', " "))
    });
    let answer = answer.unwrap_or_else(|| format!("nothing: {said}{stderr}"));
    (answer, harness::host_file::text(&calls).unwrap())
}

#[test]
fn a_database_is_asked_as_its_recipe_says_and_no_password_is_an_argument() {
    let secrets = tempfile::tempdir().unwrap();
    let secret = secrets.path().join("db_password");
    std::fs::write(&secret, "hidden\n").unwrap();
    let secret = secret.to_str().unwrap();
    let cases = [
        // nextcloud, mattermost, peertube: the official image with a secret.
        Case {
            process: ("postgres", ""),
            client: "psql",
            env: &[
                ("POSTGRES_USER", "nextcloud"),
                ("POSTGRES_DB", "cloud"),
                ("POSTGRES_PASSWORD_FILE", secret),
            ],
            settings: "",
            answer: "postgresql done nextcloud cloud  v1",
            calls: &["psql -U nextcloud -d cloud", "PGPASSWORD=hidden"],
        },
        // discourse: nothing but a password.
        Case {
            process: ("postgres", ""),
            client: "psql",
            env: &[("POSTGRES_PASSWORD", "hidden")],
            settings: "",
            answer: "postgresql done postgres postgres  v1",
            calls: &["psql -U postgres -d postgres", "PGPASSWORD=hidden"],
        },
        Case {
            process: ("postgres", ""),
            client: "psql",
            env: &[
                ("POSTGRESQL_USERNAME", "bn"),
                ("POSTGRESQL_DATABASE", "bitnami"),
                ("POSTGRESQL_PASSWORD", "hidden"),
            ],
            settings: "",
            answer: "postgresql done bn bitnami  v1",
            calls: &["psql -U bn -d bitnami", "PGPASSWORD=hidden"],
        },
        // Declared in recipe-ci.yml.
        Case {
            process: ("postgres", ""),
            client: "psql",
            env: &[("POSTGRES_USER", "a"), ("PGHOST", "elsewhere")],
            settings: "wanted_user=b\nwanted_database=c",
            answer: "postgresql done b c  v1",
            calls: &["psql -U b -d c"],
        },
        // wordpress, ghost, mediawiki: the app's user on the app's database.
        Case {
            process: ("mysqld", ""),
            client: "mysql",
            env: &[
                ("MYSQL_USER", "wp"),
                ("MYSQL_PASSWORD_FILE", secret),
                ("MYSQL_DATABASE", "wordpress"),
                ("MYSQL_ROOT_PASSWORD", "another"),
            ],
            settings: "",
            answer: "mariadb done wp wordpress /var/lib/mysql/ v1",
            calls: &["-u wp", "MYSQL_PWD=hidden", "INSERT INTO recipe_ci_1"],
        },
        // Only root, and the app made its database itself.
        Case {
            process: ("mariadbd", ""),
            client: "mariadb",
            env: &[
                ("MARIADB_ROOT_PASSWORD", "hidden"),
                ("TABLES", "ghost_prod"),
            ],
            settings: "",
            answer: "mariadb done root ghost_prod /var/lib/mysql/ v1",
            calls: &["-u root", "MYSQL_PWD=hidden", "ghost_prod"],
        },
        // linuxserver's way to say that a value is in a file.
        Case {
            process: ("mariadbd", ""),
            client: "mariadb",
            env: &[
                ("MYSQL_USER", "ls"),
                ("FILE__MYSQL_PASSWORD", secret),
                ("MYSQL_DATABASE", "books"),
            ],
            settings: "",
            answer: "mariadb done ls books /var/lib/mysql/ v1",
            calls: &["-u ls", "MYSQL_PWD=hidden"],
        },
        // authentik: as it is; the others: with a password, elsewhere.
        Case {
            process: ("redis-server", "redis-server *:6379"),
            client: "redis-cli",
            env: &[],
            settings: "",
            answer: "redis done   /data v1",
            calls: &["redis-cli -p 6379", "SET recipe_ci_1 value:v1"],
        },
        Case {
            process: ("valkey-server", "valkey-server 127.0.0.1:6400"),
            client: "valkey-cli",
            env: &[("VALKEY_PASSWORD_FILE", secret), ("NEEDS", "hidden")],
            settings: "",
            answer: "redis done   /data v1",
            calls: &["valkey-cli -p 6400", "REDISCLI_AUTH=hidden"],
        },
        Case {
            process: ("redis-server", "redis-server unixsocket:/run/redis.sock"),
            client: "redis-cli",
            env: &[("NEEDS", "hidden")],
            settings: "requirepass=hidden",
            answer: "redis done   /data v1",
            calls: &["redis-cli -s /run/redis.sock", "REDISCLI_AUTH=hidden"],
        },
        Case {
            process: ("redis-server", "redis-server *:6379"),
            client: "redis-cli",
            env: &[],
            settings: "mounts=/elsewhere",
            answer: "redis cache   /data /data is on no volume, so what it holds goes with its container",
            calls: &[],
        },
        // rocketchat: the official image with and without users.
        Case {
            process: ("mongod", ""),
            client: "mongosh",
            env: &[],
            settings: "",
            answer: "mongodb done  rocketchat /data/db v1",
            calls: &[
                "mongosh --quiet",
                "insertOne({_id: 'marker', marker: 'v1'})",
            ],
        },
        Case {
            process: ("mongod", ""),
            client: "mongo",
            env: &[
                ("MONGO_INITDB_ROOT_USERNAME", "boss"),
                ("MONGO_INITDB_ROOT_PASSWORD_FILE", secret),
                ("MONGO_INITDB_DATABASE", "rocketchat"),
            ],
            settings: "",
            answer: "mongodb done boss rocketchat /data/db v1",
            calls: &["auth(\"boss\", \"hidden\")", "var want = \"rocketchat\""],
        },
        // A client where no server runs, and a server without its client.
        Case {
            process: ("nginx", ""),
            client: "psql",
            env: &[("POSTGRES_USER", "a")],
            settings: "",
            answer: "nothing: recipe-ci\tshell\n",
            calls: &[],
        },
        Case {
            process: ("postgres", ""),
            client: "mysql",
            env: &[("POSTGRES_USER", "a")],
            settings: "",
            answer: "postgresql noclient a a  there is no `psql` in its container",
            calls: &[],
        },
    ];
    for case in &cases {
        let dir = tempfile::tempdir().unwrap();
        let (answer, calls) = ask(dir.path(), case);
        let what = format!("{:?} {:?}\n{calls}", case.process, case.env);
        assert_eq!(answer, case.answer, "{what}");
        for call in case.calls {
            assert!(calls.contains(call), "{call}: {what}");
        }
        let with_arguments = calls.lines().filter(|line| line.starts_with(case.client));
        for line in with_arguments {
            assert!(!line.contains("hidden"), "{line}");
        }
    }
}
