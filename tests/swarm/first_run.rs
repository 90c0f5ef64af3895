//! An app that waits for its installer: declared, it is set up before it is judged; undeclared, that is said.

use serde_json::Value;

use crate::engine::SwarmEnv;
use crate::support::{Done, git};

/// Answers with its installer until that got the secret, and finishes for the cookie that it gave then.
const SETUP: &str = r#"mkdir -p /www/cgi-bin
echo installer > /www/install.php
cat > /www/cgi-bin/index.cgi <<'END'
#!/bin/sh
if [ -f /www/done ]; then printf 'Content-Type: text/html\r\n\r\nwelcome\n'
else printf 'Status: 302 Found\r\nLocation: /install.php\r\n\r\n'; fi
END
cat > /www/cgi-bin/setup <<'END'
#!/bin/sh
body=$(head -c "$CONTENT_LENGTH")
if [ "$body" = "password=$(cat /run/secrets/admin)&user=admin" ]; then
    printf 'Status: 303 See Other\r\nSet-Cookie: step=2; Path=/\r\nLocation: /cgi-bin/finish\r\n\r\n'
else printf 'Status: 422 Unprocessable\r\nContent-Type: text/plain\r\n\r\nwrong: %s\n' "$body"; fi
END
cat > /www/cgi-bin/finish <<'END'
#!/bin/sh
[ "$HTTP_COOKIE" = step=2 ] && : > /www/done
printf 'Content-Type: text/plain\r\n\r\ncookie %s\n' "$HTTP_COOKIE"
END
chmod +x /www/cgi-bin/*
exec httpd -f -p 8080 -h /www
"#;

fn install(declared: &str) -> (Done, Value) {
    let mut env = SwarmEnv::new();
    env.set("STAGES", "install");
    let dir = env.root.join("recipes/first");
    std::fs::create_dir_all(dir.join("tests")).unwrap();
    let compose = "version: \"3.8\"\nservices:\n  app:\n    image: recipe-ci/notes:1\n    init: true\n    \
                   command: [sh, /setup.sh]\n    healthcheck: {test: 'test -d /', interval: 1s}\n    \
                   configs: [{source: setup, target: /setup.sh}]\n    secrets: [{source: admin, target: admin}]\n    \
                   deploy:\n      labels:\n        \
                   - \"traefik.http.services.${STACK_NAME}.loadbalancer.server.port=8080\"\n\
                   configs:\n  setup: {file: setup.sh, name: \"${STACK_NAME}_setup_v1\"}\n\
                   secrets:\n  admin: {external: true, name: \"${STACK_NAME}_admin_${SECRET_ADMIN_VERSION}\"}\n";
    std::fs::write(dir.join("compose.yml"), compose).unwrap();
    std::fs::write(dir.join("setup.sh"), SETUP).unwrap();
    let sample = "TYPE=first\nDOMAIN=x\nSECRET_ADMIN_VERSION=v1 # length=24\n";
    std::fs::write(dir.join(".env.sample"), sample).unwrap();
    std::fs::write(dir.join("tests/recipe-ci.yml"), declared).unwrap();
    git(&dir, &["init", "-q", "-b", "main"]);
    git(&dir, &["add", "-A"]);
    git(&dir, &["commit", "-q", "-m", "x"]);
    let done = env.run(["run".as_ref(), dir.as_os_str()]);
    let results = env.results();
    env.assert_nothing_left();
    (done, results)
}

#[test]
fn an_app_is_set_up_before_it_is_judged_and_one_that_waits_for_its_installer_is_named() {
    let request = "first_run:\n  - path: /cgi-bin/setup\n    \
                   form: {user: USER, password: '${secret:admin}'}\n    contains: cookie step=2\n";
    let welcome = "checks: [{path: /, contains: welcome}]\n";
    let declared = format!("{}{welcome}", request.replace("USER", "admin"));
    let (done, results) = install(&declared);
    assert_eq!(done.code, Some(0), "{results:#}\n{}", done.stderr);
    assert_eq!(results["findings"], serde_json::json!([]), "{results:#}");

    let (done, results) = install(&request.replace("USER", "somebody"));
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let reason = results["tiers"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("generic: first run: POST /cgi-bin/setup: status 422"),
        "{reason}"
    );
    // The answer repeats what was sent, and the secret in it is none any more.
    assert!(
        done.stderr
            .contains("wrong: password=[redacted]&user=somebody"),
        "{}",
        done.stderr
    );

    let (done, results) = install("");
    assert_eq!(done.code, Some(0), "{results:#}\n{}", done.stderr);
    let found = &results["findings"][0];
    assert_eq!(
        (&found["id"], &found["service"]),
        (&"F022".into(), &"app".into())
    );
    assert!(
        found["message"]
            .as_str()
            .unwrap()
            .contains("`/install.php`")
    );
}
