//! The supervisor of CI's engine: makes the room, sees to its swarm, and takes the room back.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::unistd::geteuid;

use super::closed::ELSEWHERE;
use super::{Ceilings, Record, Room, RoomError, State, gateway_bridge, system, tail};
use crate::lock::{SectionLock, refuse_network_file_system};
use crate::process::{Cmd, Identity, Kept, Processes, describe};
use crate::record::replace_shared;
use crate::swarm::host::Membership;
use crate::swarm::{Engine, EngineError};
use crate::wait::{Deadline, Poll, Stopwatch, WaitError, pause, poll_until, retry_while};

/// What is done in namespaces, and to the host around them.
const STEPS: &str = include_str!("steps.sh");

/// How long an engine may take to answer. With the data of a crash it has to tidy up first.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long a new swarm may take.
const SWARM_LIMIT: Duration = Duration::from_secs(60);

/// How long the lock may be held by those who only look at it.
const LOOKED_AT: Duration = Duration::from_secs(2);

/// How long the kernel may take to remove a network and the groups of processes that were killed.
const GONE_LIMIT: Duration = Duration::from_secs(20);

/// How long the rules and groups may take to go.
const LEAVE_LIMIT: Duration = Duration::from_secs(60);

/// How often a supervisor looks whether its lock file is still at its path.
const POLL: Duration = Duration::from_secs(10);

/// The network that recipes share with a gateway.
const PROXY: &str = "proxy";

/// What happened, for a caller that tells people.
#[derive(Debug)]
pub enum Event {
    /// What a dead engine left was taken back.
    Cleared(Vec<String>),
    /// The engine is ready.
    Ready(Record),
}

/// Why a supervisor's work is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// It was told to stop.
    Stopped,
    /// There is a supervisor already.
    Taken,
    /// Its lock file is not at its path any more: another supervisor may have replaced it.
    Displaced,
}

/// Takes the lock of a room, or returns nothing when another process holds it: at once where that is a supervisor whose
/// engine is ready.
pub(super) async fn claim(room: &Room) -> Result<Option<SectionLock>, RoomError> {
    let lock = room.lock_file();
    let above = lock.parent().unwrap_or(Path::new("/"));
    let what = format!("make `{}`", above.display());
    std::fs::create_dir_all(above).map_err(system(what))?;
    refuse_network_file_system(above)?;
    let taken = retry_while(
        Deadline::after(LOOKED_AT),
        Duration::from_millis(7),
        |taken| matches!(taken, Ok(None)) && !matches!(room.state(), Ok(State::Ready(_))),
        || async { SectionLock::try_acquire(&lock) },
    );
    Ok(taken.await?)
}

/// Makes an engine and keeps it until `stop`, or until it ends; takes everything back but its data.
///
/// # Errors
/// [`RoomError`] when there is no engine, or when it ended by itself.
pub async fn supervise(
    room: &Room,
    processes: &Processes,
    ceilings: Ceilings,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(Event),
) -> Result<Over, RoomError> {
    let watch = Stopwatch::start();
    let Some(lock) = claim_as_root(room).await? else {
        return Ok(Over::Taken);
    };
    let left = room.left().map_err(system("look for what is left"))?;
    clear(room, processes, &lock).await?;
    if !left.is_empty() {
        tell(Event::Cleared(left));
    }
    let mut engine = start(room, processes, ceilings)?;
    let over = {
        let mut stop = std::pin::pin!(stop);
        let ready = tokio::select! {
            biased;
            () = &mut stop => None,
            ready = engine.ready(room, &lock, ceilings, watch) => Some(ready),
        };
        match ready {
            None => Ok(Over::Stopped),
            Some(Err(error)) => Err(error),
            Some(Ok(record)) => {
                tell(Event::Ready(record));
                keep(room, &lock, &mut engine, stop).await
            }
        }
    };
    if matches!(over, Ok(Over::Displaced)) {
        // What is at these paths may be another's by now; this one's ends with this process.
        return over;
    }
    let cleared = clear(room, processes, &lock).await;
    engine.child.end().await;
    let over = over?;
    cleared.map(|()| over)
}

/// Takes the lock of a room as [`claim`] does.
pub(super) async fn claim_as_root(room: &Room) -> Result<Option<SectionLock>, RoomError> {
    if !geteuid().is_root() {
        return Err(RoomError::NotRoot);
    }
    claim(room).await
}

