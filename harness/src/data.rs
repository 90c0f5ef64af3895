//! Databases of an app: found by image, command and process, asked through the client that their own container has.
//!
//! A container is asked with one command: a shell script on its standard input ([`script`]) that finds the servers
//! that run there, reads the credentials that the recipe gave them, and answers in lines. So no credential comes out
//! of the container, and an operation costs one command, whatever it takes inside. What is asked is always about one
//! table (collection, key) of ours; nothing of the app's is read or changed.

mod hint;
mod script;

use std::fmt;
use std::time::Duration;

pub use hint::Hints;
pub use recipe::database::Kind;

use engine::swarm::{Engine, EngineError};
use engine::wait::{Deadline, Poll, WaitError, poll_until};

/// How long one question may take, most of which is a database that is busy.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// How long a database may take until it accepts connections: a container may be healthy before its server is done.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long it may refuse what we know: while it sets itself up, its users and databases are not there yet.
const REFUSED_LIMIT: Duration = Duration::from_secs(5);

/// How often it is asked again meanwhile.
const INTERVAL: Duration = Duration::from_millis(200);

/// A database of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The service in whose container it runs.
    pub service: String,
    /// What it is.
    pub kind: Kind,
    /// Its name among those of its server; empty where it is not known.
    pub name: String,
    /// The user that it is asked as; empty where it is not known.
    pub user: String,
    /// Where its files are in the container; empty where that is not known.
    pub directory: String,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} database", self.kind)?;
        // Redis has numbers instead of names, and ours is always the first.
        if !self.name.is_empty() {
            write!(f, " {}", self.name)?;
        }
        write!(f, " of service {}", self.service)
    }
}

/// What is to be done with our table. Its name and what it says are of lower-case letters, digits and `_` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish<'a> {
    /// Only say where the database is.
    Locate,
    /// Make it, if it is not there, and have it say this and nothing else.
    Seed(&'a str),
    /// Say what it says.
    Read,
    /// Have it say this in the place of what it says. The row stays: a restore that only adds what is missing meets it, as
    /// it meets the app's own.
    Overwrite(&'a str),
    /// Remove it.
    Drop,
}

/// A question to the databases of one container.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// What is to be done.
    pub wish: Wish<'a>,
    /// The table.
    pub table: &'a str,
    /// What is known of the container.
    pub hints: &'a Hints,
    /// The database, where it is known which; all that run there otherwise.
    pub of: Option<Known<'a>>,
}

/// What is known of a database before it is asked; an empty text is not known.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'a str,
    /// The user.
    pub user: &'a str,
}

/// What a database said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It did what was wished; what the table says now.
    Done(Vec<String>),
    /// It did not accept connections, for this reason.
    Starting(String),
    /// It accepts nothing that is known of it.
    Refused(String),
    /// Its container has no client.
    NoClient(String),
    /// It would not do it.
    Failed(String),
    /// What it holds is not meant to stay.
    Cache(String),
}

/// The answer of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which.
    pub database: Database,
    /// What it said.
    pub said: Said,
}

/// Asks the databases of `container`, which is of `service`; returns one answer for each that runs there. It waits
/// until they accept connections; `expected` says that one must be there, so that one which still starts is waited for.
///
/// # Errors
/// [`EngineError`] of the host, and when the container is gone.
pub async fn ask(
    engine: &Engine,
    container: &str,
    service: &str,
    question: &Question<'_>,
    expected: bool,
) -> Result<Vec<Answer>, EngineError> {
    let text = script::text(question);
    let text = text.as_str();
    let refused = Deadline::after(REFUSED_LIMIT);
    let asked = poll_until(Deadline::after(START_LIMIT), INTERVAL, || async {
        let answers = once(engine, container, service, text, question.hints).await?;
        let again = (answers.iter()).find_map(|answer| match &answer.said {
            Said::Starting(reason) => Some(reason.clone()),
            Said::Refused(reason) if !refused.passed() => Some(reason.clone()),
            _ => None,
        });
        let again = again.or_else(|| {
            let nothing = expected && answers.is_empty() && !refused.passed();
            nothing.then(|| "no server runs".to_owned())
        });
        Ok::<_, EngineError>(match again {
            Some(reason) => Poll::NotYet(reason),
            None => Poll::Ready(answers),
        })
    });
    match asked.await {
        Ok(answers) => Ok(answers),
        Err(WaitError::Failed(error)) => Err(error),
        Err(WaitError::TimedOut { .. }) => {
            once(engine, container, service, text, question.hints).await
        }
    }
}

async fn once(
    engine: &Engine,
    container: &str,
    service: &str,
    text: &str,
    hints: &Hints,
) -> Result<Vec<Answer>, EngineError> {
    let command = ["sh", "-s"].map(str::to_owned);
    let input = Some(text.as_bytes().to_vec());
    let stdout = match engine.exec(container, &command, input, ASK_LIMIT).await {
        Ok(output) => output.stdout,
        Err(error) if error.is_gone() || !error.is_about_the_app() => return Err(error),
        Err(EngineError::ExecTimedOut { limit_s, .. }) => {
            let reason = format!("it did not answer within {limit_s} s");
            return Ok(by_image(hints, service, Said::Failed(reason)));
        }
        Err(_) => Vec::new(),
    };
    Ok(if script::was_read(&stdout) {
        script::answers(&stdout, service)
    } else {
        let reason = "its container has no shell".to_owned();
        by_image(hints, service, Said::NoClient(reason))
    })
}

/// Returns the answer of the database that the image is of, as its name says, where it cannot answer itself.
fn by_image(hints: &Hints, service: &str, said: Said) -> Vec<Answer> {
    let kind = hints.image.into_iter();
    kind.map(|kind| Answer {
        database: Database {
            service: service.to_owned(),
            kind,
            name: String::new(),
            user: String::new(),
            directory: String::new(),
        },
        said: said.clone(),
    })
    .collect()
}
