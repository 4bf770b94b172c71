//! The menu as a state machine: keys, news and results in; text and orders out. No input or output here.
//!
//! | mode    | key                     | next                                             |
//! |---------|-------------------------|--------------------------------------------------|
//! | menu    | 1 2 3                   | busy (summary, lists, log)                       |
//! | menu    | 4                       | ask for user and password, then the command line |
//! | menu    | 5 6                     | ask for the word, then busy (power)              |
//! | menu    | ?, return, Ctrl-L       | menu                                             |
//! | ask     | return                  | the next question, busy, or menu                 |
//! | ask     | Ctrl-C, Ctrl-D          | menu                                             |
//! | command | return                  | busy (the verb), then command again              |
//! | command | `exit`, Ctrl-D, 10 min  | menu, logged out                                 |
//! | busy    | Ctrl-C, q               | stops it                                         |
//!
//! While the node does not answer, 1, 2 and 4 only say so.

use crate::keys::Key;
use crate::line::{Edit, Line, words};
use crate::screen::{Node, keys, screen};

/// Seconds without a key after which a session ends.
pub const IDLE: u32 = 600;

/// What can be done with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Restart.
    Restart,
    /// Power off.
    Off,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody pressed a key.
    Key(Key),
    /// News of the node.
    Node(Node),
    /// A second passed.
    Second,
    /// A login or claim ended: the account's name, or why not.
    LoggedIn(Result<String, String>),
    /// What the console was busy with ended. A text is shown.
    Ended(Option<String>),
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Clear the screen.
    Clear,
    /// Show text; `\n` ends lines.
    Print(String),
    /// Do verbs as the console itself, one after the other; ends with [`Event::Ended`].
    Look(Vec<Vec<String>>),
    /// Show the node service's log though it does not answer; ends with [`Event::Ended`].
    RescueLog,
    /// Open a session; ends with [`Event::LoggedIn`].
    Login {
        /// Account name.
        username: String,
        /// Password.
        password: String,
    },
    /// Take possession of the node; ends with [`Event::LoggedIn`].
    Claim {
        /// The claim code.
        code: String,
        /// Account name.
        username: String,
        /// Password.
        password: String,
    },
    /// Do a verb in the session; ends with [`Event::Ended`].
    Command(Vec<String>),
    /// End the session.
    Logout,
    /// Restart or power off; ends with [`Event::Ended`].
    Power(Power),
    /// Stop what the console is busy with at once, and forget output that is not shown yet. No event follows.
    Stop,
}

