//! The order in which machines are started after a boot of the node.
//!
//! Pure. Lower ones come first; equal ones go together, a few at a time, since each start is heavy on disk and
//! processor. A machine that cannot be started is passed over, so nobody waits for it.

/// Starts that may go on at once.
const AT_ONCE: usize = 4;

/// Another machine, as far as the order cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// Its place.
    pub order: u32,
    /// It is to be started and has not been looked at since the boot.
    pub open: bool,
    /// It is on its way up.
    pub starting: bool,
}

/// What a machine has to wait for, as a sentence; nothing if it is its turn.
pub fn wait(order: u32, others: &[Other]) -> Option<String> {
    let first = others.iter().filter(|other| other.open && other.order < order);
    if let Some(first) = first.min_by_key(|other| other.order) {
        return Some(format!("waits for `{}`, which is started first", first.name));
    }
    let starting = others.iter().filter(|other| other.starting).count();
    (starting >= AT_ONCE).then(|| format!("waits while {starting} others are started"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(order: u32, open: bool, starting: bool) -> Other {
        Other { name: format!("vm-{order}"), order, open, starting }
    }

    #[test]
    fn lower_ones_go_first_and_a_few_at_once() {
        assert_eq!(wait(5, &[]), None);
        let first = wait(500, &[other(300, true, false), other(100, true, false)]).unwrap();
        assert!(first.contains("vm-100"), "{first}");
        assert_eq!(wait(500, &[other(100, false, false), other(500, true, false)]), None);
        assert_eq!(wait(500, &[other(100, false, true)]), None, "on its way is enough");
        let busy = vec![other(500, false, true); AT_ONCE];
        assert!(wait(500, &busy).is_some_and(|why| why.contains("4 others")));
        assert_eq!(wait(500, busy.get(1..).unwrap()), None);
    }
}
