//! Versions as people write them, in the order that they mean.

use std::cmp::Ordering;

/// Which of two versions is the newer: numbers in them count as numbers, the rest as text; a `~` comes before everything,
/// even the end, so that `13~rc1` is older than `13`. None given is the oldest.
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let (a, b) = (part(&mut one), part(&mut other));
        let order = match (a, b) {
            (Part::End, Part::End) => return Ordering::Equal,
            (Part::Number(a), Part::Number(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (a, b) => a.rank().cmp(&b.rank()),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// A piece of a version.
enum Part<'t> {
    End,
    Sign(char),
    /// Digits without leading zeros.
    Number(&'t str),
}

impl Part<'_> {
    /// Where it stands among pieces of other kinds.
    const fn rank(&self) -> (u8, char) {
        match self {
            Self::Sign('~') => (0, '~'),
            Self::End => (1, ' '),
            Self::Sign(sign) => (2, *sign),
            Self::Number(_) => (3, ' '),
        }
    }
}

/// Takes the first piece off a text.
fn part<'t>(text: &mut &'t str) -> Part<'t> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if digits > 0 {
        let (number, rest) = text.split_at(digits);
        *text = rest;
        return Part::Number(number.trim_start_matches('0'));
    }
    let mut signs = text.chars();
    let sign = signs.next();
    *text = signs.as_str();
    sign.map_or(Part::End, Part::Sign)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_ordered_as_people_mean_them() {
        let ordered = [
            "",
            "1",
            "1.2",
            "1.02.1",
            "1.9",
            "1.10",
            "1.10-1",
            "1.10-2",
            "2~rc1",
            "2",
            "13.1",
            "20250101",
            "20261127.1",
        ];
        for (index, older) in ordered.iter().enumerate() {
            for (other, newer) in ordered.iter().enumerate() {
                assert_eq!(compare_versions(older, newer), index.cmp(&other), "{older} {newer}");
            }
        }
        assert_eq!(compare_versions("1.02", "1.2"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn it_is_an_order(a in "[0-9a-b.~]{0,6}", b in "[0-9a-b.~]{0,6}", c in "[0-9a-b.~]{0,6}") {
            prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
            prop_assert_eq!(compare_versions(&a, &a), Ordering::Equal);
            if compare_versions(&a, &b).is_le() && compare_versions(&b, &c).is_le() {
                prop_assert!(compare_versions(&a, &c).is_le());
            }
        }
    }
}
