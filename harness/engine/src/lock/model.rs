//! The lock protocol in every order in which three processes can take their steps, die and start again.
//!
//! The steps are those of `protocol`, the code that production runs; the kernel is a model: a path that
//! names an inode or nothing, open files, one exclusive lock per inode whose waiters get it in any order, and
//! SIGKILL between any two steps. Nothing bounds how often a process dies and starts again, because the world
//! has finitely many states; all of them are visited, breadth first, so a counterexample is a shortest one.
//!
//! What must hold is in [`World::breach`], [`World::touch`], [`World::step`] and [`check`]. Each rule of the
//! protocol is broken on purpose once, in `broken`, and the check must say so; run with `--nocapture`, the tests
//! print how it goes wrong then.
//!
//! Not modelled: what a killed run's children and the engine still do after its death (they get a death
//! signal, and a removal lists twice), and a file system whose locks are not this kernel's (refused).
//!
//! Why not the crate `stateright`: it brings 20 packages, among them a web server and a second `rand`, for
//! what is a hundred lines here (33 s of build with its like); its properties speak of states and of paths,
//! while "steps never lead back" needs the graph without starts and deaths. `Cargo.lock` may have 300.

mod broken;

use std::collections::HashMap;
use std::fmt;

use super::protocol::{Acquire, Found, Leave, Left, Patience};

/// How many processes there are.
const PROCESSES: usize = 3;

/// What a process is there for. Each start may be any of them, so every mix of three is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Role {
    /// A run: waits for its domain, removes what a dead run left, makes its app, removes it, ends.
    Run,
    /// A janitor, or a supervisor whose worker died: removes the app if its owner is dead.
    Reap,
    /// A janitor that found a lock file without an app.
    Tidy,
    /// A process that only looks: a dry run, `ps`. The real look is gentler, with a shared lock and without
    /// making the file; whatever this one cannot break, that one cannot.
    Look,
}

/// Where a process is: the step that it takes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum At {
    /// Nowhere: not started, ended or dead.
    Idle,
    /// On the way to the lock.
    Way(Patience, Acquire),
    /// A run that owns its domain: removes what a dead run left.
    Inherit,
    /// Makes its app.
    Make,
    /// Works on its app.
    Work,
    /// Removes its app.
    Teardown,
    /// Ends, and so releases.
    End,
    /// A reaper that owns the domain.
    Leave(Leave),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Process {
    role: Role,
    at: At,
    /// The inode that it has open.
    open: Option<u8>,
    /// Whether it has locked that.
    locked: bool,
    /// What its first step as an owner left of the app.
    left: Left,
}

const IDLE: Process = Process {
    role: Role::Run,
    at: At::Idle,
    open: None,
    locked: false,
    left: Left::Something,
};

impl Process {
    /// Whether it believes that the domain is its own. A reaper's claim ends when it has unlinked the file,
    /// for what it closes after that is no lock of the domain any more, or when it has closed it.
    fn claims(&self) -> bool {
        match self.at {
            At::Idle | At::Way(..) => false,
            At::Leave(step) => self.locked && matches!(step, Leave::Clear | Leave::Unlink),
            At::Inherit | At::Make | At::Work | At::Teardown | At::End => true,
        }
    }
}

/// The app of the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum App {
    None,
    /// Made by this process, which lives.
    Of(usize),
    /// Made by a process that is dead.
    Orphan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    /// The inode that the path names.
    path: Option<u8>,
    app: App,
    all: [Process; PROCESSES],
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Start(usize, Role),
    Step(usize),
    /// A step that could fail fails: a removal is incomplete.
    Fail(usize),
    Kill(usize),
}

/// The decisions under test: production's, or one of them broken.
struct Rules {
    acquire: fn(Acquire, Found) -> Acquire,
    /// What a reaper does about a lock that is held; production's does nothing.
    held: Option<Leave>,
    first: Leave,
    leave: fn(Leave, Left) -> Leave,
    /// What a run does first with a domain that it owns.
    owned: At,
    /// Whether touching the app without the lock is a breach in itself, whatever comes of it.
    strict: bool,
}

const PRODUCTION: Rules = Rules {
    acquire: Acquire::next,
    held: None,
    first: Leave::FIRST,
    leave: Leave::next,
    owned: At::Inherit,
    strict: true,
};

/// Why a world may not be.
type Breach = &'static str;

impl World {
    const FIRST: Self = Self {
        path: None,
        app: App::None,
        all: [IDLE; PROCESSES],
    };

