//! The rules as data. `docs/policy.md` is made from them, and a test holds the two together.

/// A rule of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its id, which never changes its meaning.
    pub id: &'static str,
    /// The compose keys that it is about.
    pub keys: &'static str,
    /// What a stranger may do.
    pub stranger: &'static str,
    /// The key of `grants.yml` that allows more; absent where nothing does.
    pub grant: Option<&'static str>,
    /// Why, in a sentence.
    pub why: &'static str,
    /// What the author of the recipe can do.
    pub fix: &'static str,
    /// Whether a stranger's proposal is refused for it. What is not refused is said, or not deployed.
    pub refuses: bool,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $keys:literal, $stranger:literal, $grant:expr, $why:literal, $fix:literal, $refuses:literal;)+) => {
        $(
            pub static $name: Rule = Rule {
                id: $id, keys: $keys, stranger: $stranger, grant: $grant, why: $why, fix: $fix, refuses: $refuses,
            };
        )+
        /// Every rule, by id.
        pub static RULES: &[&Rule] = &[$(&$name),+];
    };
}

rules! {
    UNKNOWN = "P001", "any other key", "no", None,
        "What was never judged could do anything.",
        "remove the key; `docker stack deploy` does not know it either, or this version of recipe-ci does not", true;
    IMAGE = "P002", "`image`", "images of well-known public registries, pulled without a login", Some("images"),
        "A pull with the operator's login, or an image that only lies on this host, hands private software to a stranger.",
        "publish the image in a public registry; an operator can list one that was built on the host in CCCI_LOCAL_IMAGES", true;
    BIND = "P003", "`volumes` of type `bind`", "only `/etc/localtime` and `/etc/timezone`, to be read", Some("binds"),
        "A path of the host is other people's data, or the way to its root.",
        "use a named volume, a config or a secret", true;
    MOUNT = "P004", "`volumes` of type `npipe`, `cluster`, `image`", "no", None,
        "They reach what is not the run's, and no harness can take it back.",
        "use a named volume", true;
    VOLUME_OPTIONS = "P005", "`driver`, `driver_opts` of volumes", "the driver `local` without options", Some("volume_options"),
        "Options of the local driver mount any path or device of the host.",
        "use a plain named volume", true;
    FOREIGN_VOLUME = "P006", "`name`, `external` of volumes", "`<stack>_…`, not external", Some("foreign.volumes"),
        "A volume under another name is another app's data.",
        "leave `name` and `external` out, or begin the name with `${STACK_NAME}_`", true;
    FOREIGN_SECRET = "P007", "`name`, `external` of secrets", "`<stack>_…`; what is external the run makes", Some("foreign.secrets"),
        "A secret under another name is another app's password.",
        "begin the name with `${STACK_NAME}_`", true;
    FOREIGN_CONFIG = "P008", "`name`, `external` of configs", "`<stack>_…`, not external", Some("foreign.configs"),
        "A config under another name is another app's, and often holds its passwords; one that was made before is not the run's.",
        "leave `external` out, and begin the name with `${STACK_NAME}_`", true;
    FOREIGN_NETWORK = "P009", "`name`, `external` of networks", "`<stack>_…`, not external; `proxy`", Some("foreign.networks"),
        "On another app's network a stranger reaches its database.",
        "use networks of the recipe's own, and `proxy` for what is served", true;
    SHARED_NETWORK = "P010", "`networks.proxy` of services", "where abra deploys: the service `app` only, without aliases, and with no other hostname than the domain or `app`; otherwise the run has a network of its own in its place", Some("foreign.networks"),
        "abra leaves the app on the gateway's network, where other apps look their names up.",
        "attach only `app` to `proxy`, without aliases and a hostname", true;
    NETWORK_DRIVER = "P011", "`driver` of networks", "`overlay`", Some("keys: network_driver"),
        "Other drivers attach to the host's own network.",
        "leave `driver` out", true;
    NETWORK_OPTIONS = "P012", "`driver_opts`, `ipam`, `attachable`, `enable_ipv6` of networks", "no", Some("keys: network_options"),
        "They take addresses of the host's networks, or open the network to other containers.",
        "leave them out", true;
    PORTS = "P013", "`ports`", "not published; tests reach the task itself", Some("ports"),
        "A published port belongs to the whole host.",
        "serve through the gateway", false;
    CAPABILITIES = "P014", "`cap_add`", "what Docker gives every container but `NET_RAW`, which is taken away", Some("capabilities"),
        "Capabilities beyond Docker's own set reach the host's network, devices and kernel; with `NET_RAW` a container gets its neighbours' traffic by ARP.",
        "leave it out", true;
    SYSCTLS = "P015", "`sysctls`", "no", Some("keys: sysctls"),
        "They change the kernel's settings.", "leave it out", true;
    ULIMITS = "P016", "`ulimits`", "no", Some("keys: ulimits"),
        "They lift limits that protect the host.", "leave it out", true;
    LOGGING = "P017", "`logging`", "`json-file` or `local`, within the ceiling, of at most 10 files of 64 KiB or more, with a tag of at most 256 bytes", Some("keys: logging"),
        "A log driver sends to any address, or fills the disk.",
        "leave it out", true;
    ISOLATION = "P018", "`isolation`", "no", Some("keys: isolation"),
        "It decides how a container is kept apart from the host.", "leave it out", true;
    CREDENTIAL_SPEC = "P019", "`credential_spec`", "no", Some("keys: credential_spec"),
        "It hands an account of the host to the container.", "leave it out", true;
    EXTRA_HOSTS = "P020", "`extra_hosts`", "no", Some("keys: extra_hosts"),
        "`host-gateway` is the host itself, and other names stand for other people's machines.",
        "reach other services by their names", true;
    DNS = "P021", "`dns`, `dns_search`, `dns_opt`", "no", Some("keys: dns"),
        "It asks other machines in the host's name.", "leave it out", true;
    PLACEMENT = "P022", "`deploy.placement.constraints`", "`node.role`, `node.platform`", Some("keys: placement"),
        "Nodes are labelled to keep things apart.", "leave it out", true;
    GENERIC_RESOURCES = "P023", "`deploy.resources.reservations.generic_resources`", "no", Some("keys: generic_resources"),
        "They are devices of the host.", "leave it out", true;
    DRIVER = "P024", "`driver`, `driver_opts` of secrets and configs", "no", None,
        "A plugin of the engine would be asked for other people's secrets.",
        "let Swarm keep it: leave `driver` out", true;
    TEMPLATE = "P025", "`template_driver`; `{{…}}` in `environment`, `hostname`, `volumes`, options of logs and labels of volumes",
        "simple templates: `secret`, `config`, `env`, comparisons, `if`, fields of service, node and task", Some("template_driver"),
        "The engine evaluates it in its own memory, and a template of a few lines can ask for all of it.",
        "use only `secret`, `config`, `env`, `eq`, `ne`, `not`, `and`, `or`, `if`, `else` and `end`", true;
    SIZE = "P026", "`deploy.replicas`, `services`, `labels`", "3 replicas of a service, 20 services, 40 tasks, 50 networks, volumes, secrets and configs each, 1 MiB of secrets and configs, 64 KiB in the definition of a service and 1 MiB in those of all tasks, 100 attachments of tasks to networks, 100 mounts, secrets, configs and aliases each of a service; 32 KiB of labels of an object, and of Traefik's labels of the app; 4 KiB in one of Traefik's", Some("ceilings"),
        "The host is shared by runs and apps.", "ask for less", true;
    RESOURCES = "P027", "`deploy.resources`, sizes of tmpfs, `stop_grace_period`, `healthcheck.interval`, `restart_policy.delay`",
        "filled in: 1 GiB, 1 CPU and 512 processes a task, 8 GiB, 8 CPUs and 4096 processes all together, 10 MB of log, 5 s between two starts, 1 s between two health checks; what is lower stays; reservations are left out", Some("ceilings"),
        "A task without limits takes the host's memory and processor.", "stay below", false;
    ROUTE = "P028", "`traefik.*.rule`, `traefik.*.tls.domains`, entry points of TCP and UDP; `VIRTUAL_HOST`, `LETSENCRYPT_HOST` in `environment`", "``Host(`<run's domain>`)``, alone or with more conditions", Some("routers.hosts`, `routers.entrypoints"),
        "The operator's gateway would send other people's visitors to the stranger.",
        "begin the rule with ``Host(`${DOMAIN}`)``", true;
    ROUTE_NAME = "P029", "`traefik.*.routers.<name>`, services, middlewares", "`${STACK_NAME}…`", Some("routers.names"),
        "A router or middleware of the same name replaces another app's.",
        "begin the name with `${STACK_NAME}`", true;
    PRIORITY = "P030", "`traefik.*.priority`", "no", Some("routers.priority"),
        "A high priority goes before other apps' routers.", "leave it out", true;
    GATEWAY = "P031", "other `traefik.*`", "options of its own routers, services and middlewares", None,
        "They reach the gateway itself, its files, its certificates or other addresses.",
        "leave it out; a certificate resolver comes from the gateway", true;
    DOCKER_LABEL = "P032", "labels `com.docker.*`", "no", None,
        "By these labels the engine and its tools know whose something is.", "leave it out", true;
    OTHERS_LABEL = "P033", "other labels", "not deployed: only `traefik`, `backupbot`, `org.opencontainers`, `org.label-schema` are, and of `coop-cloud` `version`, `timeout`, `recipe`, `chaos` and `chaos-version`", Some("labels"),
        "Programs that operators run beside the Swarm obey labels, and route hosts or run commands by them.", "leave it out, or have the operator grant it", false;
    ISOLATION_LOST = "P034", "`privileged`, `devices`, `network_mode`, `pid`, `ipc`, `userns_mode`, `cgroup_parent`, `cgroupns_mode`, `security_opt` that loosen; `oom_score_adj`", "no", None,
        "Most of it Swarm ignores today, so the app cannot need it; and it would give the container the host.",
        "remove it", true;
    NO_EFFECT = "P035", "`container_name`, `links`, `build`, `tmpfs` and others of a service", "yes", None,
        "Swarm ignores it.", "remove it: it has no effect on a Swarm", false;
    NAME = "P036", "names of services, volumes, networks, secrets, configs and variables", "letters, digits, `.`, `_`, `-`; of variables all but `=`", None,
        "A name that is more than a name is read in another way somewhere.", "use a plain name", true;
    FILE = "P037", "`file` of secrets and configs, `env_file`; every other file of the repository", "regular, inside the repository, and within its limits", None,
        "A link that leads out shows other people's files, and what grows without end takes the host's memory.",
        "put the file itself into the repository", true;
    SUPPLIED = "P038", "secrets with `generate=false` in .env.sample", "no", Some("secrets"),
        "The operator supplies such a secret for one source, and any other would read it.",
        "let it be generated, or have the operator grant it", true;
    BACKUP = "P039", "`backupbot.backup.volumes.<volume>.path`", "relative, without `..`", None,
        "The operator's backup program joins it to the volume's directory on the host.",
        "name what is below the volume's root", true;
    HEALTHCHECK = "P040", "`healthcheck.test`", "a command", None,
        "At `[CMD]` without a command dockerd crashes, again at each start, and with it all apps of the host.",
        "write the command, or `disable: true`", true;
}

/// Returns the rule with this id.
#[must_use]
pub fn of(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id).copied()
}

/// Returns the table of `docs/policy.md`.
#[must_use]
pub fn table() -> String {
    let mut text = String::from(
        "| rule | compose key | a stranger | with a grant | why | what to do |\n|---|---|---|---|---|---|\n",
    );
    for rule in RULES {
        let grant = rule
            .grant
            .map_or_else(|| "–".to_owned(), |key| format!("`{key}`"));
        text.push_str(&format!(
            "| {} | {} | {} | {grant} | {} | {} |\n",
            rule.id, rule.keys, rule.stranger, rule.why, rule.fix
        ));
    }
    text
}