/// An engine that was started, until it ends.
#[derive(Debug)]
pub(super) struct Started {
    /// The parent of the first process of its namespace.
    pub(super) child: Kept,
    /// How long the log was before.
    log_before: u64,
}

/// Starts the engine of a room in which nothing is. It ends with this process.
pub(super) fn start(
    room: &Room,
    processes: &Processes,
    ceilings: Ceilings,
) -> Result<Started, RoomError> {
    let dir = room.dir();
    let made = std::fs::create_dir_all(&dir).and_then(|()| open_to_all(&dir));
    made.map_err(system(format!("make `{}`", dir.display())))?;
    let log_before = room.log_file().metadata().map_or(0, |meta| meta.len());
    let enter = steps(room, processes, "enter", ceilings)?;
    Ok(Started {
        child: processes.spawn_kept(&enter)?,
        log_before,
    })
}

impl Started {
    /// Waits until it can be worked with, and records that.
    pub(super) async fn ready(
        &mut self,
        room: &Room,
        lock: &SectionLock,
        ceilings: Ceilings,
        watch: Stopwatch,
    ) -> Result<Record, RoomError> {
        tokio::select! {
            biased;
            error = self.ended(room) => Err(error),
            ready = prepare(room, lock, ceilings, watch) => ready,
        }
    }

    /// Waits for its end; returns how that was.
    async fn ended(&mut self, room: &Room) -> RoomError {
        match self.child.wait().await {
            Ok(status) => self.over(room, status),
            Err(source) => system("wait for the engine")(source),
        }
    }

    fn over(&self, room: &Room, status: ExitStatus) -> RoomError {
        RoomError::Over {
            who: "the engine",
            how: describe(status),
            log: tail(&room.log_file(), self.log_before),
        }
    }
}

/// Waits for what ends the supervisor's work.
async fn keep(
    room: &Room,
    lock: &SectionLock,
    engine: &mut Started,
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Result<Over, RoomError> {
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return Ok(Over::Stopped),
            error = engine.ended(room) => return Err(error),
            () = pause(POLL) => {}
        }
        if !lock.is_current().map_err(system("look at the lock"))? {
            return Ok(Over::Displaced);
        }
    }
}

