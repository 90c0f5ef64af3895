//! Recipes of real software through a real Traefik, in HTTPS with the certificate of a private authority.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::engine::SwarmEnv;
use crate::support::{command, read_results, repository};
use crate::wait::wait_for;

use super::{SET, say};

/// Makes an authority, and of it a certificate for the apps of the zone; prints nothing that a test reads.
const CERTIFICATES: &str = r#"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=authority -keyout ca.key -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout key.pem -out csr.pem
printf 'subjectAltName=DNS:%s,DNS:*.%s\n' "$1" "$1" >names
openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem
"#;

const DYNAMIC: &str = "\
tls:
  stores:
    default:
      defaultCertificate: {certFile: /gateway/cert.pem, keyFile: /gateway/key.pem}
http:
  serversTransports:
    insecure: {insecureSkipVerify: true}
";

#[test]
fn an_app_and_one_that_speaks_https_only_are_served_through_traefik() {
    let mut env = SwarmEnv::new();
    env.write("gateway/dynamic.yml", DYNAMIC);
    let dir = env.root.join("gateway");
    let mut made = command("sh");
    made.args(["-euc", CERTIFICATES, "sh", &env.zone])
        .current_dir(&dir);
    let made = made.output().unwrap();
    assert!(made.status.success(), "{made:?}");

    // Free a moment ago; nothing else on this machine takes ports of its own accord.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let zone = env.zone.replace('.', "_");
    let mut deploy = command("docker");
    deploy
        .args(["stack", "deploy", "--resolve-image", "never", "-c"])
        .arg(repository().join("tests/real/gateway.yml"))
        .arg(format!("gate_{zone}"))
        .env("PORT", port.to_string())
        .env("ZONE", &zone)
        .env("DIR", &dir);
    let deployed = deploy.output().unwrap();
    assert!(deployed.status.success(), "{deployed:?}");
    // Docker accepts connections to the port before Traefik does.
    let up = || {
        let mut asked = command("curl");
        asked.args([
            "--silent",
            "--insecure",
            &format!("https://127.0.0.1:{port}/"),
        ]);
        asked.output().unwrap().status.success().then_some(())
    };
    wait_for(Duration::from_secs(60), up).expect("Traefik answers");

    env.set("CCCI_GATEWAY", format!("https://127.0.0.1:{port}"));
    env.set("SSL_CERT_FILE", dir.join("ca.pem").display().to_string());
    for name in ["site", "secure"] {
        let begin = Instant::now();
        let recipe = env.recipe_of(SET, name);
        env.run(["run".as_ref(), recipe.as_os_str()]).expect(0);
        let results = read_results(env.run_dirs().last().unwrap());
        assert_eq!(results["level"], 5, "{results:#}");
        say(&format!(
            "{name}: through Traefik after {:.1?}",
            begin.elapsed()
        ));
    }
}
