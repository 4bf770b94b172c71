//! Connects the menu with the world: keys, the node's socket, verbs, time.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use skerry_cli::{CallError, Io, Local, Nobody, Session, Transport};
use skerry_ipc::{Answer, PowerAction, Request};
use skerry_upkeep::Summary;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::keys::Decoder;
use crate::menu::{Effect, Event, Menu, Power};
use crate::output::Output;
use crate::rescue::Rescue;
use crate::screen::Node;

/// How often the node is asked how it is.
const POLL: Duration = Duration::from_secs(2);
/// How long it may take to answer that.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it may be silent before the rescue screen comes: a restart of its service is shorter.
const PATIENCE: Duration = Duration::from_secs(8);
/// The same at the start of the machine, when its service may have to recover its store first.
const FIRST_PATIENCE: Duration = Duration::from_secs(45);
/// What the node's rate limit knows the console as.
const ORIGIN: &str = "console";

/// Where things are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's socket.
    pub socket: PathBuf,
    /// What to do when the node is silent.
    pub rescue: Rescue,
}

type Work = Pin<Box<dyn Future<Output = Event> + Send>>;

/// The console at work.
struct Console {
    output: Output,
    /// Acts for whoever stands at the machine.
    peer: Arc<Local>,
    /// Acts for the account that is logged in.
    session: Arc<Local>,
    rescue: Rescue,
    is_up: bool,
    work: Option<Work>,
}

/// Runs the menu until the input ends, the terminal is gone, or `stop` happens.
pub async fn run(
    options: Options,
    mut input: mpsc::Receiver<Vec<u8>>,
    output: Output,
    stop: impl Future<Output = ()>,
    mut alive: impl FnMut(),
) {
    let local = || Arc::new(Local::new(&options.socket, "console", None, None));
    let mut console = Console {
        output,
        peer: local(),
        session: local(),
        rescue: options.rescue,
        is_up: false,
        work: None,
    };
    console.rescue.tidy();
    let (mut menu, effects) = Menu::new(env!("CARGO_PKG_VERSION")).next(Event::Node(Node::Unknown));
    for effect in effects {
        console.carry_out(effect);
    }
    let mut decoder = Decoder::default();
    let mut news = watch_node(Arc::clone(&console.peer));
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::pin!(stop);
    loop {
        // All of these are cancel-safe: receivers and ticks lose nothing, and work stays in its place.
        let events = tokio::select! {
            () = &mut stop => break,
            bytes = input.recv() => match bytes {
                Some(bytes) => {
                    bytes.iter().filter_map(|b| decoder.push(*b)).map(Event::Key).collect()
                }
                None => break,
            },
            Some(node) = news.recv() => {
                console.is_up = matches!(node, Node::Up(_));
                vec![Event::Node(node)]
            }
            event = console.working() => vec![event],
            _ = seconds.tick() => {
                alive();
                vec![Event::Second]
            }
        };
        for event in events {
            let (next, effects) = menu.next(event);
            menu = next;
            for effect in effects {
                console.carry_out(effect);
            }
        }
        if console.output.is_closed() {
            break;
        }
    }
}

/// Asks the node again and again how it is.
fn watch_node(peer: Arc<Local>) -> mpsc::Receiver<Node> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut polls = interval(POLL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_answer = Instant::now();
        let mut patience = FIRST_PATIENCE;
        loop {
            polls.tick().await;
            let node = match summary(&peer).await {
                Ok(summary) => {
                    last_answer = Instant::now();
                    patience = PATIENCE;
                    Node::Up(Box::new(summary))
                }
                Err(_) if last_answer.elapsed() < patience => continue,
                Err(reason) => Node::Down { seconds: last_answer.elapsed().as_secs(), reason },
            };
            if sender.send(node).await.is_err() {
                return;
            }
        }
    });
    receiver
}

async fn summary(peer: &Local) -> Result<Summary, String> {
    match timeout(ANSWER, peer.call(Request::Summary)).await {
        Ok(Ok(Answer::Document(json))) => {
            serde_json::from_str(&json.0).map_err(|error| format!("an odd answer: {error}"))
        }
        Ok(Ok(_)) => Err("an odd answer".to_owned()),
        Ok(Err(CallError::Unreachable { detail, .. })) => Err(detail),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            Err(format!("it took the question but gave no answer within {} s", ANSWER.as_secs()))
        }
    }
}