/// A question to whoever is at the console.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Question {
    /// The word that confirms.
    Confirm(Power),
    User,
    Password(String),
    /// Of a new password; holds account and code.
    NewPassword {
        username: String,
        code: String,
    },
    Repeat {
        username: String,
        code: String,
        password: String,
    },
    /// A line for the command line; holds the account.
    Command(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode {
    /// The screen with its keys. `pressed`: a key was taken within this second, so that a return that a
    /// terminal or a script sends after it is not taken as "show again".
    Menu { pressed: bool },
    /// A question; typing goes into the line. `fresh`: the menu's key was pressed within this second, so that
    /// a return that follows it is not taken as an answer.
    Ask { question: Question, line: Line, fresh: bool },
    /// Something runs. `account`: in a session, to whose command line it returns. `log`: it ends only when
    /// somebody ends it.
    Busy { account: Option<String>, log: bool },
}

/// The menu.
#[derive(Debug, Clone, PartialEq)]
pub struct Menu {
    version: String,
    node: Node,
    mode: Mode,
    idle: u32,
    /// Keys typed while something ran; they count when it has ended.
    ahead: Vec<Key>,
    /// The screen as last drawn: it is drawn again only when it would differ.
    drawn: Vec<String>,
}

const PROMPT: &str = "> ";
/// Most keys that are kept while something runs.
const AHEAD: usize = 256;

impl Menu {
    /// A menu that knows nothing of the node yet; `version` is shown until the node tells its own.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            node: Node::Unknown,
            mode: Mode::Menu { pressed: false },
            idle: 0,
            ahead: Vec::new(),
            drawn: Vec::new(),
        }
    }

    /// Takes an event in and says what is to be done.
    #[must_use]
    pub fn next(mut self, event: Event) -> (Self, Vec<Effect>) {
        let effects = match event {
            Event::Key(key) => {
                self.idle = 0;
                self.key(key)
            }
            Event::Node(node) => {
                self.node = node;
                self.refresh()
            }
            Event::Second => self.second(),
            Event::LoggedIn(Ok(account)) => self.logged_in(&account),
            Event::LoggedIn(Err(why)) => {
                let mut effects = vec![Effect::Print(format!("{why}\n"))];
                effects.extend(self.back_to_menu());
                effects
            }
            Event::Ended(text) => self.ended(text),
        };
        self.typed_ahead(effects)
    }

    /// Takes in what was typed while something ran, as soon as nothing runs.
    fn typed_ahead(mut self, mut effects: Vec<Effect>) -> (Self, Vec<Effect>) {
        let mut keys = std::mem::take(&mut self.ahead).into_iter();
        while !matches!(self.mode, Mode::Busy { .. }) {
            let Some(key) = keys.next() else { break };
            effects.extend(self.key(key));
        }
        self.ahead.extend(keys);
        (self, effects)
    }

    /// Whether a session is open.
    fn account(&self) -> Option<&str> {
        match &self.mode {
            Mode::Ask { question: Question::Command(account), .. } => Some(account),
            Mode::Busy { account, .. } => account.as_deref(),
            _ => None,
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.node, Node::Up(_))
    }

    /// Draws the screen.
    fn draw(&mut self) -> Vec<Effect> {
        self.drawn = screen(&self.node, &self.version);
        let mut text = self.drawn.join("\n");
        text.push_str("\n> ");
        vec![Effect::Clear, Effect::Print(text)]
    }

    /// Draws the screen if the menu is shown and would look different.
    fn refresh(&mut self) -> Vec<Effect> {
        let is_menu = matches!(self.mode, Mode::Menu { .. });
        if is_menu && screen(&self.node, &self.version) != self.drawn {
            self.draw()
        } else {
            Vec::new()
        }
    }

    fn second(&mut self) -> Vec<Effect> {
        match &mut self.mode {
            Mode::Menu { pressed } => {
                *pressed = false;
                return Vec::new();
            }
            Mode::Ask { fresh, .. } => *fresh = false,
            Mode::Busy { .. } => {}
        }
        self.idle = self.idle.saturating_add(1);
        let waits = self.account().is_some() || matches!(self.mode, Mode::Ask { .. });
        if self.idle < IDLE || !waits {
            return Vec::new();
        }
        let busy = matches!(self.mode, Mode::Busy { .. });
        let session = self.account().is_some();
        self.mode = Mode::Menu { pressed: false };
        let mut effects = Vec::new();
        effects.extend(busy.then_some(Effect::Stop));
        effects.extend(session.then_some(Effect::Logout));
        effects.extend(self.draw());
        effects
    }

    fn key(&mut self, key: Key) -> Vec<Effect> {
        match &mut self.mode {
            Mode::Menu { pressed } => {
                let pressed = std::mem::replace(pressed, true);
                self.menu_key(key, pressed)
            }
            Mode::Ask { line, .. } if key == Key::Redraw => {
                let shown = line.echo().to_owned();
                vec![Effect::Print(format!("\n{}{shown}", self.question()))]
            }
            Mode::Ask { line, fresh, .. } => {
                if std::mem::take(fresh) && key == Key::Enter {
                    return Vec::new();
                }
                let (echo, edit) = line.key(key);
                let mut effects = Vec::new();
                if !echo.is_empty() {
                    effects.push(Effect::Print(echo));
                }
                effects.extend(match edit {
                    Edit::More => Vec::new(),
                    Edit::Cancelled => self.cancelled(),
                    Edit::Done(text) => self.answered(text),
                });
                effects
            }
            Mode::Busy { log, .. } if key == Key::Cancel || (*log && key == Key::Char('q')) => {
                self.ahead.clear();
                let mut effects = vec![Effect::Stop, Effect::Print("\n".to_owned())];
                effects.extend(self.ended(None));
                effects
            }
            Mode::Busy { log, .. } => {
                // A log has no end for which the keys could wait.
                if !*log && self.ahead.len() < AHEAD {
                    self.ahead.push(key);
                }
                Vec::new()
            }
        }
    }

    fn menu_key(&mut self, key: Key, pressed: bool) -> Vec<Effect> {
        match key {
            Key::Enter if pressed => Vec::new(),
            Key::Enter | Key::Redraw => self.draw(),
            Key::Char('1') if self.is_up() => self.look("1", &["summary"]),
            Key::Char('2') if self.is_up() => self.look("2", &["vm list", "pod list"]),
            Key::Char('3') if self.is_up() => {
                let mut effects = vec![Effect::Print("3\nCtrl-C or q ends the log.\n".to_owned())];
                effects.extend(self.look("", &["node log --tail 15 --follow"]));
                self.mode = Mode::Busy { account: None, log: true };
                effects
            }
            Key::Char('3') => {
                self.mode = Mode::Busy { account: None, log: true };
                let text = "3\nCtrl-C or q ends the log.\n".to_owned();
                vec![Effect::Print(text), Effect::RescueLog]
            }
            Key::Char('4') if self.is_up() => self.command_line(),
            Key::Char(c @ ('1' | '2' | '4')) => {
                self.remind(&format!("{c}\nThe node's service does not answer; this needs it.\n"))
            }
            Key::Char('5') => self.ask("5\n", Question::Confirm(Power::Restart), Line::shown()),
            Key::Char('6') => self.ask("6\n", Question::Confirm(Power::Off), Line::shown()),
            Key::Char('?' | 'h' | 'H') => self.remind(&format!("?\n{HELP}")),
            // Noise: say nothing, or a noisy line would answer itself for ever.
            _ => Vec::new(),
        }
    }

    /// Text, then the keys again.
    fn remind(&self, text: &str) -> Vec<Effect> {
        vec![Effect::Print(format!("{text}\n{}\n{PROMPT}", keys(&self.node)))]
    }

    fn look(&mut self, echo: &str, lines: &[&str]) -> Vec<Effect> {
        self.mode = Mode::Busy { account: None, log: false };
        let verbs = lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
        let mut effects = Vec::new();
        if !echo.is_empty() {
            effects.push(Effect::Print(format!("{echo}\n")));
        }
        effects.push(Effect::Look(verbs));
        effects
    }

    fn command_line(&mut self) -> Vec<Effect> {
        let code = match &self.node {
            Node::Up(summary) if !summary.claimed => summary.claim_code.clone().unwrap_or_default(),
            _ => {
                return self.ask(
                    "4\nLog in to use the command line.\n",
                    Question::User,
                    Line::shown(),
                );
            }
        };
        let text =
            "4\nThis node has no administrator yet: you become it now, with the name `admin`.\n";
        let username = "admin".to_owned();
        self.ask(text, Question::NewPassword { username, code }, Line::hidden())
    }

    /// Asks; `before` is printed first.
    fn ask(&mut self, before: &str, question: Question, line: Line) -> Vec<Effect> {
        let fresh = matches!(self.mode, Mode::Menu { .. });
        self.mode = Mode::Ask { question, line, fresh };
        vec![Effect::Print(format!("{before}{}", self.question()))]
    }

    /// The text of the present question.
    fn question(&self) -> String {
        let Mode::Ask { question, .. } = &self.mode else { return String::new() };
        match question {
            Question::Confirm(Power::Restart) => {
                "Type `restart` to restart the machine: ".to_owned()
            }
            Question::Confirm(Power::Off) => {
                "Type `power off` to power the machine off: ".to_owned()
            }
            Question::User => "User name [admin]: ".to_owned(),
            Question::Password(_) => "Password: ".to_owned(),
            Question::NewPassword { .. } => "New password: ".to_owned(),
            Question::Repeat { .. } => "Once more: ".to_owned(),
            Question::Command(_) => "skerry> ".to_owned(),
        }
    }

    fn cancelled(&mut self) -> Vec<Effect> {
        match &self.mode {
            Mode::Ask { question: Question::Command(_), .. } => self.log_out(),
            _ => self.back_to_menu(),
        }
    }

    fn log_out(&mut self) -> Vec<Effect> {
        self.mode = Mode::Menu { pressed: true };
        let mut effects = vec![Effect::Logout];
        effects.extend(self.draw());
        effects
    }

    /// Back to the menu, with its keys as a reminder and not the whole screen, so that what was said stays.
    fn back_to_menu(&mut self) -> Vec<Effect> {
        self.mode = Mode::Menu { pressed: true };
        self.drawn = screen(&self.node, &self.version);
        self.remind("")
    }

    fn answered(&mut self, text: String) -> Vec<Effect> {
        let Mode::Ask { question, .. } =
            std::mem::replace(&mut self.mode, Mode::Busy { account: None, log: false })
        else {
            return Vec::new();
        };
        match question {
            Question::Confirm(power) => self.confirmed(power, text.trim()),
            Question::User => {
                let name = if text.trim().is_empty() { "admin" } else { text.trim() };
                self.ask("", Question::Password(name.to_owned()), Line::hidden())
            }
            Question::Password(username) => {
                vec![Effect::Login { username, password: text }]
            }
            Question::NewPassword { username, code } => {
                let question = Question::Repeat { username, code, password: text };
                self.ask("", question, Line::hidden())
            }
            Question::Repeat { username, code, password } if password == text => {
                vec![Effect::Claim { code, username, password }]
            }
            Question::Repeat { .. } => {
                let mut effects = vec![Effect::Print("The two passwords differ.\n".to_owned())];
                effects.extend(self.back_to_menu());
                effects
            }
            Question::Command(account) => self.command(account, &text),
        }
    }

    fn confirmed(&mut self, power: Power, word: &str) -> Vec<Effect> {
        let wanted = if power == Power::Restart { "restart" } else { "power off" };
        if word == wanted {
            return vec![Effect::Power(power)];
        }
        let mut effects = vec![Effect::Print("Nothing was done.\n".to_owned())];
        effects.extend(self.back_to_menu());
        effects
    }

    fn command(&mut self, account: String, line: &str) -> Vec<Effect> {
        let mut words = match words(line) {
            Ok(words) => words,
            Err(why) => {
                return self.ask(&format!("{why}\n"), Question::Command(account), Line::shown());
            }
        };
        if words.first().is_some_and(|word| word == "skerry") {
            words.remove(0);
        }
        match words.first().map(String::as_str) {
            None => self.ask("", Question::Command(account), Line::shown()),
            Some("exit" | "quit" | "logout") => self.log_out(),
            Some("help" | "?") => {
                self.mode = Mode::Busy { account: Some(account), log: false };
                vec![Effect::Command(vec!["--help".to_owned()])]
            }
            Some(_) => {
                self.mode = Mode::Busy { account: Some(account), log: false };
                vec![Effect::Command(words)]
            }
        }
    }

    fn logged_in(&mut self, account: &str) -> Vec<Effect> {
        let text = format!("Logged in as {account}. `help` lists the verbs, `exit` leaves.\n");
        self.ask(&text, Question::Command(account.to_owned()), Line::shown())
    }

    fn ended(&mut self, text: Option<String>) -> Vec<Effect> {
        let Mode::Busy { account, .. } = &self.mode else { return Vec::new() };
        let account = account.clone();
        let mut effects: Vec<Effect> =
            text.map(|text| Effect::Print(format!("{text}\n"))).into_iter().collect();
        effects.extend(match account {
            Some(account) => self.ask("", Question::Command(account), Line::shown()),
            None => self.back_to_menu(),
        });
        effects
    }
}

const HELP: &str = "\
1  how the node is: addresses, memory, load, alarms
2  virtual machines and pods
3  the system's log as it comes
4  command line: asks for a user and password, then takes the verbs of the
   skerry program; on a new node it first sets the administrator's password
5  restart the machine        6  power the machine off
Return shows the first screen again. Ctrl-C leaves any question.
";

#[cfg(test)]
mod tests;