    /// Returns what is wrong with this world.
    fn breach(&self) -> Option<Breach> {
        let owners = self.all.iter().filter(|process| process.claims()).count();
        (owners > 1).then_some("two processes believe that they own the domain")
    }

    /// Returns an inode that nothing refers to.
    fn new_inode(&self) -> u8 {
        (0..)
            .find(|inode| {
                self.path != Some(*inode) && self.all.iter().all(|p| p.open != Some(*inode))
            })
            .expect("four of 256 are in use")
    }

    /// Whether `who` could lock what it has open.
    fn lockable(&self, who: usize) -> bool {
        let mut others = self.all.iter().enumerate();
        others.all(|(other, p)| other == who || !p.locked || p.open != self.all[who].open)
    }

    /// Checks that `who` may touch the app: it holds the lock of the file that the path names.
    fn touch(&self, rules: &Rules, who: usize) -> Result<(), Breach> {
        match self.app {
            App::Of(owner) if owner != who => return Err("a live run's app is touched by another"),
            _ => {}
        }
        let process = &self.all[who];
        let owns = process.locked && process.open.is_some() && process.open == self.path;
        if owns || !rules.strict {
            Ok(())
        } else {
            Err("the app is touched by a process that does not own the domain")
        }
    }

    fn start(mut self, who: usize, role: Role) -> Self {
        self.all[who] = Process {
            role,
            at: At::Way(Patience::Try, Acquire::FIRST),
            ..IDLE
        };
        self
    }

    /// The process is no more, by its own end or by SIGKILL: the kernel closes what it had open.
    fn end(mut self, who: usize) -> Self {
        self.all[who] = IDLE;
        if self.app == App::Of(who) {
            self.app = App::Orphan;
        }
        self
    }

    /// Returns the world after the next step of `who`; nothing when it is blocked or has none.
    fn step(mut self, rules: &Rules, who: usize, fails: bool) -> Option<Result<Self, Breach>> {
        let Process { role, at, .. } = self.all[who];
        let can_fail = role == Role::Reap && at == At::Leave(Leave::Clear);
        if fails && !can_fail {
            return None;
        }
        Some(match at {
            At::Idle => return None,
            At::Way(patience, step) => {
                let found = self.carry_out(who, patience, step)?;
                Ok(self.go(rules, who, patience, (rules.acquire)(step, found)))
            }
            At::Inherit => self.remove(rules, who).map(|world| world.to(who, At::Make)),
            At::Make if self.app != App::None => Err("a run begins on what a dead run left"),
            At::Make => self.touch(rules, who).map(|()| {
                self.app = App::Of(who);
                self.to(who, At::Work)
            }),
            At::Work if self.app != App::Of(who) => Err("a run lost its app"),
            At::Work => self.touch(rules, who).map(|()| self.to(who, At::Teardown)),
            At::Teardown => self.remove(rules, who).map(|world| world.to(who, At::End)),
            At::End => Ok(self.end(who)),
            At::Leave(step) => self.leave(rules, who, step, fails).map(|mut world| {
                let next = (rules.leave)(step, world.all[who].left);
                world.all[who].at = At::Leave(next);
                if next == Leave::Gone {
                    world.end(who)
                } else {
                    world
                }
            }),
        })
    }

    fn to(mut self, who: usize, at: At) -> Self {
        self.all[who].at = at;
        self
    }

    fn remove(mut self, rules: &Rules, who: usize) -> Result<Self, Breach> {
        if self.app != App::None {
            self.touch(rules, who)?;
            self.app = App::None;
        }
        Ok(self)
    }

    /// The kernel's part of an acquisition; nothing when the process blocks in it.
    fn carry_out(&mut self, who: usize, patience: Patience, step: Acquire) -> Option<Found> {
        match step {
            Acquire::Open => {
                self.all[who].open = None;
                self.all[who].locked = false;
                let inode = self.path.unwrap_or_else(|| self.new_inode());
                self.path = Some(inode);
                self.all[who].open = Some(inode);
                Some(Found::Opened)
            }
            Acquire::Lock if self.lockable(who) => {
                self.all[who].locked = true;
                Some(Found::Locked)
            }
            Acquire::Lock if patience == Patience::Try => Some(Found::Busy),
            Acquire::Lock => None,
            Acquire::Compare if self.path == self.all[who].open => Some(Found::Same),
            Acquire::Compare => Some(Found::Other),
            Acquire::Own | Acquire::Held => unreachable!("ends are not carried out"),
        }
    }