impl Console {
    /// The end of the work in progress; never, if there is none.
    async fn working(&mut self) -> Event {
        match &mut self.work {
            Some(work) => {
                let event = work.await;
                self.work = None;
                event
            }
            None => std::future::pending().await,
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Clear => self.output.clear(),
            Effect::Print(text) => self.output.text(&text),
            Effect::Look(verbs) => {
                let (peer, output) = (Arc::clone(&self.peer), self.output.clone());
                self.work = Some(Box::pin(do_verbs(verbs, peer, output)));
            }
            Effect::Command(words) => {
                let (session, output) = (Arc::clone(&self.session), self.output.clone());
                self.work = Some(Box::pin(do_verbs(vec![words], session, output)));
            }
            Effect::RescueLog => {
                let (rescue, mut output) = (self.rescue.clone(), self.output.clone());
                self.work =
                    Some(Box::pin(async move { Event::Ended(rescue.log(&mut output).await) }));
            }
            Effect::Login { username, password } => {
                let (purpose, origin) = ("console".to_owned(), ORIGIN.to_owned());
                self.open_session(Request::Login { username, password, purpose, origin });
            }
            Effect::Claim { code, username, password } => {
                let origin = ORIGIN.to_owned();
                self.open_session(Request::Claim { code, username, password, origin });
            }
            Effect::Logout => self.log_out(),
            Effect::Power(power) => self.power(power),
            Effect::Stop => {
                self.work = None;
                self.output.forget();
            }
        }
    }

    fn open_session(&mut self, request: Request) {
        let session = Arc::clone(&self.session);
        self.work = Some(Box::pin(async move { Event::LoggedIn(log_in(&session, request).await) }));
    }

    /// Ends the session here at once, and tells the node in the background.
    fn log_out(&mut self) {
        let session = Arc::clone(&self.session);
        tokio::spawn(async move {
            // A node that is away ends the session by its own clock.
            let _ = timeout(ANSWER, session.call(Request::Logout)).await;
            let _ = session.forget();
        });
    }

    fn power(&mut self, power: Power) {
        let (peer, rescue, is_up) = (Arc::clone(&self.peer), self.rescue.clone(), self.is_up);
        self.work = Some(Box::pin(async move {
            if !is_up {
                return Event::Ended(Some(rescue.power(power)));
            }
            let (action, doing) = match power {
                Power::Restart => (PowerAction::Restart, "The machine restarts."),
                Power::Off => (PowerAction::PowerOff, "The machine powers off."),
            };
            Event::Ended(Some(match timeout(ANSWER, peer.call(Request::Power(action))).await {
                Ok(Ok(_)) => doing.to_owned(),
                Ok(Err(CallError::Refused(refusal))) => refusal.detail,
                // The node went away or hangs: the other way is left.
                Ok(Err(_)) | Err(_) => rescue.power(power),
            }))
        }));
    }
}

async fn do_verbs(verbs: Vec<Vec<String>>, node: Arc<Local>, output: Output) -> Event {
    let (mut out, mut err) = (output.clone(), output);
    for words in verbs {
        let mut io = Io { out: &mut out, err: &mut err, asker: &Nobody, files: false };
        skerry_cli::run(&words, node.as_ref(), &mut io).await;
    }
    Event::Ended(None)
}

async fn log_in(session: &Local, request: Request) -> Result<String, String> {
    match session.call(request).await {
        Ok(Answer::Session { token, username, .. }) => {
            session.remember(&Session { token, username: username.clone() })?;
            Ok(username)
        }
        Ok(_) => Err("the node gave an odd answer".to_owned()),
        Err(CallError::Refused(refusal)) => {
            let faults: String = refusal
                .violations
                .iter()
                .map(|v| format!("\n  {}: {}", v.field, v.message))
                .collect();
            Err(skerry_cli::clean(&refusal.detail) + &faults)
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
