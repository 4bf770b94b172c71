//! Tokens: a guest's program proves with one that it can send a request of its own making.
//!
//! They are EC2's second version (`PUT /latest/api/token`). Pure, given the time. A token is an end and a keyed
//! digest over it and the guest, so none has to be kept, however many are asked for; it counts for its guest only,
//! and until this process ends.

use uuid::Uuid;

/// The longest time that a token may be asked for, in seconds: six hours.
pub const LONGEST_TOKEN_S: u64 = 21_600;

const TIME: usize = 8;
const DIGEST: usize = blake3::OUT_LEN;

/// Makes tokens, and knows its own.
pub struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    /// With a key that nobody else knows.
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A token for a guest until `end`, in seconds on the clock of [`Self::holds`].
    pub fn issue(&self, guest: Uuid, end: u64) -> String {
        let digest = self.digest(guest, end);
        format!("{}{}", hex::encode(end.to_be_bytes()), digest.to_hex())
    }

    /// Whether a token is this guest's and still counts.
    pub fn holds(&self, token: &str, guest: Uuid, now: u64) -> bool {
        let mut bytes = [0; TIME + DIGEST];
        if hex::decode_to_slice(token, &mut bytes).is_err() {
            return false;
        }
        let (Some(end), Some(digest)) = (bytes.first_chunk::<TIME>(), bytes.last_chunk::<DIGEST>())
        else {
            return false;
        };
        let end = u64::from_be_bytes(*end);
        // Comparing digests takes the same time wherever they differ.
        self.digest(guest, end) == blake3::Hash::from_bytes(*digest) && now < end
    }

    fn digest(&self, guest: Uuid, end: u64) -> blake3::Hash {
        let message = [guest.as_bytes().as_slice(), &end.to_be_bytes()].concat();
        blake3::keyed_hash(&self.key, &message)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADA: Uuid = Uuid::from_u128(1);
    const BOB: Uuid = Uuid::from_u128(2);

    #[test]
    fn a_token_counts_for_its_guest_and_its_time() {
        let tokens = Tokens::new([7; 32]);
        let token = tokens.issue(ADA, 100);
        assert!(tokens.holds(&token, ADA, 99));
        assert!(!tokens.holds(&token, ADA, 100), "it has ended");
        assert!(!tokens.holds(&token, BOB, 99), "it is another's");
        assert!(!Tokens::new([8; 32]).holds(&token, ADA, 99), "it is of an earlier process");
        assert!(token.bytes().all(|b| b.is_ascii_hexdigit()), "it goes into a header");
    }

    proptest! {
        #[test]
        fn nothing_else_is_a_token(text in "\\PC{0,100}", place in 0_usize..80, letter in "[0-9a-f]") {
            let tokens = Tokens::new([7; 32]);
            prop_assert!(!tokens.holds(&text, ADA, 0));
            let token = tokens.issue(ADA, 100);
            let mut changed = token.clone();
            changed.replace_range(place..=place, &letter);
            prop_assert_eq!(tokens.holds(&changed, ADA, 0), changed == token);
        }
    }
}
