//! A line that somebody types, with its own echo.

use crate::keys::Key;

/// Longest line; what comes beyond is dropped with a bell.
pub const LONGEST: usize = 512;

/// The line so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    text: String,
    hidden: bool,
}

/// What a key did to the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// It goes on.
    More,
    /// It is finished.
    Done(String),
    /// It was given up.
    Cancelled,
}

impl Line {
    /// An empty line that is shown as it is typed.
    pub fn shown() -> Self {
        Self::default()
    }

    /// An empty line of which nothing is shown, not even its length.
    pub fn hidden() -> Self {
        Self { hidden: true, ..Self::default() }
    }

    /// The text to show when the screen is drawn anew.
    pub fn echo(&self) -> &str {
        if self.hidden { "" } else { &self.text }
    }

    /// Takes a key in; gives what to echo.
    pub fn key(&mut self, key: Key) -> (String, Edit) {
        match key {
            Key::Char(_) if self.text.chars().count() >= LONGEST => ("\x07".to_owned(), Edit::More),
            Key::Char(c) => {
                self.text.push(c);
                (if self.hidden { String::new() } else { c.to_string() }, Edit::More)
            }
            Key::Backspace => (self.erase(1), Edit::More),
            Key::KillLine => (self.erase(usize::MAX), Edit::More),
            Key::KillWord => (self.erase(self.last_word()), Edit::More),
            Key::Enter => ("\n".to_owned(), Edit::Done(std::mem::take(&mut self.text))),
            Key::End if !self.text.is_empty() => (String::new(), Edit::More),
            Key::Cancel | Key::End => {
                self.text.clear();
                ("\n".to_owned(), Edit::Cancelled)
            }
            Key::Redraw => (String::new(), Edit::More),
        }
    }

    /// Characters of the last word and the blanks behind it.
    fn last_word(&self) -> usize {
        let kept = self
            .text
            .trim_end()
            .rsplit_once(' ')
            .map_or(0, |(head, _)| head.len().saturating_add(1));
        self.text.get(kept..).map_or(0, |word| word.chars().count())
    }

    fn erase(&mut self, count: usize) -> String {
        let mut echo = String::new();
        for _ in 0..count {
            if self.text.pop().is_none() {
                break;
            }
            if !self.hidden {
                echo.push_str("\x08 \x08");
            }
        }
        echo
    }
}

/// Splits a line into words: blanks separate, quotes and backslashes keep them together. No variables, no
/// patterns, no other meaning.
pub fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or("a backslash at the end keeps nothing")?;
                word.get_or_insert_default().push(next);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quotation mark is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(line: &mut Line, text: &str) -> String {
        text.chars().map(|c| line.key(Key::Char(c)).0).collect()
    }

    #[test]
    fn editing_is_echoed() {
        let mut line = Line::shown();
        assert_eq!(typed(&mut line, "pod  lits"), "pod  lits");
        assert_eq!(line.key(Key::Backspace).0, "\x08 \x08");
        assert_eq!(line.key(Key::KillWord).0.len(), 9, "three letters");
        assert_eq!(line.echo(), "pod  ");
        line.key(Key::KillWord);
        assert_eq!(line.echo(), "");
        assert_eq!(line.key(Key::Backspace), (String::new(), Edit::More));
    }

    #[test]
    fn a_hidden_line_shows_nothing() {
        let mut line = Line::hidden();
        assert_eq!(typed(&mut line, "secret"), "");
        assert_eq!(line.key(Key::Backspace).0, "");
        assert_eq!(line.echo(), "");
        assert_eq!(line.key(Key::Enter), ("\n".to_owned(), Edit::Done("secre".to_owned())));
    }

    #[test]
    fn a_long_paste_is_cut() {
        let mut line = Line::shown();
        let echo = typed(&mut line, &"x".repeat(4096));
        assert_eq!(echo.matches('x').count(), LONGEST);
        let (_, Edit::Done(text)) = line.key(Key::Enter) else { panic!("not done") };
        assert_eq!(text.len(), LONGEST);
    }

    #[test]
    fn ctrl_d_ends_only_an_empty_line() {
        let mut line = Line::shown();
        typed(&mut line, "x");
        assert_eq!(line.key(Key::End).1, Edit::More);
        line.key(Key::Backspace);
        assert_eq!(line.key(Key::End).1, Edit::Cancelled);
    }

    #[test]
    fn words_are_split_like_people_expect() {
        let split = |line| words(line).unwrap();
        assert_eq!(split("  pod   list "), ["pod", "list"]);
        assert_eq!(
            split(r#"a "b c" 'd "e' f\ g "h\"i" '' "#),
            ["a", "b c", "d \"e", "f g", "h\"i", ""]
        );
        assert_eq!(split("$HOME;*|`x`"), ["$HOME;*|`x`"], "nothing else means anything");
        assert!(words("a \"b").is_err() && words("a\\").is_err());
    }

    proptest! {
        #[test]
        fn quoting_keeps_every_word(list in proptest::collection::vec("[^']{0,8}", 0..5)) {
            let quoted: Vec<_> = list.iter().map(|word| format!("'{word}'")).collect();
            prop_assert_eq!(words(&quoted.join(" ")).unwrap(), list);
        }
    }
}
