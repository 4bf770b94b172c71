//! The claim code: proof that whoever sets the first admin has seen a console of this machine.

use std::fmt;

/// Letters and digits that cannot be mistaken for each other on a serial console: no 0/O, 1/I/L, 2/Z, 5/S, 8/B and no G beside 6.
const ALPHABET: &[u8; 24] = b"ACDEFHJKMNPQRTUVWXY34679";
const LENGTH: usize = 12;

/// Twelve letters, 55 bits: with the rate limit, guessing takes longer than the machine will last.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimCode(String);

impl ClaimCode {
    /// A code from random bytes. A byte in the uneven tail of the range is skipped, so every code is equally likely.
    /// `None` if too many bytes had to be skipped: draw again.
    pub fn from_random(bytes: &[u8; 32]) -> Option<Self> {
        let fair = (256 / ALPHABET.len()) * ALPHABET.len();
        let letters: String = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|value| *value < fair)
            .filter_map(|value| ALPHABET.get(value % ALPHABET.len()))
            .map(|letter| char::from(*letter))
            .take(LENGTH)
            .collect();
        (letters.len() == LENGTH).then_some(Self(letters))
    }

    /// A code as it was stored; `None` if it is not one.
    pub fn from_stored(text: &str) -> Option<Self> {
        let letters = normalise(text);
        let good = letters.len() == LENGTH && letters.bytes().all(|byte| ALPHABET.contains(&byte));
        good.then_some(Self(letters))
    }

    /// The form for people: three groups of four.
    pub fn display(&self) -> String {
        let letters: Vec<char> = self.0.chars().collect();
        letters
            .chunks(4)
            .map(|group| group.iter().collect::<String>())
            .collect::<Vec<_>>()
            .join("-")
    }

    /// Whether somebody typed this code; case, spaces and dashes do not matter. Takes the same time for
    /// every wrong code of the right length.
    pub fn matches(&self, typed: &str) -> bool {
        let typed = normalise(typed);
        typed.len() == self.0.len()
            && typed.bytes().zip(self.0.bytes()).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

fn normalise(text: &str) -> String {
    text.chars()
        .take(64)
        .filter(|c| !c.is_whitespace() && *c != '-')
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

impl fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimCode(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_typed_code_matches_however_it_is_spelt() {
        let code = ClaimCode::from_random(&[7; 32]).unwrap();
        let shown = code.display();
        assert_eq!(shown.len(), 14);
        assert!(code.matches(&shown));
        assert!(code.matches(&format!(" {} ", shown.to_lowercase().replace('-', " "))));
        assert!(!code.matches(""));
        assert!(!code.matches(&shown.replacen(shown.chars().next().unwrap(), "2", 1)));
        assert!(!format!("{code:?}").contains(&shown));
    }

    #[test]
    fn unlucky_bytes_ask_for_another_draw() {
        assert_eq!(ClaimCode::from_random(&[255; 32]), None);
    }

    proptest! {
        #[test]
        fn codes_survive_storage(bytes: [u8; 32]) {
            if let Some(code) = ClaimCode::from_random(&bytes) {
                prop_assert_eq!(ClaimCode::from_stored(&code.display()), Some(code));
            }
        }

        #[test]
        fn other_text_never_matches_by_accident(text in "\\PC{0,80}") {
            let code = ClaimCode::from_random(&[9; 32]).unwrap();
            prop_assert_eq!(code.matches(&text), normalise(&text) == normalise(&code.display()));
        }
    }
}
