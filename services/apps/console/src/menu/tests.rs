//! Conversations, and whatever a line can send.

use super::*;
use crate::keys::Decoder;
use proptest::prelude::*;
use skerry_upkeep::Summary;

/// A menu with what it printed and asked for.
struct Talk {
    menu: Menu,
    printed: String,
    orders: Vec<Effect>,
}

fn summary(claimed: bool) -> Summary {
    let claim_code = (!claimed).then(|| "K7QF-3MXD".to_owned());
    Summary { claimed, claim_code, ready: true, store_healthy: true, ..Summary::default() }
}

impl Talk {
    fn new(claimed: bool) -> Self {
        let mut talk =
            Self { menu: Menu::new("0.1.0"), printed: String::new(), orders: Vec::new() };
        talk.event(Event::Node(Node::Up(Box::new(summary(claimed)))));
        talk.take();
        talk
    }

    fn event(&mut self, event: Event) {
        let (menu, effects) = self.menu.clone().next(event);
        self.menu = menu;
        for effect in effects {
            match effect {
                Effect::Print(text) => self.printed.push_str(&text),
                other => self.orders.push(other),
            }
        }
    }

    fn types(&mut self, text: &str) {
        let mut decoder = Decoder::default();
        for key in text.bytes().filter_map(|byte| decoder.push(byte)) {
            self.event(Event::Key(key));
        }
    }

