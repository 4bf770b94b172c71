//! Users of the machine that are kept for pods with users of their own: 65536 for each, from one block.
//!
//! No two pods have the same ones, and a pod keeps its own for as long as its record is there.

/// Users of one pod.
pub const USERS: u32 = 1 << 16;
/// The first of all. The block lies in what service managers leave to containers (524288 to 1879048191).
const FIRST: u32 = 10 * USERS;
/// Pods that can have some at a time.
const MOST: u32 = 16_384;

/// The first user of the lowest range that nobody has; `None` if all are taken.
pub fn free_range(taken: &[u32]) -> Option<u32> {
    let all = (0..MOST).map(|number| FIRST + number * USERS);
    all.into_iter().find(|first| !taken.contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_is_its_own_and_a_gap_is_filled() {
        let mut taken = Vec::new();
        for _ in 0..100 {
            taken.push(free_range(&taken).unwrap());
        }
        let mut sorted = taken.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 100);
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] == USERS));
        let gap = taken.remove(42);
        assert_eq!(free_range(&taken), Some(gap));
    }

    #[test]
    fn the_block_has_an_end_within_what_is_left_to_containers() {
        let all: Vec<u32> = (0..MOST).map(|number| FIRST + number * USERS).collect();
        assert_eq!(free_range(&all), None);
        assert!(FIRST >= 524_288 && all.iter().all(|first| first + USERS - 1 <= 1_879_048_191));
    }
}