    /// Goes on to `next`, and from an end of the way to what the role does then.
    fn go(self, rules: &Rules, who: usize, patience: Patience, next: Acquire) -> Self {
        let role = self.all[who].role;
        let at = match (next, role) {
            (Acquire::Own, Role::Run) => rules.owned,
            (Acquire::Own, Role::Reap | Role::Tidy) => At::Leave(rules.first),
            (Acquire::Own, Role::Look) => At::Leave(Leave::Close),
            // As `run::locks` does: a probe first, so that it can say that it waits.
            (Acquire::Held, Role::Run) => {
                let mut waits = self.to(who, At::Way(Patience::Wait, Acquire::FIRST));
                waits.all[who].open = None;
                return waits;
            }
            (Acquire::Held, Role::Reap | Role::Tidy) => match rules.held {
                Some(step) => At::Leave(step),
                None => return self.end(who),
            },
            (Acquire::Held, Role::Look) => return self.end(who),
            _ => At::Way(patience, next),
        };
        self.to(who, at)
    }

    fn leave(
        mut self,
        rules: &Rules,
        who: usize,
        step: Leave,
        fails: bool,
    ) -> Result<Self, Breach> {
        match step {
            Leave::Clear if fails => self.all[who].left = Left::Something,
            Leave::Clear => {
                if self.all[who].role == Role::Reap {
                    self = self.remove(rules, who)?;
                }
                let clear = self.app == App::None;
                self.all[who].left = if clear {
                    Left::Nothing
                } else {
                    Left::Something
                };
            }
            Leave::Unlink => self.path = None,
            Leave::Close => {
                self.all[who].open = None;
                self.all[who].locked = false;
            }
            Leave::Gone => {}
        }
        Ok(self)
    }

    fn after(self, rules: &Rules, what: Move) -> Option<Result<Self, Breach>> {
        match what {
            Move::Start(who, role) => {
                (self.all[who].at == At::Idle).then(|| Ok(self.start(who, role)))
            }
            Move::Kill(who) => (self.all[who].at != At::Idle).then(|| Ok(self.end(who))),
            Move::Step(who) => self.step(rules, who, false),
            Move::Fail(who) => self.step(rules, who, true),
        }
    }

    /// Returns one name for all worlds that differ only in which process is which and in the numbers of
    /// inodes. Two names for one would cost time and nothing else.
    fn name(mut self) -> Self {
        let mut order = [0, 1, 2];
        order.sort_by_key(|who: &usize| {
            let Process {
                role,
                at,
                locked,
                left,
                ..
            } = self.all[*who];
            (role, at, locked, left, self.app == App::Of(*who))
        });
        self.all = order.map(|who| self.all[who]);
        if let App::Of(owner) = &mut self.app {
            *owner = order.iter().position(|who| who == owner).unwrap_or(0);
        }
        let mut numbers = [None; PROCESSES + 2];
        let mut next = 0;
        let opens = self.all.iter_mut().map(|process| &mut process.open);
        for inode in std::iter::once(&mut self.path).chain(opens).flatten() {
            *inode = *numbers[usize::from(*inode)].get_or_insert_with(|| {
                next += 1;
                next - 1
            });
        }
        self
    }

    /// One sweep, as `janitor::sweep` chooses its work, after everybody has died.
    fn swept(mut self, rules: &Rules) -> Result<Self, Breach> {
        for who in 0..PROCESSES {
            self = self.end(who);
        }
        if self.app == App::None && self.path.is_none() {
            return Ok(self);
        }
        let role = if self.app == App::None {
            Role::Tidy
        } else {
            Role::Reap
        };
        self = self.start(0, role);
        for _ in 0..20 {
            match self.step(rules, 0, false) {
                Some(world) => self = world?,
                None => return Ok(self),
            }
        }
        Err("a sweep does not end")
    }
}

/// What a check found wrong, and how it comes about.
struct Counterexample {
    breach: Breach,
    trace: Vec<(Move, World)>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.breach)?;
        for (count, (what, world)) in self.trace.iter().enumerate() {
            write!(f, "  {:2}. {what:?}", count + 1)?;
            let (Move::Start(who, _) | Move::Step(who) | Move::Fail(who) | Move::Kill(who)) = what;
            let process = &world.all[*who];
            let file = match process.open {
                Some(_) if process.open == world.path => "the path's file",
                Some(_) => "an unlinked file",
                None => "nothing",
            };
            let lock = if process.locked { ", locked" } else { "" };
            writeln!(
                f,
                " -> {:?} {:?} with {file} open{lock}; app: {:?}",
                process.role, process.at, world.app
            )?;
        }
        Ok(())
    }
}

