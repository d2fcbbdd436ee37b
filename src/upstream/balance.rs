//! Which server gets a request: of two picked at random the one that has fewer in flight, as this
//! worker sees it ("the power of two choices"). Servers that are out are passed over.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::pool::Pool;
use super::servers::Servers;
use crate::environment::Random;

/// One worker's choice of servers.
pub(super) struct Balance {
    servers: Arc<Servers>,
    pools: Vec<Rc<Pool>>,
    state: Cell<u64>,
}

/// Servers that a request was already sent to.
#[derive(Debug, Default)]
pub(super) struct Tried(u64);

impl Balance {
    pub(super) fn new(servers: &Arc<Servers>, most_idle: usize, random: &dyn Random) -> Self {
        let pools = (0..servers.count()).map(|index| Pool::new(servers, index, most_idle));
        let mut seed = [0; 8];
        random.fill(&mut seed);
        Self {
            pools: pools.map(Rc::new).collect(),
            servers: Arc::clone(servers),
            state: Cell::new(u64::from_ne_bytes(seed)),
        }
    }

    /// A server that was not tried yet; one that is out where none else is left.
    pub(super) fn pick(&self, tried: &mut Tried) -> Option<&Rc<Pool>> {
        let index = match (&self.pools[..], tried.0) {
            ([_], 0) => 0,
            _ => self.choose(tried.0)?,
        };
        tried.0 |= 1 << index;
        Some(&self.pools[index])
    }

    fn choose(&self, tried: u64) -> Option<usize> {
        let all = u64::MAX >> (64 - self.pools.len());
        let left = all & !tried;
        let among = match left & !self.servers.out() {
            0 => left,
            among => among,
        };
        let random = self.random();
        match among.count_ones() {
            0 => None,
            1 => Some(among.trailing_zeros() as usize),
            count => {
                let one = random as u32 % count;
                let step = 1 + (random >> 32) as u32 % (count - 1);
                let (one, other) = (nth(among, one), nth(among, (one + step) % count));
                let less_busy = self.pools[other].busy() < self.pools[one].busy();
                Some(if less_busy { other } else { one })
            }
        }
    }

    /// splitmix64: no secret hangs on it.
    fn random(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// The place of the set bit number `n`.
fn nth(mut set: u64, n: u32) -> usize {
    for _ in 0..n {
        set &= set - 1;
    }
    set.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_from_the_lowest() {
        let set = 0b1010_0110;
        let places: Vec<_> = (0..4).map(|n| nth(set, n)).collect();
        assert_eq!(places, [1, 2, 5, 7]);
        assert_eq!(nth(1 << 63, 0), 63);
    }
}
