//! A run that reaches its app through the host's gateway, and a gateway whose own page must never count.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::engine::SwarmEnv;
use crate::support::command;

/// What a request is answered with: a way to an app, or the gateway's own page.
pub(crate) enum Answer {
    Forward(String),
    Own(&'static str),
}

/// A gateway on loopback that chooses by the `Host` header, as Traefik does; returns its address.
pub(crate) fn gateway(choose: impl Fn(&str) -> Answer + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // One bad request must not end the gateway.
            drop(serve(near, &choose));
        }
    });
    address
}

fn serve(mut near: TcpStream, choose: &impl Fn(&str) -> Answer) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match near.read(&mut piece)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&piece[..count]),
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let host = text
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("host:").map(str::to_owned))
        .unwrap_or_default();
    let host = host.trim().split(':').next().unwrap_or_default().to_owned();
    match choose(&host) {
        Answer::Own(page) => near.write_all(page.as_bytes()),
        Answer::Forward(address) => {
            let mut far = TcpStream::connect(address)?;
            // One request per connection, so that its end is the answer's.
            far.write_all(
                text.replacen("\r\n", "\r\nConnection: close\r\n", 1)
                    .as_bytes(),
            )?;
            std::io::copy(&mut far, &mut near).map(drop)
        }
    }
}

fn docker(args: &[&str]) -> String {
    let output = command("docker").args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Returns where the app of `domain` serves, as a gateway would learn it from the engine.
fn address_of(domain: &str) -> Option<String> {
    let label = format!(
        "label=com.docker.stack.namespace={}",
        domain.replace('.', "_")
    );
    let container = docker(&["ps", "-q", "--no-trunc", "--filter", &label]);
    let container = container.lines().next()?;
    let format = "{{range $id, $leg := .Containers}}{{println $id $leg.IPv4Address}}{{end}}";
    let legs = docker(&["network", "inspect", "docker_gwbridge", "--format", format]);
    let leg = legs.lines().find_map(|line| line.strip_prefix(container))?;
    Some(format!("{}:8080", leg.trim().split('/').next()?))
}

const NOT_FOUND: &str =
    "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\nConnection: close\r\n\r\nnot found\n";
const WELCOME: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nwelcome\n";

#[test]
fn an_app_is_reached_through_the_gateway_by_run_and_tests() {
    let mut env = SwarmEnv::new();
    let zone = env.zone.clone();
    // A busy engine takes its time to say where the app is, and a request has not long; it stays there.
    let known = RefCell::new(HashMap::new());
    let address = gateway(move |host| {
        let mut known = known.borrow_mut();
        if host.ends_with(&zone)
            && !known.contains_key(host)
            && let Some(address) = address_of(host)
        {
            known.insert(host.to_owned(), address);
        }
        match known.get(host) {
            Some(address) => Answer::Forward(address.clone()),
            None => Answer::Own(NOT_FOUND),
        }
    });
    env.set("CCCI_GATEWAY", format!("http://{address}"));
    env.set("CCCI_GATEWAY_SERVICE", "none");
    env.set("STAGES", "install,custom");
    let recipe = env.recipe("notes");
    env.run(["run", recipe.to_str().unwrap()]).expect(0);
    let results = env.results();
    assert_eq!(results["rungs"]["install"], "pass");
    assert_eq!(results["rungs"]["custom"], "pass");
    env.assert_nothing_left();
}

#[test]
fn a_gateways_own_page_is_never_taken_for_the_app() {
    let mut env = SwarmEnv::new();
    let address = gateway(|_| Answer::Own(WELCOME));
    env.set("CCCI_GATEWAY", format!("http://{address}"));
    env.set("CCCI_GATEWAY_SERVICE", "none");
    env.set("STAGES", "install");
    // Five seconds are all that it has to serve.
    let recipe = env.recipe("serves-404");
    env.run(["run", recipe.to_str().unwrap()]).expect(1);
    let reason = env.results()["reason"].to_string();
    assert!(reason.contains("a domain that no app has"), "{reason}");
    env.assert_nothing_left();
}