/// Every reachable world, with the move and the world that it was first reached by.
struct Visited {
    worlds: Vec<(World, usize, Move)>,
    /// Where steps, not starts and deaths, lead from each.
    steps: Vec<Vec<usize>>,
}

impl Visited {
    fn trace(&self, mut to: usize) -> Vec<(Move, World)> {
        let mut trace = Vec::new();
        while to != 0 {
            let (world, from, what) = self.worlds[to];
            trace.push((what, world));
            to = from;
        }
        trace.reverse();
        trace
    }

    fn counterexample(&self, breach: Breach, at: usize) -> Counterexample {
        let trace = self.trace(at);
        Counterexample { breach, trace }
    }

    /// Returns a world from which steps alone lead back to it.
    fn circle(&self) -> Option<usize> {
        const NEW: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut colour = vec![NEW; self.worlds.len()];
        for root in 0..self.worlds.len() {
            let mut stack = vec![(root, 0)];
            while let Some((world, edge)) = stack.pop() {
                if edge == 0 && colour[world] != NEW {
                    continue;
                }
                colour[world] = OPEN;
                let Some(&to) = self.steps[world].get(edge) else {
                    colour[world] = DONE;
                    continue;
                };
                stack.push((world, edge + 1));
                match colour[to] {
                    NEW => stack.push((to, 0)),
                    OPEN => return Some(to),
                    _ => {}
                }
            }
        }
        None
    }
}

fn moves() -> impl Iterator<Item = Move> {
    (0..PROCESSES).flat_map(|who| {
        let starts =
            [Role::Run, Role::Reap, Role::Tidy, Role::Look].map(|role| Move::Start(who, role));
        [Move::Step(who), Move::Fail(who), Move::Kill(who)]
            .into_iter()
            .chain(starts)
    })
}

/// Visits every world and checks each, and the graph of all; returns how many there are.
///
/// Of the graph: a live process can go on or waits for one that can, and steps never lead round in a
/// circle. So when no process starts or dies, all of them end, whatever the order is. And from
/// every world, when all have died, one sweep leaves neither app nor lock file.
fn check(rules: &Rules) -> Result<usize, Counterexample> {
    let mut seen = HashMap::from([(World::FIRST, 0)]);
    let mut visited = Visited {
        worlds: vec![(World::FIRST, 0, Move::Kill(0))],
        steps: Vec::new(),
    };
    let mut at = 0;
    while at < visited.worlds.len() {
        let world = visited.worlds[at].0;
        let mut steps = Vec::new();
        for what in moves() {
            let Some(after) = world.after(rules, what) else {
                continue;
            };
            // A step that breaks a rule has no world after it; the one before it is shown.
            let (after, breach) = match after {
                Ok(after) => (after, after.breach()),
                Err(breach) => (world, Some(breach)),
            };
            if let Some(breach) = breach {
                let mut found = visited.counterexample(breach, at);
                found.trace.push((what, after));
                return Err(found);
            }
            let to = *seen.entry(after.name()).or_insert_with(|| {
                visited.worlds.push((after, at, what));
                visited.worlds.len() - 1
            });
            if matches!(what, Move::Step(_) | Move::Fail(_)) {
                steps.push(to);
            }
        }
        if steps.is_empty() && world.all.iter().any(|process| process.at != At::Idle) {
            return Err(visited.counterexample("somebody waits for ever", at));
        }
        visited.steps.push(steps);
        let swept = world.swept(rules);
        let breach = match swept {
            Ok(World {
                app: App::None,
                path: None,
                ..
            }) => None,
            Ok(World { app: App::None, .. }) => {
                Some("one sweep after all have died leaves the lock file")
            }
            Ok(_) => Some("one sweep after all have died leaves the app"),
            Err(breach) => Some(breach),
        };
        if let Some(breach) = breach {
            return Err(visited.counterexample(breach, at));
        }
        at += 1;
    }
    match visited.circle() {
        Some(at) => Err(visited.counterexample("steps lead round in a circle from here", at)),
        None => Ok(visited.worlds.len()),
    }
}

/// Says what a person who runs the tests with `--nocapture` wants to read.
#[expect(clippy::print_stderr, reason = "a test's own output")]
fn say(text: &str) {
    eprintln!("{text}");
}

#[test]
fn no_order_of_steps_and_deaths_breaks_the_protocol() {
    let watch = crate::wait::Stopwatch::start();
    let worlds = check(&PRODUCTION).unwrap_or_else(|found| panic!("{found}"));
    say(&format!("{worlds} worlds in {:?}", watch.elapsed()));
    // A model in which no process can do anything would pass as well.
    assert!(worlds > 10_000, "{worlds}");
}