    fn take(&mut self) -> (String, Vec<Effect>) {
        (std::mem::take(&mut self.printed), std::mem::take(&mut self.orders))
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_screen_is_drawn_only_when_it_changes() {
    let mut talk = Talk::new(true);
    let mut news = summary(true);
    news.uptime_s = 99;
    news.load1 = 3.5;
    talk.event(Event::Node(Node::Up(Box::new(news.clone()))));
    assert_eq!(talk.take(), (String::new(), vec![]), "load and time are not on the screen");
    news.alarms.major = 1;
    talk.event(Event::Node(Node::Up(Box::new(news))));
    let (text, orders) = talk.take();
    assert!(text.contains("ATTENTION") && text.ends_with("\n> "), "{text}");
    assert_eq!(orders, [Effect::Clear]);
}

#[test]
fn news_do_not_disturb_what_somebody_types() {
    let mut talk = Talk::new(true);
    talk.types("4");
    talk.take();
    talk.event(Event::Node(Node::Down { seconds: 1, reason: "gone".into() }));
    assert_eq!(talk.take(), (String::new(), vec![]));
}

#[test]
fn logging_in_and_doing_a_verb() {
    let mut talk = Talk::new(true);
    talk.types("4");
    assert!(talk.take().0.ends_with("User name [admin]: "));
    talk.event(Event::Second);
    talk.types("\rse cret\r");
    let (text, orders) = talk.take();
    assert_eq!(text, "\nPassword: \n");
    assert_eq!(orders, [Effect::Login { username: "admin".into(), password: "se cret".into() }]);
    talk.event(Event::LoggedIn(Ok("admin".into())));
    assert!(talk.take().0.ends_with("skerry> "));
    talk.types("skerry pod create web -i tiny\r");
    let (text, orders) = talk.take();
    assert_eq!(text, "skerry pod create web -i tiny\n");
    assert_eq!(orders, [Effect::Command(words("pod create web -i tiny"))]);
    talk.event(Event::Ended(None));
    assert_eq!(talk.take().0, "skerry> ");
    talk.types("exit\r");
    assert_eq!(talk.take().1, [Effect::Logout, Effect::Clear]);
}

#[test]
fn a_wrong_password_leads_back_to_the_menu_with_the_reason() {
    let mut talk = Talk::new(true);
    talk.types("4\r\rx\r");
    talk.take();
    talk.event(Event::LoggedIn(Err("wrong user name or password".into())));
    let (text, orders) = talk.take();
    assert!(text.starts_with("wrong user name or password\n") && text.ends_with("\n> "), "{text}");
    assert_eq!(orders, [], "the screen is not cleared, or the reason could not be read");
}

#[test]
fn claiming_asks_twice_and_shows_nothing_of_the_password() {
    let mut talk = Talk::new(false);
    talk.types("4secret-1\rsecret-1\r");
    let (text, orders) = talk.take();
    assert!(!text.contains("secret-1"), "{text}");
    let claim = Effect::Claim {
        code: "K7QF-3MXD".into(),
        username: "admin".into(),
        password: "secret-1".into(),
    };
    assert_eq!(orders, [claim]);
    let mut talk = Talk::new(false);
    talk.types("4one\rtwo\r");
    assert_eq!(talk.take().1, [], "two different passwords");
}

#[test]
fn power_needs_the_whole_word() {
    for (typed, wanted) in [
        ("5restart\r", vec![Effect::Power(Power::Restart)]),
        ("6power off\r", vec![Effect::Power(Power::Off)]),
        ("6\rpower off\r", vec![Effect::Power(Power::Off)]),
        ("6off\r", vec![]),
        ("6\r", vec![]),
        ("6\r\r", vec![]),
        ("6yes\r", vec![]),
        ("5power off\r", vec![]),
        ("5restart\x03", vec![]),
        ("5restat\x08rt\r", vec![Effect::Power(Power::Restart)]),
    ] {
        let mut talk = Talk::new(true);
        talk.types(typed);
        let orders: Vec<_> = talk.take().1.into_iter().filter(|o| *o != Effect::Clear).collect();
        assert_eq!(orders, wanted, "{typed:?}");
    }
}

#[test]
fn a_silent_node_still_gives_its_log_and_its_power() {
    let mut talk = Talk::new(true);
    talk.event(Event::Node(Node::Down { seconds: 3, reason: "cannot be reached".into() }));
    let (text, _) = talk.take();
    assert!(text.contains("RESCUE") && text.contains("cannot be reached"), "{text}");
    talk.types("1\r");
    assert!(talk.take().0.contains("needs it"));
    talk.types("3");
    assert_eq!(talk.take().1, [Effect::RescueLog]);
    talk.types("5q");
    assert_eq!(talk.take().1, [Effect::Stop]);
    talk.types("5restart\r");
    assert_eq!(talk.take().1, [Effect::Power(Power::Restart)]);
}

#[test]
fn a_return_after_a_key_does_not_wipe_its_answer() {
    let mut talk = Talk::new(true);
    talk.types("?\r");
    assert_eq!(talk.take().1, [], "the help stays");
    talk.event(Event::Second);
    talk.types("\r");
    assert_eq!(talk.take().1, [Effect::Clear]);
}

#[test]
fn a_session_that_nobody_uses_ends() {
    let mut talk = Talk::new(true);
    talk.types("4\r\rx\r");
    talk.event(Event::LoggedIn(Ok("admin".into())));
    talk.types("watch\r");
    talk.take();
    for _ in 0..IDLE {
        talk.event(Event::Second);
    }
    assert_eq!(talk.take().1, [Effect::Stop, Effect::Logout, Effect::Clear]);
    talk.types("x");
    assert_eq!(talk.take(), (String::new(), vec![]), "the menu is back");
}

#[test]
fn a_log_may_run_for_a_day_and_the_menu_may_stand_for_one() {
    let mut talk = Talk::new(true);
    for _ in 0..86_400 {
        talk.event(Event::Second);
    }
    talk.types("3");
    talk.take();
    for _ in 0..86_400 {
        talk.event(Event::Second);
    }
    assert_eq!(talk.take(), (String::new(), vec![]));
    talk.types("q");
    assert_eq!(talk.take().1, [Effect::Stop]);
}

#[test]
fn looking_needs_no_login() {
    let mut talk = Talk::new(true);
    talk.types("1");
    assert_eq!(talk.take().1, [Effect::Look(vec![words("summary")])]);
    talk.event(Event::Ended(None));
    assert!(talk.take().0.contains("1 status"), "the keys are shown again");
    talk.types("2");
    assert_eq!(talk.take().1, [Effect::Look(vec![words("vm list"), words("pod list")])]);
}

#[test]
fn what_is_typed_ahead_counts_later() {
    let mut talk = Talk::new(true);
    talk.types("2\r6\rpower ");
    assert_eq!(talk.take().1.len(), 1, "only the lists");
    talk.types("off\r");
    talk.event(Event::Ended(None));
    assert_eq!(talk.take().1, [Effect::Power(Power::Off)]);
    let mut talk = Talk::new(true);
    talk.types("26power off\r\x03");
    assert_eq!(talk.take().1[1..], [Effect::Stop], "Ctrl-C forgets what was typed");
}

#[test]
fn a_line_can_be_shown_again() {
    let mut talk = Talk::new(true);
    talk.types("4\r\rx\r");
    talk.event(Event::LoggedIn(Ok("admin".into())));
    talk.types("pod li");
    talk.take();
    talk.types("\x0c");
    assert_eq!(talk.take().0, "\nskerry> pod li");
}

/// Anything that can happen, in any order.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let node = prop_oneof![
        Just(Node::Up(Box::new(summary(true)))),
        Just(Node::Up(Box::new(summary(false)))),
        Just(Node::Down { seconds: 60, reason: "gone".into() }),
    ];
    let letters = proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| {
        let mut decoder = Decoder::default();
        bytes.into_iter().filter_map(|b| decoder.push(b)).map(Event::Key).collect::<Vec<_>>()
    });
    let text = "[1-6?q]?[a-z ]{0,9}\r?".prop_map(|text| {
        let mut decoder = Decoder::default();
        text.bytes().filter_map(|b| decoder.push(b)).map(Event::Key).collect::<Vec<_>>()
    });
    let one = prop_oneof![
        4 => letters,
        8 => text,
        2 => node.prop_map(|node| vec![Event::Node(node)]),
        2 => Just(vec![Event::Second]),
        1 => Just(vec![Event::LoggedIn(Ok("admin".into()))]),
        1 => Just(vec![Event::LoggedIn(Err("no".into()))]),
        2 => Just(vec![Event::Ended(None)]),
    ];
    proptest::collection::vec(one, 0..40).prop_map(|lists| lists.concat())
}

proptest! {
    /// The console that drives the menu starts at most one thing at a time and keeps its promises.
    #[test]
    fn whatever_happens_the_menu_stays_usable(events in events()) {
        let mut talk = Talk::new(true);
        let mut running = false;
        let mut session = false;
        for event in events {
            // The console never reports the end of what it did not start.
            let fits = match &event {
                Event::LoggedIn(_) | Event::Ended(_) => running,
                _ => true,
            };
            if !fits {
                continue;
            }
            if matches!(event, Event::LoggedIn(_) | Event::Ended(_)) {
                running = false;
            }
            if matches!(event, Event::LoggedIn(Ok(_))) {
                session = true;
            }
            talk.event(event);
            let (text, orders) = talk.take();
            prop_assert!(text.chars().all(|c| !c.is_control() || "\n\x08\x07".contains(c)), "{:?}", text);
            for order in orders {
                match order {
                    Effect::Stop => {
                        prop_assert!(running);
                        running = false;
                    }
                    Effect::Logout => session = false,
                    Effect::Command(_) => {
                        prop_assert!(session && !running);
                        running = true;
                    }
                    Effect::Clear | Effect::Print(_) => {}
                    _ => {
                        prop_assert!(!running, "two things at once: {:?}", order);
                        running = true;
                    }
                }
            }
        }
    }
}