/// Waits for the engine to answer, makes it a swarm of one, and records that it is ready.
async fn prepare(
    room: &Room,
    lock: &SectionLock,
    ceilings: Ceilings,
    watch: Stopwatch,
) -> Result<Record, RoomError> {
    let (engine, mut facts) = answering(room).await?;
    let block = room.block().ok_or_else(|| RoomError::Unready {
        limit_s: START_LIMIT.as_secs(),
        last: "it has no addresses".to_owned(),
    })?;
    let bridge = gateway_bridge(block);
    // With the data of before it goes on as it was, unless another took its addresses meanwhile.
    let is_same = engine.gateway_bridge_is(&bridge).await?;
    if facts.membership != Membership::Manager || !is_same {
        if facts.membership != Membership::None {
            engine.leave_swarm().await?;
        }
        if !is_same {
            engine.make_gateway_bridge(&bridge).await?;
        }
        engine.init_swarm().await?;
        facts.membership = Membership::Manager;
    }
    let made = poll_until(
        Deadline::after(SWARM_LIMIT),
        Duration::from_millis(50),
        || async {
            // A swarm that has just begun has no leader for a moment.
            Ok::<_, RoomError>(match engine.create_overlay(PROXY).await {
                Ok(()) => Poll::Ready(()),
                Err(error) => Poll::NotYet(ground::error::chain(&error)),
            })
        },
    );
    made.await.map_err(|error| unready(error, SWARM_LIMIT))?;
    let record = Record {
        process: Identity::own().map_err(system("read /proc"))?,
        lock: lock.inode().map_err(system("look at the lock"))?,
        block,
        version: facts.version,
        ceilings,
        ready_ms: u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let text = serde_json::to_vec_pretty(&record).map_err(|error| RoomError::System {
        what: "write down that the engine is ready".to_owned(),
        source: error.into(),
    })?;
    replace_shared(&room.record_file(), &text)
        .map_err(system(format!("write `{}`", room.record_file().display())))?;
    Ok(record)
}

async fn answering(room: &Room) -> Result<(Engine, crate::swarm::host::HostFacts), RoomError> {
    let host = room.docker_host();
    let answered = poll_until(
        Deadline::after(START_LIMIT),
        Duration::from_millis(15),
        || async {
            let engine = match Engine::connect(&host) {
                Ok(engine) => engine,
                Err(error @ EngineError::Unreachable { .. }) => {
                    return Ok(Poll::NotYet(ground::error::chain(&error)));
                }
                Err(error) => return Err(RoomError::from(error)),
            };
            Ok(match engine.host_facts().await {
                // It finds out whether it is in a swarm after it listens.
                Ok(facts) if facts.membership == Membership::Broken => {
                    Poll::NotYet(facts.swarm_error)
                }
                Ok(facts) => Poll::Ready((engine, facts)),
                Err(error) => Poll::NotYet(ground::error::chain(&error)),
            })
        },
    );
    answered.await.map_err(|error| unready(error, START_LIMIT))
}

pub(super) fn unready(error: WaitError<RoomError>, limit: Duration) -> RoomError {
    match error {
        WaitError::Failed(error) => error,
        WaitError::TimedOut { last, .. } => RoomError::Unready {
            limit_s: limit.as_secs(),
            last,
        },
    }
}

/// Ends whatever is in the room, and takes back all of it but the engine's data. Only for who has the lock.
///
/// # Errors
/// [`RoomError::Left`] when something would not go.
pub(super) async fn clear(
    room: &Room,
    processes: &Processes,
    _: &SectionLock,
) -> Result<(), RoomError> {
    let dir = room.dir();
    let looked = "look for what is left";
    if !dir.exists() && room.left().map_err(system(looked))?.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(&dir).map_err(system(format!("make `{}`", dir.display())))?;
    let looked = "look at the engine's control group";
    if let (_, Some(group)) = room.group().map_err(system(looked))? {
        let left = group.end().await;
        if !left.is_empty() {
            return Err(RoomError::Left { left });
        }
    }
    forget(&room.record_file())?;
    forget(&room.dir().join("socket/docker.sock"))?;
    let leave = steps(room, processes, "leave", Ceilings::default())?;
    let gone = poll_until(
        Deadline::after(GONE_LIMIT),
        Duration::from_millis(10),
        || async {
            processes.run(&leave, LEAVE_LIMIT).await?;
            // The kernel takes a network apart after its last process has ended.
            let left = room.left().map_err(system("look for what is left"))?;
            Ok::<_, RoomError>(if left.is_empty() {
                Poll::Ready(())
            } else {
                Poll::NotYet(left.join(", "))
            })
        },
    );
    gone.await.map_err(|error| match error {
        WaitError::Failed(error) => error,
        WaitError::TimedOut { last, .. } => RoomError::Left { left: vec![last] },
    })
}

fn forget(path: &Path) -> Result<(), RoomError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(system(format!("remove `{}`", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Returns the command of a step. Of the environment it gets where programs are, and nothing that is somebody's secret:
/// containers may be granted a look at it.
fn steps(
    room: &Room,
    processes: &Processes,
    step: &str,
    ceilings: Ceilings,
) -> Result<Cmd, RoomError> {
    let (group, _) = room
        .group()
        .map_err(system("find the host's control groups"))?;
    Ok(Cmd::new("/bin/sh", Path::new("/"))
        .args(["-c", "eval \"$ROOM\"", "room", step])
        .label(format!("the room of CI's engine: {step}"))
        .no_env()
        .env("PATH", processes.base_var("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .env("ROOM", STEPS)
        .env("ROOM_DIR", room.dir())
        .env("ROOM_GROUP", group)
        .env("ROOM_ELSEWHERE", ELSEWHERE.join(" "))
        .env("ROOM_MEMORY", ceilings.memory.to_string())
        .env("ROOM_PIDS", ceilings.pids.to_string())
        .env("ROOM_CPUS", ceilings.cpus.to_string())
        .env("ROOM_DISK", ceilings.disk.to_string())
        .env("ROOM_KEEP", if room.is_kept() { "1" } else { "0" }))
}

/// Lets those through who may use the engine; its data is the engine's own to close.
fn open_to_all(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
}
